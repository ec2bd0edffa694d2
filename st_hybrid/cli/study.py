"""Commands for studies: grids of trainings."""

import sys
from pathlib import Path

from rich.console import Console

from st_hybrid.cli.options import DataDir
from st_hybrid.study.cells import print_status, run_study, study_status
from st_hybrid.study.export import Layout, export_study
from st_hybrid.study.report import write_report


def run(
    grid: Path,
    /,
    *,
    output: Path,
    data_dir: DataDir = None,
    worker: str | None = None,
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
        retry_failed: Run cells again that failed.
        keep_weights: Keep the trained models.
    """
    numbers = None
    if worker is not None:
        parts = worker.split("/")
        if len(parts) != 2 or not all(part.isdecimal() for part in parts):
            raise ValueError(f"worker must be a number and a count, such as 2/3, got {worker!r}.")
        numbers = int(parts[0]), int(parts[1])
    options = {"retry_failed": retry_failed, "keep_weights": keep_weights}
    cells = run_study(grid, output, data_dir=data_dir, worker=numbers, **options)
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
