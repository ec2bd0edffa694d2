"""Studies end to end on tiny encoders: what is done is kept, what failed is recorded, workers share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from filelock import FileLock

from st_hybrid.study.cells import CellStatus, run_study, study_status

GRID: dict[str, Any] = {
    "models": {"small": {"scratch": {"hidden": 16, "layers": 1, "vocabulary": 400, "length": 24}}},
    "data": {"facts": {"cldr": {"groups": 300}, "fractions": [0.25]}},
    "methods": {"untouched": None, "hybrid": {"alpha": 0.5}},
    "budgets": {"short": {"steps": 3}},
    "recipe": {"batch_size": 8, "learning_rate": 1e-3, "dtype": "float32"},
    "evaluation": {"sample": 10},
}


def write(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(GRID | changes, sort_keys=False), encoding="utf-8")
    return path


def files(study: Path) -> dict[str, tuple[int, bytes]]:
    """When each file of the cells was written, and what it holds."""
    return {
        str(path.relative_to(study)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in study.glob("cells/*/*")
        if path.name != "lock" and path.is_file()
    }


def states(cells: list[CellStatus]) -> dict[str, str]:
    return {cell.settings["method"]: cell.state for cell in cells}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    assert states(run_study(write(folder), folder / "study")) == {"untouched": "done", "hybrid": "done"}
    return folder / "study"


def test_a_cell_keeps_what_a_reader_needs(study: Path) -> None:
    untouched, hybrid = study_status(study)
    place = study / "cells" / hybrid.cell
    found = {path.name for path in place.iterdir()} - {"lock"}
    assert found == {
        *("settings.json", "environment.json", "training.json", "cell.json"),
        *("scores.json", "scores.per-query.parquet", "scores.first-10.parquet"),
    }
    assert hybrid.about["steps"] == 3
    assert hybrid.about["cross_lingual_batches"] == 2
    assert 0 < hybrid.about["active_parameters"] < hybrid.about["parameters"]
    assert (untouched.about["steps"], untouched.about["train_seconds"]) == (0, 0)
    settings = json.loads((place / "settings.json").read_text(encoding="utf-8"))
    assert {key: settings[key] for key in hybrid.settings} == hybrid.settings
    assert settings["settings"]["recipe"]["max_steps"] == 3
    scores = [json.loads((study / "cells" / one.cell / "scores.json").read_text()) for one in (untouched, hybrid)]
    assert scores[0]["tasks"]["facts"]["counts"] == scores[1]["tasks"]["facts"]["counts"]
    assert scores[0]["tasks"]["facts"]["multilingual"] != scores[1]["tasks"]["facts"]["multilingual"]
    assert set(pq.read_table(place / "scores.per-query.parquet")["task"].to_pylist()) == {"facts"}


def test_what_is_done_is_not_run_again(study: Path, tmp_path: Path) -> None:
    before = files(study)
    more = {**GRID["methods"], "X-Y": {"sampler": "x-y"}}
    cells = run_study(write(tmp_path, methods=more), study)
    assert states(cells) == {"untouched": "done", "hybrid": "done", "X-Y": "done"}
    after = files(study)
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + 7


def test_a_cell_that_fails_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    models = {"missing": {"path": str(tmp_path / "model")}, **GRID["models"]}
    grid = write(tmp_path, models=models, methods={"untouched": None})
    failed, done = run_study(grid, tmp_path / "study")
    assert (failed.state, done.state) == ("failed", "done")
    assert str(tmp_path / "model") in failed.about["error"]
    assert "Traceback" in failed.about["traceback"]
    before = files(tmp_path / "study")
    run_study(grid, tmp_path / "study")
    assert files(tmp_path / "study") == before
    run_study(grid, tmp_path / "study", retry_failed=True)
    changed = {path for path, content in files(tmp_path / "study").items() if content != before[path]}
    assert f"cells/{failed.cell}/cell.json" in changed
    assert not any(done.cell in path for path in changed)


def test_workers_leave_each_others_cells_alone(study: Path, tmp_path: Path) -> None:
    grid = write(tmp_path, seeds=[7], methods={"untouched": None, "X-Y": {"sampler": "x-y"}})
    first = run_study(grid, tmp_path / "study", worker=(1, 2))
    assert states(first) == {"untouched": "done", "X-Y": "waiting"}
    with FileLock(tmp_path / "study" / "cells" / first[1].cell / "lock"):
        assert states(run_study(grid, tmp_path / "study")) == {"untouched": "done", "X-Y": "running"}
    assert states(run_study(grid, tmp_path / "study", worker=(2, 2))) == {"untouched": "done", "X-Y": "done"}
    with pytest.raises(ValueError, match=r"worker must be a number and a count, such as 2/3, got 3/2"):
        run_study(grid, tmp_path / "study", worker=(3, 2))


def test_data_that_are_not_valid_stop_the_study_before_a_cell(tmp_path: Path) -> None:
    for cldr in ({"groups": 0}, {"group": 1}):
        with pytest.raises(ValueError, match=r"^data\.facts: .*group"):
            run_study(write(tmp_path, data={"facts": {"cldr": cldr}}), tmp_path / "study")
    assert not (tmp_path / "study" / "cells").exists()


def test_the_commands(st_hybrid: Callable[..., str], study: Path, tmp_path: Path) -> None:
    assert "small" in st_hybrid("study", "status", study)
    models = {"missing": {"path": str(tmp_path / "model")}}
    grid = write(tmp_path, models=models, methods={"untouched": None})
    with pytest.raises(SystemExit):
        st_hybrid("study", "run", grid, "--output", tmp_path / "study")
    assert "missing, facts, 1.0, untouched, 0) failed: " in st_hybrid("study", "status", tmp_path / "study")
    message = st_hybrid("study", "run", grid, "--output", tmp_path / "study", "--worker", "2", status=1)
    assert message == "worker must be a number and a count, such as 2/3, got '2'."
    assert "holds no study" in st_hybrid("study", "status", tmp_path, status=1)


@pytest.mark.full
def test_a_killed_cell_continues_to_the_scores_of_an_undisturbed_one(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"budgets": {"short": {"steps": 60}}, "methods": {"hybrid": {"alpha": 0.5}}}
    grid = write(tmp_path, recipe={**GRID["recipe"], "save_steps": 10}, **changes)
    (whole,) = run_study(grid, tmp_path / "whole")
    command = [sys.executable, "-m", "st_hybrid.cli", "study", "run", str(grid), "--output", str(tmp_path / "killed")]
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    checkpoints = tmp_path / "killed" / "cells" / whole.cell / "model" / "checkpoints"
    while not list(checkpoints.glob("checkpoint-2*/trainer_state.json")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert study_status(tmp_path / "killed")[0].state == "waiting"
    subprocess.run(command, env=environment, check=True)
    scores = [
        json.loads((tmp_path / name / "cells" / whole.cell / "scores.json").read_text())["tasks"]["facts"]
        for name in ("whole", "killed")
    ]
    for one in scores:
        del one["seconds"]
    assert scores[0] == scores[1]
    training = json.loads((tmp_path / "killed" / "cells" / whole.cell / "training.json").read_text())
    assert training["resumed_from"].startswith("checkpoint-")
