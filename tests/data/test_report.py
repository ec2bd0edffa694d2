"""The report as text and as a table."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from st_hybrid.data import Dropped, ReadReport


def test_a_report_prints_what_was_read_kept_and_left_out() -> None:
    dropped = {"no query": Dropped(1200, "a.jsonl:3"), "no id": Dropped(1, "b.csv, row [7]")}
    report = ReadReport({"a.jsonl": 3000, "b.csv": 10}, 3010, 1809, 905, dropped, {"en": 905, "de": 904})
    assert str(report) == (
        "1,809 of 3,010 rows kept, in 905 groups; 1,200 left out: no query, first at a.jsonl:3; "
        "1 left out: no id, first at b.csv, row [7]"
    )
    screen = io.StringIO()
    Console(width=100, file=screen).print(report)
    shown = [line.split("│")[1:4] for line in screen.getvalue().splitlines() if line.startswith("│")]
    assert [tuple(cell.strip() for cell in line) for line in shown] == [
        ("read from a.jsonl", "3,000", ""),
        ("read from b.csv", "10", ""),
        ("left out: no query", "1,200", "a.jsonl:3"),
        ("left out: no id", "1", "b.csv, row [7]"),
        ("kept in de", "904", ""),
        ("kept in en", "905", ""),
    ]


def test_a_report_adds_up_and_keeps_the_first_place() -> None:
    report = ReadReport()
    report.count("a", 2)
    report.count("a", 3)
    report.drop("no query", 0, lambda: pytest.fail("no place is needed"))
    report.drop("no query", 2, lambda: "a:4")
    report.drop("no query", 1, lambda: pytest.fail("the first is known"))
    assert report.sources == {"a": 5}
    assert report.dropped == {"no query": Dropped(3, "a:4")}
