"""The cells of a study: run what is missing, skip what is done, record what failed."""

import json
import logging
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from datasets import Dataset
from filelock import FileLock, Timeout
from rich.console import Console
from rich.table import Table

from st_hybrid.benchmark import evaluate_tasks
from st_hybrid.data import open_row_sets, write_rows
from st_hybrid.encoders import load_encoder
from st_hybrid.files import replacing, write_json
from st_hybrid.grouping import numbered
from st_hybrid.provenance import provenance
from st_hybrid.search.fingerprint import texts_fingerprint
from st_hybrid.study.cldr import cldr_rows
from st_hybrid.study.facts import fact_rows
from st_hybrid.study.grid import Cell, Grid, cell_name, read_grid
from st_hybrid.study.scratch import active_parameters, scratch_encoder
from st_hybrid.training import finetune

__all__ = ["CellStatus", "print_status", "run_study", "study_status"]

logger = logging.getLogger(__name__)

State = Literal["done", "running", "failed", "waiting"]
PLAN, CELLS, DONE, LOCK = "plan.json", "cells", "cell.json", "lock"
_STARTS, _DATA, _WEIGHTS = "starts", "data", "model"


@dataclass(frozen=True)
class _Rows:
    """The sets of a part of the grid, and the file of its held-out part, if it has one."""

    sets: dict[str, Dataset]
    fingerprint: str
    held_out: Path | None

    @property
    def languages(self) -> list[str]:
        """The languages of the rows."""
        return sorted({code for rows in self.sets.values() for code in rows.unique("language")})

    def part(self, fraction: float) -> dict[str, Dataset]:
        """A share of the groups of each set; a smaller one is part of a larger one."""
        if fraction == 1:
            return self.sets
        found = {}
        for name, rows in self.sets.items():
            group, ids = numbered(rows.with_format("arrow")["id"][:])
            place = np.random.default_rng(0).permutation(len(ids))
            found[name] = rows.select(np.flatnonzero(place[group] < np.ceil(fraction * len(ids))))
        return found


@dataclass(frozen=True)
class CellStatus:
    """How far a cell is: ``settings`` are its names in the grid, ``about`` what ``cell.json`` says of it."""

    cell: str
    settings: dict[str, Any]
    state: State
    about: dict[str, Any]

    @property
    def seconds(self) -> float:
        """The seconds that a cell that is done took."""
        return float(self.about["train_seconds"] + self.about["evaluate_seconds"])


def run_study(
    grid: str | Path,
    output: str | Path,
    *,
    data_dir: str | Path | None = None,
    worker: tuple[int, int] | None = None,
    retry_failed: bool = False,
    keep_weights: bool = False,
) -> list[CellStatus]:
    """Train and evaluate the cells of a grid that its folder lacks, and return the status of all.

    Each cell has a folder, ``cells/<16 hexadecimal digits>``: the hash of all that decides its scores. It holds
    ``settings.json``, ``environment.json``, ``training.json``, ``scores.json``, the scores of each query beside it, and
    at last ``cell.json``. A cell that was killed continues from its last checkpoint. One that fails is recorded with
    its error, and the others go on. Start the same command again, on this machine or on others that share the folder,
    for more workers: a worker holds the lock of the cell that it runs, and a worker that is killed frees it.

    Args:
        grid: YAML file: the fields of :class:`~st_hybrid.study.grid.Grid`.
        output: Folder of the study.
        data_dir: Folder of the evaluation sets, as for :func:`~st_hybrid.benchmark.evaluate_tasks`.
        worker: Number of this worker, from 1, and the number of workers: split the cells without locks, on file systems
            that have none.
        retry_failed: Run cells again that failed.
        keep_weights: Keep the trained models.

    Raises:
        ValueError: The grid or its data are not valid. Raised before any cell runs.

    Example:
        ::

            from st_hybrid.study.cells import run_study

            run_study("grid.yaml", "study")
    """
    parsed, folder = read_grid(grid), Path(output)
    if worker is not None and not 1 <= worker[0] <= worker[1]:
        raise ValueError(f"worker must be a number and a count, such as 2/3, got {worker[0]}/{worker[1]}.")
    rows = _read_data(parsed, folder)
    cells: dict[str, tuple[Cell, dict[str, Any]]] = {}
    plan = []
    for cell in parsed.cells:
        settings = cell.settings(parsed, rows[cell.data].fingerprint, version("st-hybrid"))
        name = cell_name(settings)
        cells.setdefault(name, (cell, settings))  # two budgets may mean the same steps
        plan.append({"cell": name, **cell.names()})
    write_json(folder / PLAN, plan)
    with replacing(folder / "grid.yaml") as temporary:
        shutil.copyfile(grid, temporary)
    console, mine = Console(stderr=True), list(cells)
    if worker is not None:
        mine = mine[worker[0] - 1 :: worker[1]]
    left = True
    while left:  # a worker that is killed leaves its cell to the others
        left = False
        for number, name in enumerate(mine, 1):
            place = folder / CELLS / name
            with _claimed(place, locked=worker is None) as claimed:
                about = _read(place / DONE)
                if not claimed or about.get("status") == "done" or (about and not retry_failed):
                    continue
                left = worker is None
                cell, settings = cells[name]
                write_json(place / "settings.json", {**cell.names(), "settings": settings})
                about = _run(parsed, cell, rows[cell.data], place, folder, data_dir)
                write_json(place / DONE, about)
                said = about.get("error") or f"{about['train_seconds'] + about['evaluate_seconds']:,.0f} s"
                console.print(f"{number}/{len(mine)} {cell}: {about['status']}, {said}", markup=False, highlight=False)
                if about["status"] == "done" and not keep_weights:
                    shutil.rmtree(place / _WEIGHTS, ignore_errors=True)
        retry_failed = False  # once
    return study_status(folder)


def study_status(study: str | Path) -> list[CellStatus]:
    """Tell how far each cell of a study is.

    Args:
        study: Folder of the study.

    Raises:
        FileNotFoundError: The folder holds no study.
    """
    folder = Path(study)
    if not (folder / PLAN).is_file():
        raise FileNotFoundError(f"{folder} holds no study: it has no {PLAN}. Start one with st-hybrid study run.")
    found = []
    for planned in json.loads((folder / PLAN).read_text(encoding="utf-8")):
        place = folder / CELLS / planned["cell"]
        about = _read(place / DONE)
        state: State = about.get("status", "waiting")
        if state != "done" and (place / LOCK).is_file():
            with _claimed(place, locked=True) as free:
                state = state if free else "running"
        settings = {key: value for key, value in planned.items() if key != "cell"}
        found.append(CellStatus(planned["cell"], settings, state, about))
    return found


def print_status(cells: Sequence[CellStatus], console: Console) -> None:
    """Print how many cells of each model are done, running, failed and waiting, the time left, and the errors."""
    cells = list({cell.cell: cell for cell in cells}.values())
    table = Table("model", "done", "running", "failed", "waiting", "median of done", "left")
    total = 0.0
    for model in dict.fromkeys(str(cell.settings["model"]) for cell in cells):
        own = [cell for cell in cells if cell.settings["model"] == model]
        states, took = Counter(cell.state for cell in own), [cell.seconds for cell in own if cell.state == "done"]
        left = sum(_expected(cell, cells) for cell in own if cell.state in ("waiting", "running"))
        total += left
        counts = (str(states[state]) for state in ("done", "running", "failed", "waiting"))
        table.add_row(model, *counts, _time(median(took)) if took else "", _time(left) if took else "")
    console.print(table)
    workers = max(1, sum(cell.state == "running" for cell in cells))
    if total:
        console.print(f"About {_time(total / workers)} left with {workers} running.")
    for cell in cells:
        if cell.state == "failed":
            names = ", ".join(str(value) for value in cell.settings.values() if value is not None)
            console.print(f"{cell.cell} ({names}) failed: {cell.about['error']}", markup=False, highlight=False)


def _expected(cell: CellStatus, cells: Sequence[CellStatus]) -> float:
    """The median seconds of the cells that are done and most like this one."""
    done = [other for other in cells if other.state == "done" and other.about["steps"]]
    for keys in (("model", "data", "fraction", "budget", "method"), ("model", "budget"), ("model",), ()):
        like = [one.seconds for one in done if all(one.settings[key] == cell.settings[key] for key in keys)]
        if like:
            return median(like)
    return 0.0


def _time(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


@contextmanager
def _claimed(place: Path, *, locked: bool) -> Iterator[bool]:
    """Hold the lock of a cell, if no other process does; say whether it is held."""
    place.mkdir(parents=True, exist_ok=True)
    if not locked:
        yield True
        return
    lock = FileLock(place / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _read_data(grid: Grid, folder: Path) -> dict[str, _Rows]:
    """Read the rows of each part of the grid, and write the held-out ones."""
    found = {}
    for name, data in grid.data.items():
        held_out = None
        try:
            if not data.sets:
                rows = cldr_rows(**data.cldr) if data.cldr is not None else fact_rows(**(data.facts or {}))
                sets, held_out = {"CLDR": rows["train"]}, folder / _DATA / f"{name}.jsonl"
                write_rows(rows["test"], held_out)
            else:
                sets = dict(open_row_sets(data.sets, columns=data.columns, check_languages=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"data.{name}: {error}") from error
        found[name] = _Rows(sets, _fingerprint([*sets.values(), *([rows["test"]] if held_out else [])]), held_out)
    return found


def _fingerprint(sets: Sequence[Dataset]) -> str:
    """Fingerprint of the columns of sets and of their texts."""
    parts = []
    for rows in sets:
        table = rows.with_format("arrow")[:]
        for column in sorted(table.column_names):
            texts = table[column].cast(pa.large_string()).fill_null("").combine_chunks()
            parts.append({column: texts_fingerprint(texts)})
    return cell_name({"texts": parts})


def _run(grid: Grid, cell: Cell, rows: _Rows, place: Path, folder: Path, data_dir: str | Path | None) -> dict[str, Any]:
    """Train and evaluate a cell; what ``cell.json`` says of it."""
    try:
        write_json(place / "environment.json", provenance())
        model, began = _start(grid, cell, rows, folder), time.perf_counter()
        steps, train_seconds = 0, 0.0
        if not cell.untrained:
            finetune(model, rows.part(cell.fraction), place / _WEIGHTS, cell.recipe, resume=True)
            training = _read(place / _WEIGHTS / "training.json")
            steps, train_seconds, model = training["steps"], training["seconds"], str(place / _WEIGHTS)
            write_json(place / "training.json", training)
            began = time.perf_counter()
        options = grid.evaluation.model_dump(exclude={"tasks", "data", "dtype"})
        encoder = load_encoder(model, dtype=grid.evaluation.dtype)
        evaluate_tasks(
            encoder,
            grid.evaluation.tasks,
            data_dir,
            place / "scores.json",
            data=[*grid.evaluation.data, *([rows.held_out] if rows.held_out else [])],
            model_name=str(cell),
            query_prompt=cell.recipe.query_prompt,
            document_prompt=cell.recipe.document_prompt,
            show_progress_bar=False,
            **options,
        )
        alpha = cell.recipe.sampler_options["alpha"]
        return {
            "status": "done",
            "active_parameters": active_parameters(encoder),
            "parameters": sum(weight.numel() for weight in encoder.parameters()),
            "steps": steps,
            "cross_lingual_batches": round((1 - alpha) * steps),
            "languages": [] if cell.untrained else rows.languages,
            "train_seconds": round(train_seconds, 1),
            "evaluate_seconds": round(time.perf_counter() - began, 1),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
    except Exception as error:
        logger.exception("%s failed", cell)
        return {"status": "failed", "error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}


def _start(grid: Grid, cell: Cell, rows: _Rows, folder: Path) -> str:
    """The model that a cell starts from; one from scratch is made once per seed."""
    model = grid.models[cell.model]
    if model.scratch is None:
        return str(model.path)
    about: Mapping[str, Any] = {"sizes": model.scratch.model_dump(), "data": rows.fingerprint, "seed": cell.seed}
    place = folder / _STARTS / cell_name(about)
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_suffix(".lock")):
        if not place.is_dir():
            texts = (text for one in rows.sets.values() for column in ("query", "positive") for text in one[column])
            encoder = scratch_encoder(model.scratch, texts, seed=cell.seed)
            with replacing(place) as temporary:
                encoder.save_pretrained(str(temporary))
    return str(place)
