"""Commands that measure models and show what they find."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from st_hybrid.benchmark import evaluate_models, evaluate_tasks, print_scores, write_browse_page
from st_hybrid.benchmark.evaluate import Task
from st_hybrid.cli.options import DataDir, mapped, options_of


@options_of(evaluate_tasks, omit=("tasks", "columns", "model_name", "centers", "show_progress_bar"))
def evaluate(
    *,
    model: tuple[str, ...],
    output: Path,
    task: tuple[Task, ...] | None = None,
    data: tuple[str, ...] = (),
    data_dir: DataDir = None,
    column: list[str] | None = None,
    center: tuple[str, ...] = (),
    **options: Any,
) -> None:
    """Evaluate models on XQuAD-R, MLQA-R, MIRACL or your own data.

    Prints the monolingual, cross-lingual and multilingual measures, those of language bias and the languages that rank
    first. Writes the scores of all language pairs, and those of each query to OUTPUT.per-query.parquet.

    Args:
        model: The model: a folder or hub name. Repeat the option to put several side by side.
        output: JSON file to write; tasks that it already holds are kept. For several models a folder, for the scores
            of each and comparison.md.
        task: Task to evaluate on (XQuAD-R by default, if there is no ``--data``). Repeat the option for more tasks.
        data: Data of your own: parallel rows (a file, a folder or a hub name), or a folder with corpus.jsonl,
            queries.jsonl and judgements in BEIR's layout or that of mlir-benchmarks. Repeat the option for more.
        data_dir: Folder with xquad-r/LANG.json, mlqa-r/LANG.json or MIRACL's folders. By default data are downloaded.
        column: Map a column of parallel rows: ``query=question``. Repeat the option for more columns.
        center: Report also with language means subtracted: a folder with the means of ``st-hybrid center``, or
            ``evaluated`` for the means of the evaluated texts. Repeat the option for more means. Not for MIRACL.
    """
    from st_hybrid.data.zero_shot import EVALUATION_SETS, zero_shot

    tasks = task or (() if data else ("XQuAD-R",))
    options |= {"data": data, "columns": mapped(column), "centers": center}
    if len(model) > 1:
        evaluate_models(model, tasks, data_dir, output, **options)
        Console().print(Markdown((output / "comparison.md").read_text(encoding="utf-8")))
        Console(stderr=True).print(f"Wrote [bold]{output}[/]: the scores of each model, and comparison.md.")
    else:
        scores = evaluate_tasks(model[0], tasks, data_dir, output, **options)
        print_scores(scores, Console())
        for name in filter(EVALUATION_SETS.__contains__, scores):
            Console().print(f"{name}: {zero_shot(model[0], name)}.", markup=False, highlight=False)
        Console(stderr=True).print(f"Wrote [bold]{output}[/] and, beside it, what each query scored and found.")


@options_of(write_browse_page, omit=("variants",))
def browse(
    a: Path,
    b: Path,
    /,
    *,
    output: Path = Path("browse.html"),
    variant: tuple[str, ...] = ("plain",),
    **options: Any,
) -> None:
    """Write a page that shows what two models find for each question.

    The page shows the first ten passages of each model side by side, coloured by language, with right answers marked.
    Questions can be filtered by language and ordered by the difference of the models. It needs no server.

    Args:
        a: File of scores of the first model, as ``st-hybrid evaluate`` wrote it.
        b: That of the second; or the first again, to compare two variants.
        output: HTML file to write.
        variant: Variant to show: ``plain``, or ``"centered: evaluated"`` and the like. Give it twice for one of each.
    """
    variants = (variant[0], variant[-1])
    if len(variant) > 2:
        raise ValueError("There are two models, so give at most two variants.")
    shown = write_browse_page(a, b, output, variants=variants, **options)
    Console(stderr=True).print(f"Wrote [bold]{output}[/]: {shown:,} questions. Open it in a browser.")
