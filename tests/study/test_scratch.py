"""Encoders from scratch."""

from __future__ import annotations

import torch
from sentence_transformers import SentenceTransformer

from st_hybrid.study.scratch import Scratch, active_parameters, scratch_encoder

TEXTS = ["Who keeps the bees?", "Wer hält die Bienen?", "ใครเลี้ยงผึ้ง", "誰が蜂を飼っていますか?"]


def weights(model: SentenceTransformer) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in model.parameters()])


def test_the_seed_decides_the_weights_and_no_text_has_unknown_tokens() -> None:
    sizes = Scratch(hidden=16, layers=2, heads=2, vocabulary=200, length=6)
    encoder = scratch_encoder(sizes, TEXTS, seed=1)
    assert torch.equal(weights(encoder), weights(scratch_encoder(sizes, TEXTS, seed=1)))
    assert not torch.equal(weights(encoder), weights(scratch_encoder(sizes, TEXTS, seed=2)))
    tokens = encoder.preprocess(TEXTS)["input_ids"]
    assert tokens.shape[1] == 6
    assert not (tokens == encoder.tokenizer.unk_token_id).any()
    assert torch.allclose(torch.tensor(encoder.encode(TEXTS)).norm(dim=1), torch.ones(4))


def test_active_parameters_grow_with_the_layers_and_not_with_the_vocabulary() -> None:
    def active(**sizes: int) -> int:
        return active_parameters(scratch_encoder(Scratch(**{"hidden": 16, "layers": 1, "heads": 2, **sizes}), TEXTS))

    # A layer has 12 hidden² weights, 13 hidden biases and norms; the embeddings have a norm.
    assert active() == 12 * 16**2 + 13 * 16 + 2 * 16
    assert active(layers=3) - active(layers=2) == 12 * 16**2 + 13 * 16
    assert active(vocabulary=120) == active(vocabulary=80)
