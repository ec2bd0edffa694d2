"""Small files and folders under the names that the examples of docstrings and guides use."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from st_hybrid.evaluation import lareqa
from st_hybrid.evaluation.results import MEASURES
from st_hybrid.files import sha256

from .tasks.conftest import write_lareqa

TEXTS = {
    "en": ("Who repairs clock {0} of town {1}?", "Clock {0} of town {1} is repaired by baker number {2}."),
    "de": ("Wer repariert Uhr {0} der Stadt {1}?", "Die Uhr {0} der Stadt {1} repariert der Bäcker Nummer {2}."),
    "fr": ("Qui répare l'horloge {0} de la ville {1} ?", "L'horloge {0} de la ville {1} est réparée par {2}."),
}


GRID = """
models: {small: {scratch: {hidden: 16, layers: 1, vocabulary: 300}}}
data: {clocks: {sets: [rows.jsonl]}}
methods: {X-Y: {sampler: x-y}, hybrid: {alpha: 0.5}}
budgets: {short: {steps: 2}}
recipe: {batch_size: 8, dtype: float32}
evaluation: {data: [clean.jsonl.gz]}
"""


def rows(groups: int = 120) -> list[dict[str, Any]]:
    """Parallel rows in three languages."""
    return [
        {"id": f"clock-{i}", "language": code, "query": query.format(i, i % 7), "positive": passage.format(i, i % 7, i)}
        for i in range(groups)
        for code, (query, passage) in TEXTS.items()
    ]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def _write_csv(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(records[0]))
        table.writeheader()
        table.writerows(records)


def write_files(folder: Path) -> None:
    """Write each file that an example may read."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows())
    for name in ("rows.jsonl", "rows.jsonl.gz", "faq.jsonl", "clean.jsonl.gz"):
        _write(folder / name, lines)
    # A data set of the hub, as a folder: with a configuration "v2", and "question" for "query".
    _write(folder / "user/faq/v2/train.jsonl", lines.replace('"query"', '"question"'))
    _write(folder / "user/faq/README.md", "---\nconfigs:\n- config_name: v2\n  data_files: v2/train.jsonl\n---\n")
    pq.write_table(pa.Table.from_pylist(rows()), folder / "rows.parquet")
    _write(folder / "grid.yaml", GRID)
    _write_csv(folder / "faq.csv", [row for row in rows(8) if row["language"] == "en"])
    wide = [
        {"id": i}
        | {f"query_{code}": query.format(i, i % 7) for code, (query, _) in TEXTS.items()}
        | {f"positive_{code}": passage.format(i, i % 7, i) for code, (_, passage) in TEXTS.items()}
        for i in range(30)
    ]
    _write_csv(folder / "wide.csv", wide)
    for code, (_, passage) in TEXTS.items():
        _write(folder / f"corpus.{code}.gz", "".join(passage.format(i, i % 7, i) + "\n" for i in range(30)))

    write_lareqa(folder / "data", "XQuAD-R")
    write_lareqa(folder / "data", "MLQA-R")
    shutil.copytree(folder / "data" / "xquad-r", folder / "data" / "my-questions")
    for name, code in (("de.json", "de"), ("train-de.json", "de"), ("train-v1.1.json", "en"), ("train.json", "en")):
        _write(folder / name, (folder / "data" / "xquad-r" / f"{code}.json").read_text(encoding="utf-8"))

    scores = [
        {
            "task": "XQuAD-R",
            "variant": "plain",
            "query_id": f"q{i}",
            "query_language": code,
            "pool": pool,
            "map": 1 / (1 + i),
        }
        for i in range(5)
        for code in ("de", "en")
        for pool in ("de", "en", "multi")
    ]
    found = [
        {key: row[key] for key in ("task", "variant", "query_id", "query_language")}
        | {
            "query": "Where?",
            "rank": 1,
            "passage_id": "p",
            "passage_language": "en",
            "passage": "Here.",
            "relevant": True,
        }
        for row in scores
        if row["pool"] == "multi"
    ]
    measures = dict.fromkeys(MEASURES, 0.5)
    counts = {"queries": {"de": 5, "en": 5}, "passages": {"de": 0, "en": 1}, "settings": {}}
    whole = {
        "multilingual": measures,
        "per_pair": dict.fromkeys(("de-multi", "en-multi"), measures),
        "top_10_languages": {code: {"de": 0.0, "en": 1.0} for code in ("de", "en")},
        "counts": counts,
        "centered": {},
        "seconds": {},
    }
    for name in ("plain", "hybrid"):
        pq.write_table(pa.Table.from_pylist(scores), folder / f"{name}.per-query.parquet")
        pq.write_table(pa.Table.from_pylist(found), folder / f"{name}.first-10.parquet")
        _write(folder / f"{name}.json", json.dumps({"model": name, "dtype": "float32", "tasks": {"XQuAD-R": whole}}))

    for code, language in (("en", "english"), ("de", "german"), ("hi", "hindi")):
        query, passage = TEXTS.get(code, TEXTS["fr"])
        mmarco = folder / "mmarco" / "data"
        passages = "".join(f"{i}\t{passage.format(i, i % 7, i)}\n" for i in range(30))
        _write(mmarco / "google" / "collections" / f"{language}_collection.tsv", passages)
        queries = "".join(f"{i}\t{query.format(i, i % 7)}\n" for i in range(30))
        _write(mmarco / "google" / "queries" / "train" / f"{language}_queries.train.tsv", queries)
    triples = "".join(f"{i}\t{i}\t{(i + 1) % 30}\n" for i in range(30))
    _write(folder / "mmarco" / "data" / "triples.train.ids.small.tsv", triples)


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the small files in ``folder`` be the published ones, by checksum and by counts."""
    kind = type(lareqa.PUBLISHED["XQuAD-R"]["en"])
    files = {name: sorted((folder / name.lower()).glob("*.json")) for name in lareqa.PUBLISHED}
    small = {name: {path.stem: kind(*_counts(path), sha256(path)) for path in paths} for name, paths in files.items()}
    for name in [name for name in sys.modules if name.partition(".")[0] == "st_hybrid"]:
        for constant, value in (
            ("PUBLISHED", small),
            (
                "PUBLISHED_COUNTS",
                {name: {code: file[:2] for code, file in part.items()} for name, part in small.items()},
            ),
        ):
            if "XQuAD-R" in getattr(sys.modules[name], constant, ()):
                monkeypatch.setattr(f"{name}.{constant}", value)


def _counts(path: Path) -> tuple[int, int]:
    """Questions and sentences of a file."""
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    return (
        sum(len(paragraph["qas"]) for paragraph in paragraphs),
        sum(len(paragraph["sentence_breaks"]) for paragraph in paragraphs),
    )
