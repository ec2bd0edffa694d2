from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from st_hybrid.recipe import Recipe


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "x-z"}, "sampler must be one of hybrid, x-x-mono, x-y, x-x, mixture, got 'x-z'"),
        ({"language_sampling": "mixed"}, "language_sampling must be one of uniform, proportional"),
        ({"dtype": "bf16"}, "dtype must be one of float32, bfloat16, float16, got 'bf16'"),
        ({"negatives_follow": "row"}, "negatives_follow must be one of positive, query"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"max_steps": 0}, "max_steps must be at least 1, got 0"),
        ({"held_out": -1}, "held_out must be at least 1, got -1"),
        ({"alpha": 1.5}, "alpha must be between 0 and 1, got 1.5"),
        ({"epochs": 0.0}, "epochs must be above 0"),
        ({"warmup": 10}, "warmup must be a share of the steps, .* got 10"),
        ({"sampler": "x-y", "alpha": 0.3}, "alpha has no effect with the sampler 'x-y'"),
        (
            {"sampler": "x-y", "language_sampling": "uniform"},
            "language_sampling has no effect without batches of one language",
        ),
        (
            {"alpha": 0.0, "language_sampling": "uniform"},
            "language_sampling has no effect without batches of one language",
        ),
        (
            {"sampler": "x-x", "language_sampling": "uniform"},
            "language_sampling has no effect without batches of one language",
        ),
        ({"sampler": "x-x-mono", "partners": 2}, "partners has no effect without cross-lingual pairs"),
        ({"alpha": 1.0, "negatives_follow": "query"}, "negatives_follow has no effect without cross-lingual pairs"),
        ({"sampler": "mixture", "alpha": 1.0}, "alpha must be above 0 and below 1 for the sampler 'mixture'"),
        ({"sampler": "mixture", "same_document": True}, "same_document has no effect without cross-lingual batches"),
        ({"patience": 3}, "patience has no effect without held_out"),
        ({"mini_batch_size": 100}, "mini_batch_size has no effect unless it is below batch_size"),
        ({"epochs": 2.0, "max_steps": 10}, "epochs has no effect with max_steps"),
        ({"anchor_weight": 3.0}, "anchor_weight has no effect without anchor"),
        ({"anchor": "en", "anchor_weight": 0.0}, "anchor_weight must be above 0, got 0.0"),
        ({"merge": 0.0}, "merge must be above 0 and below 1, got 0.0"),
        ({"merge": 1.0}, "merge must be above 0 and below 1, got 1.0"),
    ],
)
def test_refuses_values_out_of_range_and_options_without_effect(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (0.5, "uniform")),
        ({"alpha": 0.0}, (0.0, None)),
        ({"alpha": 0.3, "language_sampling": "proportional"}, (0.3, "proportional")),
        ({"sampler": "x-x-mono", "language_sampling": "proportional"}, (1.0, "proportional")),
        ({"sampler": "x-y"}, (0.0, None)),
        ({"sampler": "x-x"}, (1.0, "mixed")),
        ({"sampler": "mixture", "alpha": 0.3}, (0.3, None)),
    ],
)
def test_options_of_the_sampler(options: dict[str, Any], expected: tuple[float, str | None]) -> None:
    chosen = tuple(Recipe(**options).sampler_options.values())
    assert chosen == (*expected, False, options.get("sampler") != "mixture")


def test_does_not_load_torch() -> None:
    code = "import sys, st_hybrid.recipe; print([name for name in ('torch', 'datasets') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
