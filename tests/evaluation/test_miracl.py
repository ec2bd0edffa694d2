"""The reader of MIRACL's official layout, on generated collections."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from st_hybrid.evaluation.miracl import PAPER_LANGUAGES, PUBLISHED_COUNTS, miracl_languages, read_miracl

WriteMiracl = Callable[..., Path]


def test_a_language_is_read(write_miracl: WriteMiracl):
    folder = write_miracl(["sw", "fi"], passages=25, queries=4, files=12)
    assert miracl_languages(folder) == ["fi", "sw"]
    swahili = read_miracl(folder, "sw")
    # docs-10 and docs-11 come last although they sort before docs-2.
    assert swahili.corpus["id"][:] == [f"{number}#0" for number in range(25)]
    assert swahili.corpus[3] == {"id": "3#0", "title": "Title sw 3", "text": "Passage sw 3 about word3."}
    assert swahili.queries["id"][:] == ["q0", "q1", "q2", "q3"]
    assert swahili.queries["text"][1] == 'Where is "word1"?'
    assert swahili.judgements["q1"] == {"1#0": 1, "2#0": 0}


def test_queries_without_judgements_are_left_out(write_miracl: WriteMiracl):
    folder = write_miracl(["sw"], passages=5, queries=3)
    topics = folder / "miracl-v1.0-sw" / "topics" / "topics.miracl-v1.0-sw-dev.tsv"
    topics.write_text(topics.read_text(encoding="utf-8") + "q99\tNobody judged this\n", encoding="utf-8")
    assert read_miracl(folder, "sw").queries["id"][:] == ["q0", "q1", "q2"]


@pytest.mark.parametrize("part", ["topics", "qrels", "docs"])
def test_a_missing_file_is_named(write_miracl: WriteMiracl, part: str):
    folder = write_miracl(["sw"], passages=5, queries=3)
    path = {
        "topics": folder / "miracl-v1.0-sw" / "topics" / "topics.miracl-v1.0-sw-dev.tsv",
        "qrels": folder / "miracl-v1.0-sw" / "qrels" / "qrels.miracl-v1.0-sw-dev.tsv",
        "docs": folder / "miracl-corpus-v1.0-sw" / "docs-0.jsonl.gz",
    }[part]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=path.name):
        read_miracl(folder, "sw")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "line 4: no passage of MIRACL"),
        (json.dumps({"docid": "9#9", "title": "No text"}), "line 4: .*must be strings"),
        (json.dumps([1, 2]), "line 4: "),
    ],
)
def test_a_malformed_passage_is_named(write_miracl: WriteMiracl, line: str, message: str):
    folder = write_miracl(["sw"], passages=3, queries=2)
    path = folder / "miracl-corpus-v1.0-sw" / "docs-0.jsonl.gz"
    with gzip.open(path, "at", encoding="utf-8") as lines:
        lines.write(line + "\n")
    with pytest.raises(ValueError, match=f"{path.name}, {message}"):
        read_miracl(folder, "sw")


def test_a_truncated_corpus_is_named(write_miracl: WriteMiracl):
    folder = write_miracl(["sw"], passages=300, queries=2)
    path = folder / "miracl-corpus-v1.0-sw" / "docs-0.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=path.name):
        read_miracl(folder, "sw")


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("qrels", "q0\tQ0\t1#0\t7", "relevance must be 0 or 1, .*'query': 'q0', .*'passage': '1#0', 'relevance': '7'"),
        ("qrels", "q0 Q0 1#0 1", "not a table of 4 tab-separated columns"),
        ("topics", "q7\tone\ttwo", "not a table of 2 tab-separated columns"),
    ],
)
def test_malformed_tables_are_named(write_miracl: WriteMiracl, name: str, line: str, message: str):
    folder = write_miracl(["sw"], passages=5, queries=2)
    path = folder / "miracl-v1.0-sw" / name / f"{name}.miracl-v1.0-sw-dev.tsv"
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_miracl(folder, "sw")


def test_the_languages_of_the_paper_are_published():
    assert len(PUBLISHED_COUNTS) == 18
    assert len(set(PAPER_LANGUAGES)) == 15
    assert set(PAPER_LANGUAGES) < set(PUBLISHED_COUNTS)
    assert set(PUBLISHED_COUNTS) - set(PAPER_LANGUAGES) == {"de", "en", "yo"}
