"""Models are loaded by the class that saved them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from scipy.sparse import issparse
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer, SparseEncoder

from st_hybrid.encoders import encode, load_encoder, require_dense


def edit(folder: Path, target: Path, file: str, **changes: object) -> Path:
    """A copy of a model with other entries in a file of its configuration; None removes one."""
    shutil.copytree(folder, target)
    content = {**json.loads((target / file).read_text(encoding="utf-8")), **changes}
    content = {name: value for name, value in content.items() if value is not None}
    (target / file).write_text(json.dumps(content), encoding="utf-8")
    return target


def test_each_kind_is_loaded_by_its_class(
    tiny_model_path: Path, sparse_model_path: Path, multi_vector_model_path: Path
) -> None:
    for folder, kind in (
        (tiny_model_path, SentenceTransformer),
        (sparse_model_path, SparseEncoder),
        (multi_vector_model_path, MultiVectorEncoder),
    ):
        model = load_encoder(folder, device="cpu")
        assert type(model) is kind
        assert model.device.type == "cpu"


def test_kinds_that_older_versions_and_other_libraries_wrote(
    tiny_model_path: Path, multi_vector_model_path: Path, tmp_path: Path
) -> None:
    config = "config_sentence_transformers.json"
    dense = edit(tiny_model_path, tmp_path / "dense", config, model_type=None)
    assert type(load_encoder(dense)) is SentenceTransformer
    pylate = edit(multi_vector_model_path, tmp_path / "pylate", config, model_type="ColBERT")
    assert type(load_encoder(pylate)) is MultiVectorEncoder


def test_what_gives_no_embeddings_is_refused(tiny_model_path: Path, tmp_path: Path) -> None:
    CrossEncoder(str(tiny_model_path), num_labels=1, device="cpu").save_pretrained(str(tmp_path / "cross"))
    with pytest.raises(TypeError, match=r"cross is a CrossEncoder, which gives no embeddings\. Name a model of Sente"):
        load_encoder(tmp_path / "cross")
    with pytest.raises(TypeError, match="CrossEncoder gives no embeddings"):
        encode(CrossEncoder(str(tmp_path / "cross"), device="cpu"), ["a"], "query")  # type: ignore[arg-type]


def test_where_only_dense_vectors_will_do(sparse_model_path: Path, tiny_model: SentenceTransformer) -> None:
    assert require_dense(tiny_model, "Mining") is tiny_model
    with pytest.raises(TypeError, match=r"^Mining needs one dense vector per text: .*, not a SparseEncoder\.$"):
        require_dense(load_encoder(sparse_model_path), "Mining")


def test_sparse_vectors_of_many_texts_are_stacked_in_parts(
    sparse_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, texts = load_encoder(sparse_model_path, device="cpu"), [f"text {number}" for number in range(8)]
    whole = encode(model, texts, "document", batch_size=1)
    monkeypatch.setattr("st_hybrid.encoders._SPARSE_TEXTS", 3)
    parts = encode(model, texts, "document", batch_size=1)
    assert issparse(whole)
    assert issparse(parts)
    assert abs(whole - parts).max() < 1e-6
