"""Tables of scores for the screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from st_hybrid.evaluation import SETTINGS
from st_hybrid.evaluation.scoring import PEER, TOP_LANGUAGES

#: The variant of a model that nothing was subtracted from.
AS_IT_IS = "as it is"


def print_scores(results: dict[str, Any], console: Console) -> None:
    """Print the tables of a task: the measures of the three settings, and the languages of the first ten.

    Args:
        results: What :func:`~st_hybrid.benchmark.evaluate_tasks` gives.
        console: Where to print.
    """
    labels = {
        "map": "mAP",
        "recall_at_1": "recall@1",
        "recall_at_10": "recall@10",
        "ndcg_at_10": "nDCG@10",
        "mrr_at_10": "MRR@10",
    }
    for task, scores in results["tasks"].items():
        if "per_language" in scores:
            console.print(_languages_table(task, scores))
            continue
        counts = scores["counts"]
        table = Table(
            title=f"{task}: {sum(counts['queries'].values()):,} questions, "
            f"{sum(counts['candidates'].values()):,} candidates, {len(counts['queries'])} languages",
            caption="Mo.: pool in the query's language. Cr.: in one other language. Mul.: in all languages. "
            "Rank distance: language bias, lower is better. PEER: language fairness of the first 20 in all languages, "
            "about .5 where the order has nothing to do with language.",
        )
        table.add_column("", overflow="fold")
        table.add_column("", no_wrap=True)
        for header in ("Mo.", "Cr.", "Mul.", "rank distance", "PEER"):
            table.add_column(header, justify="right", no_wrap=True)
        for name, part in variants_of(scores).items():
            once = [
                f"{part['rank_distance']:,.0f}" if "rank_distance" in part else "",
                _decimals(part.get("multilingual", {}).get(PEER)),
            ]
            for measure, label in labels.items():
                cells = [_decimals(part.get(setting, {}).get(measure)) for setting in SETTINGS]
                table.add_row(name, label, *cells, *once, end_section=label == "MRR@10")
                name, once = "", ["", ""]
        console.print(table)
        for name, part in variants_of(scores).items():
            if part.get(TOP_LANGUAGES):
                title = f"{task}, {name}: languages of the first ten by language of the question, in per cent"
                console.print(title, markup=False, highlight=False)
                console.print(_top_languages_table(part))


def _languages_table(task: str, scores: dict[str, Any]) -> Table:
    languages = scores["per_language"]
    approximate = any("index_recall_at_100" in part for part in languages.values())
    table = Table(title=f"{task}: {len(languages)} languages, split dev")
    table.add_column("")
    for header in ("queries", "passages", "nDCG@10", "recall@100", *(["found by the index"] if approximate else [])):
        table.add_column(header, justify="right", no_wrap=True)
    for language, part in languages.items():
        cells = [_decimals(part[measure]) for measure in ("ndcg_at_10", "recall_at_100")]
        recall = [_decimals(part.get("index_recall_at_100"))] if approximate else []
        table.add_row(language, f"{part['queries']:,}", f"{part['passages']:,}", *cells, *recall)
    table.add_section()
    for name, part in scores["means"].items():
        title = "mean" if name == "all" else "mean of the paper's 15"
        table.add_row(title, "", "", *(_decimals(part[measure]) for measure in ("ndcg_at_10", "recall_at_100")))
    return table


def _decimals(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _top_languages_table(scores: dict[str, Any]) -> Table:
    pool = scores["counts"]["candidates"]
    table = Table("")
    for language in pool:
        table.add_column(language, justify="right", no_wrap=True)
    for language, shares in scores[TOP_LANGUAGES].items():
        table.add_row(language, *(f"{100 * shares[other]:.0f}" for other in pool))
    table.add_section()
    table.add_row("pool", *(f"{100 * count / sum(pool.values()):.0f}" for count in pool.values()))
    return table


def variants_of(scores: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The scores of a task, and those with language means subtracted, under names for people."""
    names = list(scores["centered"])
    short = [Path(name).name for name in names]
    labels = short if len(set(short)) == len(short) else names
    centred = {f"centred: {label}": scores["centered"][name] for label, name in zip(labels, names, strict=True)}
    return {AS_IT_IS: scores, **centred}
