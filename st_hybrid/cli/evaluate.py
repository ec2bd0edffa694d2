"""The command that measures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from st_hybrid.benchmark import CorpusSearch, Task, evaluate_tasks
from st_hybrid.cli.options import DataDir, listed, options_of


@options_of(evaluate_tasks, omit=("tasks", "model_name", "centers", "corpus_search", "show_progress_bar"))
def evaluate(
    *,
    model: str,
    output: Path,
    task: tuple[Task, ...] = ("XQuAD-R",),
    data_dir: DataDir = None,
    center: list[str] | None = None,
    corpus_search: Annotated[CorpusSearch, Parameter(name="*", group="MIRACL")] = CorpusSearch(),  # noqa: B008 (frozen)
    **options: Any,
) -> None:
    """Evaluate a model on XQuAD-R, MLQA-R or MIRACL.

    One encoding pass serves all monolingual, cross-lingual and multilingual settings. Prints mAP, recall, nDCG, MRR,
    rank distance (language bias, lower is better), PEER (language fairness) and the languages that rank first. Writes
    the scores of all language pairs, and those of each query to OUTPUT.per-query.parquet.

    Args:
        model: The model: a folder or hub name.
        output: JSON file to write. Tasks that it already holds are kept.
        task: Task to evaluate on. Repeat the option for more tasks.
        data_dir: Folder with ``xquad-r/<lang>.json``, ``mlqa-r/<lang>.json`` and MIRACL's official layout. Without it
            the data are downloaded.
        center: Report also with language means subtracted: a folder with the means of ``st-hybrid center``, or
            ``evaluated`` for the means of the evaluated texts. Repeat the option for more means. Not for MIRACL.
    """
    from dataclasses import replace

    from st_hybrid.benchmark import print_scores
    from st_hybrid.data.zero_shot import zero_shot
    from st_hybrid.evaluation.per_query import per_query_path

    search = replace(corpus_search, languages=listed(corpus_search.languages))
    scores = evaluate_tasks(model, task, data_dir, output, centers=center or (), corpus_search=search, **options)
    print_scores(scores, Console())
    for name in scores:
        Console().print(f"{name}: {zero_shot(model, name)}.", markup=False, highlight=False)
    Console(stderr=True).print(f"Wrote [bold]{output}[/] and [bold]{per_query_path(output)}[/].")
