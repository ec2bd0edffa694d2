"""The scores of several models side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from st_hybrid.benchmark.scores_file import MIRACL, read_scores, short_names

if TYPE_CHECKING:
    from st_hybrid.evaluation.results import MiraclScores, TaskScores


def compare_scores(paths: Sequence[str | Path]) -> str:
    """Put the scores of several models side by side.

    Args:
        paths: Files of scores that :func:`~st_hybrid.benchmark.evaluate_tasks` wrote.

    Returns:
        Markdown, with tables of each task: the measures of each model, and those of each language of the queries.
        Models that were evaluated on other texts of a task, such as another sample, have tables of their own.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file is of another version.

    Example:
        ::

            from st_hybrid.benchmark import compare_scores

            print(compare_scores(["plain.json", "hybrid.json"]))
    """
    models, scores_of = zip(*map(read_scores, paths), strict=True)
    runs = list(zip(short_names(models), scores_of, strict=True))
    parts = []
    for task in dict.fromkeys(task for _, tasks in runs for task in tasks):
        left = {model: tasks[task] for model, tasks in runs if task in tasks}
        parts.append(f"## {task}")
        if task == MIRACL:
            parts.append(_miracl(left))
            continue
        while left:
            counts = next(iter(left.values())).counts
            parts.append(_retrieval({model: scores for model, scores in left.items() if scores.counts == counts}))
            left = {model: scores for model, scores in left.items() if scores.counts != counts}
    return "\n\n".join(parts) + "\n"


def _retrieval(models: Mapping[str, TaskScores]) -> str:
    from st_hybrid.evaluation.results import MIXED_MEASURES, MULTI, PLAIN, SETTINGS

    counts = next(iter(models.values())).counts
    runs = {
        name if variant == PLAIN else f"{name}, {variant}": scores
        for name, of_model in models.items()
        for variant, scores in of_model.variants.items()
    }
    measures, biases = [], []
    for name, scores in runs.items():
        mixed = scores.multilingual
        cells = [getattr(scores.by_setting.get(kind), "map", None) for kind in SETTINGS]
        cells += [mixed.ndcg_at_10, mixed.recall_at_10]
        measures.append([name, *(decimals(cell) for cell in cells)])
        shares = (mixed.peer_at_20, *(getattr(scores, measure) for measure in MIXED_MEASURES[1:]))
        biases.append([name, decimals(scores.rank_distance, 0), *(decimals(share) for share in shares)])
    languages = [
        [language, *(decimals(scores.per_pair[f"{language}-{MULTI}"].map) for scores in runs.values())]
        for language in next(iter(runs.values())).top_10_languages
    ]
    headers = ("Mo. mAP", "Cr. mAP", "Mul. mAP", "Mul. nDCG@10", "Mul. recall@10")
    of_bias = ("rank distance", "PEER@20", "foreign recall@20", "language preference", "rank correlation")
    queries, passages = (sum(part.values()) for part in (counts.queries, counts.passages))
    return (
        f"{queries:,} queries and {passages:,} passages in {len(counts.passages)} languages.\n\n"
        f"{_table(headers, measures)}\n\nLanguages in the pool of all languages:\n\n{_table(of_bias, biases)}\n\n"
        f"Mul. mAP by language of the query:\n\n{_table(list(runs), languages)}"
    )


def _miracl(models: Mapping[str, MiraclScores]) -> str:
    languages = dict.fromkeys(language for scores in models.values() for language in scores.per_language)
    rows = []
    for language in languages:
        found = [getattr(scores.per_language.get(language), "ndcg_at_10", None) for scores in models.values()]
        rows.append([language, *(decimals(one) for one in found)])
    if all(len(scores.per_language) == len(languages) for scores in models.values()):
        rows.append(["mean", *(decimals(scores.means["all"].ndcg_at_10) for scores in models.values())])
    return f"nDCG@10 by language:\n\n{_table(list(models), rows)}"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown with a first column of names."""
    lines = [["", *headers], ["---", *["---:"] * len(headers)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def decimals(value: float | None, digits: int = 3) -> str:
    """A number with some digits after the point; empty for None."""
    return "" if value is None else f"{value:,.{digits}f}"
