"""The results of a study for other tools: runs and judgements of TREC, and result files of mteb."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from st_hybrid.benchmark.scores_file import read_scores
from st_hybrid.evaluation.per_query import FIRST_PASSAGES_KEYS, first_passages_path, read_per_query
from st_hybrid.evaluation.results import MEASURES, MULTI, SettingScores
from st_hybrid.files import replacing
from st_hybrid.study.cells import CELLS, CellStatus, study_status
from st_hybrid.study.grid import Grid, read_grid

__all__ = ["Layout", "export_study"]

Layout = Literal["trec", "mteb"]
_SCORES = "scores.json"


def export_study(study: str | Path, output: str | Path, layout: Layout) -> list[Path]:
    """Write the results of the cells that are done in the layout of other tools.

    **trec**: ``<task>/qrels``, and for each cell and variant ``<task>/<cell>-<variant>.run`` with the first 10 passages
    of each query in the pool of all languages. A cell keeps no more, so a measure that looks further down, such as
    mean average precision, has to come from ``scores.json``. A topic is named by its language and id (``de:q17``),
    since translations share their id. Only relevant passages are judged.

    **mteb**: a folder of ``mteb.ResultCache`` with the scores on XQuAD-R and MLQA-R. Each cell is an experiment of the
    model that it starts from; its arguments are the cell's names in the grid, and the variant. Scores on a sample or on
    some languages are left out, since they are none of mteb's task.

    Args:
        study: Folder of the study.
        output: Folder to write.
        layout: "trec" or "mteb".

    Returns:
        The files that were written.

    Raises:
        FileNotFoundError: The folder holds no study.
        ValueError: No cell has results for the layout.

    Example:
        ::

            from st_hybrid.study.cells import run_study
            from st_hybrid.study.export import export_study

            run_study("grid.yaml", "study")
            export_study("study", "runs", "trec")
    """
    written = list({"trec": _export_trec, "mteb": _export_mteb}[layout](Path(study), Path(output)))
    if not written:
        has = {"trec": "ranked passages", "mteb": "measured XQuAD-R or MLQA-R as a whole"}[layout]
        raise ValueError(f"There is nothing to write: no cell of {study} that is done has {has}.")
    return list(dict.fromkeys(written))


def _export_trec(study: Path, output: Path) -> Iterator[Path]:
    for cell, place in _done(study):
        path = first_passages_path(place / _SCORES)
        if not path.is_file():  # MIRACL alone
            continue
        found = read_per_query(path, FIRST_PASSAGES_KEYS)
        language, query, passage = (_token(found[name]) for name in ("query_language", "query_id", "passage_id"))
        topic = pc.binary_join_element_wise(language, query, ":")
        rest = {name: found[name] for name in ("task", "variant", "rank", "relevant")}
        found = pa.table({"topic": topic, "passage": passage, **rest})
        for task in pc.unique(found["task"]).to_pylist():
            of_task, folder = found.filter(pc.field("task") == task), output / _file_name(task)
            relevant = of_task.filter(pc.field("relevant")).group_by(["topic", "passage"], use_threads=False)
            judged = relevant.aggregate([]).sort_by([("topic", "ascending"), ("passage", "ascending")])
            yield _write(folder / "qrels", judged["topic"], 0, judged["passage"], 1)
            for variant in pc.unique(of_task["variant"]).to_pylist():
                first = of_task.filter((pc.field("variant") == variant) & (pc.field("rank") <= 10))
                score = pc.divide(1.0, first["rank"].cast(pa.float64()))  # tools order by the score, not by the rank
                file = folder / f"{cell.cell}-{_file_name(variant)}.run"
                yield _write(file, first["topic"], "Q0", first["passage"], first["rank"], score, cell.cell)


def _export_mteb(study: Path, output: Path) -> Iterator[Path]:
    import mteb  # here, because it takes long
    from mteb.models import ModelMeta

    from st_hybrid.tasks import MLQAR, XQuADR

    grid = read_grid(study / "grid.yaml")
    if grid.evaluation.sample or grid.evaluation.languages:
        return
    cache = mteb.ResultCache(output)
    for cell, place in _done(study):
        _, found = read_scores(place / _SCORES)
        names = {name: value for name, value in cell.settings.items() if name != "model"}
        for task in (task for task in (XQuADR, MLQAR) if task.metadata.name in found):
            scores = found[task.metadata.name]
            for variant, of_variant in scores.variants.items():
                about: dict[str, Any] = {"name": _model_name(grid, cell), "revision": "no_revision_available"}
                about |= {"n_parameters": cell.about["parameters"], "experiment_kwargs": {**names, "variant": variant}}
                meta = ModelMeta.create_empty(about)
                of_subset = {subset: _measures(subset, of_pair) for subset, of_pair in of_variant.per_pair.items()}
                result = mteb.TaskResult.from_task_results(
                    task,
                    {task.metadata.eval_splits[0]: of_subset},
                    evaluation_time=sum(scores.seconds.values()),
                    date=datetime.fromisoformat(cell.about["finished"]),
                )
                cache.save_to_cache(result, meta)
                yield cache.get_task_result_path(task.metadata.name, meta)


def _done(study: Path) -> Iterator[tuple[CellStatus, Path]]:
    """The cells that are done, each once, with their folders."""
    cells = {cell.cell: cell for cell in study_status(study) if cell.state == "done"}
    return ((cell, study / CELLS / name) for name, cell in cells.items())


def _model_name(grid: Grid, cell: CellStatus) -> str:
    """The hub name of a cell's start, or its name in the grid; mteb needs an organisation in it."""
    name = str(cell.settings["model"])
    path = grid.models[name].path or ""
    return path if path.count("/") == 1 and not Path(path).exists() else f"st-hybrid/{name}"


def _measures(subset: str, scores: SettingScores) -> dict[str, float]:
    """What the task itself reports of a subset."""
    names = (*MEASURES, "rank_distance") if subset.endswith(MULTI) else MEASURES
    return {**{name: value for name, value in scores.to_dict().items() if name in names}, "main_score": scores.map}


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-")


def _token(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """Names without spaces, which separate the columns of a file of TREC."""
    return pc.replace_substring_regex(pc.replace_substring(names.cast(pa.string()), "%", "%25"), r"\s", "%20")


def _write(path: Path, *columns: Any) -> Path:
    """Write columns, or values that all lines share, with a space between them."""
    lines = len(columns[0])
    filled = [part if isinstance(part, pa.ChunkedArray) else pa.repeat(part, lines) for part in columns]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        options = csv.WriteOptions(include_header=False, delimiter=" ", quoting_style="none")
        csv.write_csv(pa.table(filled, names=list(map(str, range(len(filled))))), temporary, options)
    return path
