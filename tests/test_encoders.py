"""Models are loaded by the class that saved them."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import issparse
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from st_hybrid.encoders import dtype_of, encode, load_encoder, require_dense


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


TEXTS = ["one", "a text that is longer than the others are", "two", "storks nest on chimneys"]


def linear_outputs(model: Any) -> set[torch.dtype]:
    """The types that the linear layers of a model's transformer compute in while it encodes."""
    found = set()
    layers = [layer for layer in model[0].modules() if isinstance(layer, torch.nn.Linear)]
    hooks = [layer.register_forward_hook(lambda *given: found.add(given[-1].dtype)) for layer in layers]
    model.encode(TEXTS)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.usefixtures("has_bfloat16")
def test_a_model_computes_in_bfloat16_and_gives_float32(tiny_model_path: Path) -> None:
    exact, model = load_encoder(tiny_model_path), load_encoder(tiny_model_path, dtype="bfloat16")
    assert (dtype_of(exact), dtype_of(model)) == ("float32", "bfloat16")
    assert linear_outputs(exact) == {torch.float32}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    expected, vectors = (np.asarray(encode(one, TEXTS, "document")) for one in (exact, model))
    for copied in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert linear_outputs(copied) == {torch.bfloat16}
        assert np.array_equal(encode(copied, TEXTS, "document"), vectors)
    twin = copy.deepcopy(model)
    next(twin.parameters()).data.zero_()
    assert not np.array_equal(encode(twin, TEXTS, "document"), vectors)  # the copy computes with its own weights
    assert vectors.dtype == np.float32
    assert abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    assert 0 < abs(vectors - expected).max() < 0.02


@pytest.mark.usefixtures("has_bfloat16")
def test_sparse_and_multi_vector_models_compute_in_bfloat16(
    sparse_model_path: Path, multi_vector_model_path: Path
) -> None:
    for path in (sparse_model_path, multi_vector_model_path):
        exact, other = (encode(load_encoder(path, dtype=dtype), TEXTS, "query") for dtype in (None, "bfloat16"))
        one, another = (part.toarray() if issparse(part) else np.concatenate(part) for part in (exact, other))
        assert one.dtype == another.dtype == np.float32
        assert 0 < abs(one - another).max() < 0.05


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
@pytest.mark.usefixtures("has_bfloat16")
def test_models_that_are_stored_in_half_precision(
    stored: torch.dtype, tiny_model: SentenceTransformer, tmp_path: Path
) -> None:
    tiny_model.to(stored).save_pretrained(str(tmp_path))
    model = load_encoder(tmp_path)
    assert dtype_of(model) == str(stored).removeprefix("torch.")
    assert linear_outputs(model) == {stored}
    assert np.asarray(encode(model, TEXTS, "query")).dtype == np.float32
    exact = load_encoder(tmp_path, dtype="float32")
    assert dtype_of(exact) == "float32"
    assert np.array_equal(encode(exact, TEXTS, "query"), encode(tiny_model.float(), TEXTS, "query"))
    assert dtype_of(load_encoder(tmp_path, dtype="bfloat16")) == "bfloat16"


def test_a_type_without_effect_or_hardware_is_refused(
    tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    tokenizer = SentenceTransformer(str(tiny_model_path)).tokenizer.backend_tokenizer
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)]).save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match=r"dtype has no effect: the model has no transformer\. Leave it out"):
        load_encoder(tmp_path, dtype="bfloat16", device="cpu")
    assert dtype_of(load_encoder(tmp_path, dtype="float32")) == "float32"
    monkeypatch.setattr("torch.cpu.get_capabilities", dict, raising=False)
    with pytest.raises(ValueError, match="This CPU has neither AVX512-BF16 nor AMX-BF16"):
        load_encoder(tiny_model_path, dtype="bfloat16", device="cpu")
