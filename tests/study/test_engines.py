"""Workers that an engine starts, on a tiny grid. Without Slurm, submitit runs the same jobs as processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from st_hybrid.study.cells import study_status
from st_hybrid.study.engines import run_workers

from .test_cells import write


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "slurm"])
def test_workers_fill_one_grid(
    engine: str, st_hybrid: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    grid, study = write(tmp_path), tmp_path / "study"
    options = ["--slurm", "timeout_min=5"] if engine == "slurm" else []
    printed = st_hybrid("study", "run", grid, "--output", study, "--engine", engine, "--workers", 2, *options)
    if engine == "slurm":
        assert f"st-hybrid study status {study}" in printed.replace("\n", " ")
        for _ in range(600):
            if (study / "plan.json").is_file() and {cell.state for cell in study_status(study)} == {"done"}:
                break
            time.sleep(0.2)
    assert [cell.state for cell in study_status(study)] == ["done", "done"]


def test_a_grid_or_options_that_are_not_valid_start_nothing(st_hybrid: Callable[..., str], tmp_path: Path) -> None:
    grid = write(tmp_path, seeds=[])
    with pytest.raises(ValueError, match="seeds is empty"):
        run_workers(grid, tmp_path / "study", "slurm")
    run = ("study", "run", grid, "--output", tmp_path / "study")
    for options, message in (
        (["--workers", 2], "--workers has no effect without --engine"),
        (["--slurm", "timeout_min=5"], "--slurm has no effect without --engine"),
        (["--engine", "ray", "--worker", "1/2"], "--worker has no effect with --engine"),
        (["--engine", "ray", "--slurm", "timeout_min=5"], "Parameters of Slurm have no effect with another engine"),
        (["--engine", "slurm", "--workers", 0], "workers must be at least 1, got 0"),
    ):
        assert message in st_hybrid(*run, *options, status=1)
    assert not (tmp_path / "study").exists()


def test_without_submitit_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "st-hybrid\[slurm\]"'):
        run_workers(write(tmp_path), tmp_path / "study", "slurm")
