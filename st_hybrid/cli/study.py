"""Commands for studies: grids of trainings."""

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from st_hybrid.cli.options import DataDir, mapped
from st_hybrid.study.cells import print_status, run_study, study_status
from st_hybrid.study.engines import Engine, run_workers
from st_hybrid.study.export import Layout, export_study
from st_hybrid.study.report import write_report

_SLURM = "Parameter of submitit: ``slurm_partition=gpu``. Repeat it for more, such as ``timeout_min=600``."


def run(
    grid: Path,
    /,
    *,
    output: Path,
    data_dir: DataDir = None,
    worker: str | None = None,
    engine: Engine | None = None,
    workers: int | None = None,
    slurm: Annotated[list[str] | None, Parameter(help=_SLURM)] = None,
    retry_failed: bool = False,
    keep_weights: bool = False,
) -> None:
    """Train and evaluate the cells of a grid that its folder lacks.

    The same command continues after a crash. Start it several times for several workers, also on other machines that
    share the folder.

    Args:
        grid: YAML file with models, data, methods, budgets and seeds.
        output: Folder of the study.
        data_dir: Folder with xquad-r/LANG.json, mlqa-r/LANG.json or MIRACL's folders. By default data are downloaded.
        worker: This worker and their number, such as ``2/3``, on file systems without locks. By default each worker
            takes the next free cell.
        engine: Start workers through Ray ("ray") or Slurm ("slurm") in place of working here.
        workers: Number of workers to start (1 by default).
        retry_failed: Run cells again that failed.
        keep_weights: Keep the trained models.
    """
    numbers = None
    if worker is not None:
        parts = worker.split("/")
        if len(parts) != 2 or not all(part.isdecimal() for part in parts):
            raise ValueError(f"worker must be a number and a count, such as 2/3, got {worker!r}.")
        numbers = int(parts[0]), int(parts[1])
    options: dict[str, Any] = {"data_dir": data_dir, "retry_failed": retry_failed, "keep_weights": keep_weights}
    if engine is None:
        for name, given in (("workers", workers), ("slurm", slurm)):
            if given is not None:
                raise ValueError(f"--{name} has no effect without --engine. Leave it out, or name an engine.")
        cells = run_study(grid, output, worker=numbers, **options)
    elif numbers is not None:
        raise ValueError("--worker has no effect with --engine. Leave it out.")
    else:
        parameters = {name: int(value) if value.isdecimal() else value for name, value in mapped(slurm, "a=b").items()}
        jobs = run_workers(grid, output, engine, 1 if workers is None else workers, slurm=parameters, **options)
        if jobs:
            Console().print(f"Submitted {', '.join(jobs)}. See how far they are: st-hybrid study status {output}")
            return
        cells = study_status(output)
    print_status(cells, Console())
    if any(cell.state == "failed" for cell in cells):
        sys.exit(1)


def status(study: Path, /) -> None:
    """Show how far the cells of a study are, and the time left.

    Args:
        study: Folder of the study.
    """
    print_status(study_status(study), Console())


def report(study: Path, /, *, output: Path | None = None) -> None:
    """Write the report of a study: contrasts, tables and figures, as a page and in Markdown.

    Args:
        study: Folder of the study.
        output: Folder to write (``report`` in the study's by default).
    """
    Console(stderr=True).print(
        f"Wrote [bold]{write_report(study, output)}[/], report.md, and each figure with its numbers."
    )


def export(study: Path, /, *, output: Path, layout: Layout) -> None:
    """Write the results of a study for other tools: runs of TREC, or experiments of mteb.

    Args:
        study: Folder of the study.
        output: Folder to write.
        layout: The first 10 passages of each query as runs with judgements ("trec"), or the scores on XQuAD-R and
            MLQA-R as a folder of results ("mteb").
    """
    written = export_study(study, output, layout)
    Console(stderr=True).print(f"Wrote {len(written)} files to [bold]{output}[/].")
