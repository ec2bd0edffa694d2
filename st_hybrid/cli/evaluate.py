"""The command that measures."""

from pathlib import Path
from typing import Any

from rich.console import Console

from st_hybrid.benchmark import Task, evaluate_tasks, print_scores
from st_hybrid.cli.options import DataDir, options_of


@options_of(evaluate_tasks, omit=("tasks", "model_name", "centers", "show_progress_bar"))
def evaluate(
    *,
    output: Path,
    task: tuple[Task, ...] = ("XQuAD-R",),
    data_dir: DataDir = None,
    center: tuple[str, ...] = (),
    **options: Any,
) -> None:
    """Evaluate a model on XQuAD-R, MLQA-R or MIRACL.

    Prints the monolingual, cross-lingual and multilingual measures, the rank distance (language bias) and the languages
    that rank first. Writes the scores of all language pairs, and those of each query to OUTPUT.per-query.parquet.

    Args:
        output: JSON file to write. Tasks that it already holds are kept.
        task: Task to evaluate on. Repeat the option for more tasks.
        data_dir: Folder with xquad-r/LANG.json, mlqa-r/LANG.json or MIRACL's folders. By default data are downloaded.
        center: Report also with language means subtracted: a folder with the means of ``st-hybrid center``, or
            ``evaluated`` for the means of the evaluated texts. Repeat the option for more means. Not for MIRACL.
    """
    from st_hybrid.data.zero_shot import zero_shot

    scores = evaluate_tasks(tasks=task, data_dir=data_dir, output=output, centers=center, **options)
    print_scores(scores, Console())
    for name in scores:
        Console().print(f"{name}: {zero_shot(options['model'], name)}.", markup=False, highlight=False)
    Console(stderr=True).print(f"Wrote [bold]{output}[/] and {output.stem}.per-query.parquet beside it.")
