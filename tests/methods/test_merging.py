from __future__ import annotations

from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from st_hybrid.methods.merging import merged_weights


class Tied(nn.Module):
    """Two layers that share a weight, a frozen one, and a buffer of each kind."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.frozen = nn.Parameter(torch.tensor([0.1, 0.7]), requires_grad=False)
        self.register_buffer("steps", torch.tensor(seed))
        self.register_buffer("mean", torch.tensor(float(seed)))


def test_averages_in_the_given_shares() -> None:
    start, trained = Tied(1), Tied(2)
    merged = merged_weights(start, trained, 0.25)
    expected = 0.25 * start.first.weight + 0.75 * trained.first.weight
    torch.testing.assert_close(merged["first.weight"], expected, rtol=0, atol=1e-7)
    assert merged["mean"].item() == pytest.approx(1.75)
    assert torch.equal(merged["frozen"], start.frozen)  # to the last bit
    assert merged["steps"].item() == 2  # not floating-point: the trained model's
    trained.load_state_dict(merged)
    assert trained.first.weight is trained.second.weight
    torch.testing.assert_close(trained.second.weight, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("share", "kept"), [(0.0, 2), (1.0, 1)])
def test_the_whole_share_gives_one_of_the_two(share: float, kept: int) -> None:
    merged = merged_weights(Tied(1).state_dict(), Tied(2).state_dict(), share)
    assert torch.equal(merged["first.weight"], Tied(kept).first.weight)


def test_half_precision_is_averaged_in_float32() -> None:
    start, trained = {"w": torch.tensor([1.0], dtype=torch.bfloat16)}, {"w": torch.tensor([1.0078125])}
    merged = merged_weights(start, trained)["w"]
    assert merged.dtype == torch.float32
    assert merged.item() == pytest.approx(1.00390625, abs=1e-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": torch.zeros(1)}, "Only the trained model has the weight extra"),
        ({"first.bias": torch.zeros(4)}, r"first.bias has the shape \(3,\) in the start and \(4,\) in the trained"),
    ],
)
def test_other_architectures_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        merged_weights(Tied(1), {**Tied(2).state_dict(), **change})
    with pytest.raises(ValueError, match="Only the start has the weight mean"):
        merged_weights(Tied(1), {name: weight for name, weight in Tied(2).state_dict().items() if name != "mean"})
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        merged_weights(Tied(1), Tied(2), 1.5)


def test_a_merged_encoder_lies_between(tiny_model: SentenceTransformer) -> None:
    start = {name: weight.clone() for name, weight in tiny_model.state_dict().items()}
    with torch.no_grad():
        for weight in tiny_model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.05)
    far = tiny_model.encode("Wo nisten Störche?")
    tiny_model.load_state_dict(merged_weights(start, tiny_model, 0.8))
    near = tiny_model.encode("Wo nisten Störche?")
    tiny_model.load_state_dict(start)
    origin = tiny_model.encode("Wo nisten Störche?")
    assert 0 < 1 - near @ origin < 1 - far @ origin
