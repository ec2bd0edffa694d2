"""The quickstart end to end, on tiny input; the whole command has its own test."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from st_hybrid.study.quickstart import ALPHAS, MEASURES, UNTRAINED, run_quickstart

TINY: dict[str, Any] = {"steps": 4, "batch_size": 8, "groups": 300}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, str]:
    folder = tmp_path_factory.mktemp("quickstart")
    with redirect_stdout(io.StringIO()) as screen:
        results = run_quickstart(folder, seeds=2, **TINY)
    return results, folder, screen.getvalue()


def test_every_model_is_measured_for_every_seed(run: tuple[dict[str, Any], Path, str]) -> None:
    results, _, _ = run
    assert [(row["seed"], row["model"], row["centered"]) for row in results["scores"]] == [
        (seed, model, centered) for seed in (0, 1) for model in (UNTRAINED, *ALPHAS) for centered in (False, True)
    ]
    for row in results["scores"]:
        assert all(0 < row[measure] <= 1 for measure in ("Mo.", "Cr.", "Mul."))
        assert 0 < row["rank distance"] < results["settings"]["passages"]
        assert row["Mul."] < row["Mo."]
    assert len({row["Mo."] for row in results["scores"] if not row["centered"]}) == 8  # each was trained


def test_results_are_saved_and_shown(run: tuple[dict[str, Any], Path, str]) -> None:
    results, folder, screen = run
    assert json.loads((folder / "results.json").read_text(encoding="utf-8")) == results
    assert (folder / "results.png").read_bytes().startswith(b"\x89PNG")
    for text in (UNTRAINED, *ALPHAS, *MEASURES, "±", "results.png"):
        assert text in screen


def test_the_same_seed_gives_the_same_scores(run: tuple[dict[str, Any], Path, str], tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    again = run_quickstart(tmp_path / "new" / "folder", seeds=1, **TINY)
    assert again["scores"] == run[0]["scores"][: len(again["scores"])]
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("option", ["seeds", "steps"])
def test_numbers_must_be_positive(option: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seeds and steps must be at least 1"):
        run_quickstart(tmp_path, **{option: 0})


@pytest.mark.slow
def test_mixed_batches_lower_the_language_bias(tmp_path: Path) -> None:
    """What the library is for: both samplers with cross-lingual batches find answers in all languages."""
    results = run_quickstart(tmp_path, seeds=1)
    scores = {row["model"]: row for row in results["scores"] if not row["centered"]}
    for sampler in ("X-Y", "hybrid"):
        assert scores[sampler]["Mul."] > scores["X-X-mono"]["Mul."]
        assert scores[sampler]["rank distance"] < scores["X-X-mono"]["rank distance"]
    assert scores["hybrid"]["Mo."] > scores["X-Y"]["Mo."]
