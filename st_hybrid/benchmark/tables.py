"""Tables of scores for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table

from st_hybrid.benchmark.compare import decimals
from st_hybrid.benchmark.scores_file import MIRACL

if TYPE_CHECKING:
    from st_hybrid.evaluation.results import MiraclScores, RetrievalScores, TaskScores

_CAPTION = "Mo.: pool in the query's language. Cr.: in one other language. Mul.: in all languages."
_MIXED_CAPTION = (
    "Rank distance: language bias, lower is better. PEER: language fairness of the first 20, about .5 where the order "
    "does not depend on language. Foreign recall: share of the relevant passages in other languages than the query's "
    "among the first 20. Preference: how often the first relevant passage is in the query's language. Correlation: "
    "1 where translations of a query rank all passages alike."
)


def print_scores(tasks: Mapping[str, Any], console: Console) -> None:
    """Print what :func:`evaluate_tasks` returns: measures of the settings and of bias, languages of the first 10."""
    for task, scores in tasks.items():
        if task == MIRACL:
            console.print(_miracl_table(scores))
        else:
            console.print(_measures_table(task, scores))
            console.print(_mixed_table(task, scores))
            for name, variant in scores.variants.items():
                title = f"{task}, {name}: languages of the first 10 by language of the query, in per cent"
                console.print(title, markup=False, highlight=False)
                console.print(_top_languages_table(variant))


def _measures_table(task: str, scores: TaskScores) -> Table:
    from st_hybrid.evaluation.results import MEASURES

    labels = ("mAP", "recall@1", "recall@10", "nDCG@10", "MRR@10")
    queries, passages = (sum(counts.values()) for counts in (scores.counts.queries, scores.counts.passages))
    table = _table("", "Mo.", "Cr.", "Mul.")
    table.title = f"{task} in {len(scores.counts.queries)} languages: {queries:,} queries, {passages:,} passages"
    table.caption = _CAPTION
    if scores.counts.empty_settings:
        table.caption += f" {scores.counts.empty_settings} settings have no relevant passage and are left out."
    for name, variant in scores.variants.items():
        for measure, label in zip(MEASURES, labels, strict=True):
            means = (variant.monolingual, variant.cross_lingual, variant.multilingual)
            table.add_row(name, label, *(decimals(getattr(part, measure, None)) for part in means))
            name = ""
        table.add_section()
    return table


def _mixed_table(task: str, scores: TaskScores) -> Table:
    table = _table("rank distance", "PEER@20", "foreign recall@20", "preference", "correlation")
    table.title = f"{task}: languages in the pool of all languages"
    table.caption = _MIXED_CAPTION
    if scores.counts.one_language:
        table.caption += (
            f" {scores.counts.one_language:,} queries have relevant passages in one language only, "
            "and so no rank distance."
        )
    for name, variant in scores.variants.items():
        shares = (variant.foreign_recall_at_20, variant.language_preference_rate, variant.rank_correlation)
        cells = (decimals(cell) for cell in (variant.multilingual.peer_at_20, *shares))
        table.add_row(name, decimals(variant.rank_distance, 0), *cells)
    return table


def _top_languages_table(scores: RetrievalScores) -> Table:
    pool = scores.counts.passages
    table = _table(*pool)
    for language, shares in scores.top_10_languages.items():
        table.add_row(language, *(f"{100 * shares[other]:.0f}" for other in pool))
    table.add_section()
    table.add_row("pool", *(f"{100 * count / sum(pool.values()):.0f}" for count in pool.values()))
    return table


def _miracl_table(scores: MiraclScores) -> Table:
    approximate = any(one.index_recall_at_100 is not None for one in scores.per_language.values())
    table = _table("queries", "passages", "nDCG@10", "recall@100", *["found by the index"] * approximate)
    table.title = f"{MIRACL}: {len(scores.per_language)} languages, split dev"
    for language, one in scores.per_language.items():
        cells = [
            f"{one.queries:,}",
            f"{one.passages:,}",
            decimals(one.ndcg_at_10),
            decimals(one.recall_at_100),
        ]
        table.add_row(language, *cells, *[decimals(one.index_recall_at_100)] * approximate)
    table.add_section()
    for name, means in scores.means.items():
        title = "mean" if name == "all" else "mean of the paper's 15"
        table.add_row(title, "", "", decimals(means.ndcg_at_10), decimals(means.recall_at_100))
    return table


def _table(*headers: str) -> Table:
    """A table with a column of names and columns of numbers."""
    columns = [Column(header, justify="right" if header else "left", no_wrap=True) for header in headers]
    return Table(Column("", overflow="fold"), *columns)
