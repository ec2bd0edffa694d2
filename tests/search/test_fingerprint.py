"""Fingerprints of models: all that decides an embedding, and nothing that does not."""

from __future__ import annotations

from pathlib import Path

from sentence_transformers import SentenceTransformer

from st_hybrid.encoders import compute_in
from st_hybrid.search.fingerprint import model_fingerprint


def test_use_and_place_do_not_change_a_model(tiny_model: SentenceTransformer, tmp_path: Path) -> None:
    before = model_fingerprint(tiny_model)
    tiny_model.encode(["one", "a longer text than that"])
    assert model_fingerprint(tiny_model) == before
    tiny_model.save_pretrained(str(tmp_path / "copy"))
    assert model_fingerprint(SentenceTransformer(str(tmp_path / "copy"), device="cpu")) == before


def test_weights_tokenizer_length_type_and_settings_count(tiny_model: SentenceTransformer) -> None:
    found = {model_fingerprint(tiny_model), model_fingerprint(tiny_model, ["a setting"])}
    tiny_model.max_seq_length = 16
    found.add(model_fingerprint(tiny_model))
    tiny_model.tokenizer.truncation_side = "left"
    found.add(model_fingerprint(tiny_model))
    tiny_model.tokenizer.add_tokens(["storks"])
    found.add(model_fingerprint(tiny_model))
    next(tiny_model.parameters()).data[0] += 1
    found.add(model_fingerprint(tiny_model))
    compute_in(tiny_model, "bfloat16")
    found.add(model_fingerprint(tiny_model))
    assert len(found) == 7
