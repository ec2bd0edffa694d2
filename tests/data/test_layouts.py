"""The same rows in any layout give the same training pairs."""

from __future__ import annotations

import csv
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid import parallel_pairs
from st_hybrid.data import Rows, open_rows, read_mmarco, read_squad

NAMES = {"de": "german", "en": "english", "hi": "hindi", "zh": "chinese"}
Groups = dict[str, dict[str, tuple[str, str]]]  # query and positive by id and language

# Anything that a line of tab-separated values can hold.
text = st.text(
    st.characters(exclude_characters="\t\r\n", exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"])
    | st.sampled_from(" \"',;\\{}[]:\u00a0"),
    max_size=12,
).map(lambda drawn: f"x{drawn}x")


@st.composite
def groups(draw: st.DrawFn) -> Groups:
    """Groups in some of the languages, with passages that several of them share."""
    passages = [
        {code: f"{code} {draw(text)}" for code in NAMES} | draw(st.sampled_from([{}, {"hi": "unübersetzt"}]))
        for _ in range(3)
    ]
    drawn: Groups = {}
    for number in range(draw(st.integers(1, 6))):
        passage = draw(st.sampled_from(passages))
        languages = draw(st.lists(st.sampled_from(sorted(NAMES)), min_size=1, unique=True))
        drawn[f"g{number}"] = {code: (draw(text), passage[code]) for code in languages}
    return drawn


def wide(groups: Groups) -> list[dict[str, Any]]:
    names = [f"{role}_{code}" for code in NAMES for role in ("query", "positive")]
    rows = []
    for group, part in groups.items():
        found = {f"{role}_{code}": pair[place] for code, pair in part.items() for place, role in enumerate(_ROLES)}
        rows.append({"id": group, **{name: found.get(name) for name in names}})
    return rows


_ROLES = ("query", "positive")


def read_jsonl(groups: Groups, folder: Path) -> Rows:
    rows = [{name: value for name, value in row.items() if value is not None} for row in wide(groups)]
    (folder / "wide.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return open_rows(folder / "wide.jsonl", languages=_languages(groups))


def read_csv(groups: Groups, folder: Path) -> Rows:
    with (folder / "wide.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, wide(groups)[0])
        writer.writeheader()
        writer.writerows(wide(groups))
    return open_rows(folder / "wide.csv")


def read_parquet(groups: Groups, folder: Path) -> Rows:
    schema = pa.schema([(name, pa.string()) for name in wide(groups)[0]])
    pq.write_table(pa.Table.from_pylist(wide(groups), schema), folder / "wide.parquet")
    return open_rows(folder / "wide.parquet")


def squad(groups: Groups, folder: Path, at_once: int) -> Path:
    """A file a language, with so many passages in each paragraph."""
    for code in _languages(groups):
        pairs = [(group, *part[code]) for group, part in groups.items() if code in part]
        paragraphs = []
        for first in range(0, len(pairs), at_once):
            context, breaks, questions = "", [], []
            for group, query, positive in pairs[first : first + at_once]:
                answers = [{"answer_start": len(context), "text": positive[:2]}]
                questions.append({"id": group, "question": query, "answers": answers})
                breaks.append([len(context), len(context) + len(positive)])
                context += f"{positive} "
            paragraphs.append({"context": context[:-1], "sentence_breaks": breaks, "qas": questions})
        content = {"data": [{"paragraphs": paragraphs}]}
        (folder / f"{code}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def read_sentences(groups: Groups, folder: Path) -> Rows:
    return read_squad(squad(groups, folder, 3), positive="sentence")


def read_paragraphs(groups: Groups, folder: Path) -> Rows:
    return read_squad(squad(groups, folder, 1), positive="paragraph")


def read_published(groups: Groups, folder: Path) -> Rows:
    """MMARCO's layout, with a query and a passage of its own for each group."""
    for code in _languages(groups):
        pairs = [(number, *part[code]) for number, part in enumerate(groups.values()) if code in part]
        for path, place in (
            (folder / "google" / "collections" / f"{NAMES[code]}_collection.tsv", 2),
            (folder / "google" / "queries" / "train" / f"{NAMES[code]}_queries.train.tsv", 1),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes("".join(f"{pair[0]}\t{pair[place]}\n" for pair in pairs).encode())
    qrels = "".join(f"{number}\t0\t{number}\t1\n" for number in range(len(groups)))
    (folder / "qrels.train.tsv").write_text(qrels, encoding="utf-8")
    return read_mmarco(folder)


def _languages(groups: Groups) -> list[str]:
    return sorted({code for part in groups.values() for code in part})


def described(rows: Dataset) -> tuple[Counter[tuple[str, ...]], Counter[frozenset[tuple[str, ...]]]]:
    """All pairs with their languages, and what each passage cluster holds; numbers of clusters do not count."""
    pairs = parallel_pairs(rows)
    languages = sorted(set(rows["language"]))
    found: Counter[tuple[str, ...]] = Counter()
    clusters: dict[int, set[tuple[str, ...]]] = {}
    for pair in pairs:
        cluster, query, passage = pair["label"]
        key = (pair["query"], pair["positive"], languages[query], languages[passage])
        found[key] += 1
        clusters.setdefault(cluster, set()).add(key)
    return found, Counter(map(frozenset, clusters.values()))


@pytest.mark.parametrize("read", [read_jsonl, read_csv, read_parquet, read_sentences, read_paragraphs, read_published])
@given(groups=groups())
def test_any_layout_gives_the_pairs_of_long_form(read: Callable[[Groups, Path], Rows], groups: Groups) -> None:
    long = Dataset.from_list(
        [
            {"id": group, "language": code, "query": query, "positive": positive}
            for group, part in groups.items()
            for code, (query, positive) in part.items()
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        rows, report = read(groups, Path(folder))
    assert len(rows) == report.kept == len(long)
    assert described(rows) == described(long)
