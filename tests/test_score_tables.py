from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from st_hybrid.score_tables import print_scores


def printed(results: dict[str, Any]) -> str:
    console = Console(width=100, file=io.StringIO())
    print_scores(results, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_eleven_languages_fit_into_a_hundred_columns() -> None:
    codes = ["ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"]
    counts = {"queries": dict.fromkeys(codes, 1190), "candidates": dict.fromkeys(codes, 1200)}
    shares = {query: {language: float(query == language) for language in codes} for query in codes}
    scores = {"counts": counts, "top_10_languages": shares, "centered": {}}
    told = printed({"tasks": {"XQuAD-R": scores}})
    assert max(map(len, told.splitlines())) <= 100
    rows = [line.replace("│", " ").split() for line in told.splitlines()]
    assert ["zh", *["0"] * 10, "100"] in rows
    assert ["pool", *["9"] * 11] in rows


def test_miracl_is_a_table_of_languages() -> None:
    languages = {
        "sw": {"ndcg_at_10": 0.5, "recall_at_100": 0.875, "queries": 482, "passages": 131924},
        "yo": {"ndcg_at_10": 0.25, "recall_at_100": 0.5, "queries": 119, "passages": 49043, "index_recall_at_100": 0.9},
    }
    scores = {"per_language": languages, "means": {"all": {"ndcg_at_10": 0.375, "recall_at_100": 0.6875}}}
    rows = [line.replace("│", " ").split() for line in printed({"tasks": {"MIRACL": scores}}).splitlines()]
    assert ["sw", "482", "131,924", "0.500", "0.875"] in rows
    assert ["yo", "119", "49,043", "0.250", "0.500", "0.900"] in rows
    assert ["mean", "0.375", "0.688"] in rows
