"""Readers and damaged files: whatever a file holds, a reader reads it or says in one sentence what is wrong where."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from st_hybrid.benchmark.scores_file import read_scores
from st_hybrid.data import (
    open_collection,
    open_rows,
    read_bitext,
    read_evaluation_texts,
    read_mmarco,
    read_squad,
    sample_passages,
)
from st_hybrid.data.zero_shot import checked_sets, report_path
from st_hybrid.evaluation import read_lareqa
from st_hybrid.evaluation.miracl import read_miracl
from st_hybrid.evaluation.per_query import read_per_query
from st_hybrid.translation.journal import Journal

LONG = [
    {"id": f"a{n}", "language": code, "query": f"{word} {n}?", "positive": f"{word} {n}.", "negative": "no"}
    for n in range(3)
    for code, word in (("en", "cat"), ("de", "Katze"), ("ar", "قطة"))
]
WIDE = [
    {"id": n, "query_en": f"cat {n}?", "positive_en": "yes", "query_th": "แมว", "positive_th": None} for n in range(4)
]
BITEXT = [{"translation": {"de": f"Es regnet {n}.", "en": f"It rains {n}."}} for n in range(4)]
LISTS = [{"query": f"cat {n}", "pos": ["a cat", "cats"], "neg": ["a dog", "dogs"]} for n in range(3)]
SQUAD = {
    "data": [
        {
            "title": "T",
            "paragraphs": [
                {
                    "context": "Cats sleep. Dogs bark.",
                    "sentence_breaks": [[0, 11], [12, 22]],
                    "qas": [{"id": "q", "question": "Who barks?", "answers": [{"text": "Dogs", "answer_start": 12}]}],
                }
            ],
        }
    ]
}
FLAT = [{"id": "q", "context": "Cats sleep.", "question": "Who?", "answers": {"text": ["Cats"], "answer_start": [0]}}]


def lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def table(records: list[dict[str, Any]], delimiter: str) -> bytes:
    sink = io.BytesIO()
    pacsv.write_csv(pa.Table.from_pylist(records), sink, pacsv.WriteOptions(delimiter=delimiter))
    return sink.getvalue()


def parquet(records: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), sink)
    return sink.getvalue()


def journal() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        one = Journal(Path(folder) / "journal", "me")
        one.write({f"text {n}": "Text" for n in range(20)}, "en", "de")
        one.close()
        return (Path(folder) / "journal").read_bytes()


def use_journal(path: Path) -> None:
    one = Journal(path, "me")
    try:
        one.read(["text 1", "text 2", "more"], "en", "de")
        one.write({"more": "mehr"}, "en", "de")
    finally:
        one.close()


class Reader(NamedTuple):
    """Files that a reader reads, one of which is damaged, and the reader, which gets their folder."""

    files: dict[str, bytes]
    read: Callable[[Path], Any]
    damaged: str


def readers() -> Iterator[Reader]:
    for name, content in {
        "rows.jsonl": lines(LONG),
        "rows.jsonl.gz": gzip.compress(lines(LONG)),
        "rows.jsonl.xz": lzma.compress(lines(LONG)),
        "rows.jsonl.bz2": bz2.compress(lines(LONG)),
        "rows.json": json.dumps(LONG).encode(),
        "rows.csv": table(LONG, ","),
        "rows.tsv": table(LONG, "\t"),
        "rows.parquet": parquet(LONG),
        "wide.jsonl": lines(WIDE),
        "wide.csv": table(WIDE, ","),
    }.items():
        yield Reader({name: content}, lambda folder, name=name: list(open_rows(folder / name).rows), name)  # type: ignore[misc]
    yield Reader(
        {"l.jsonl": lines(LISTS)}, lambda one: open_rows(one / "l.jsonl", language="en", negatives=1), "l.jsonl"
    )
    nested = json.dumps(SQUAD).encode()
    yield Reader({"de.json": nested}, lambda folder: read_squad({"de": folder / "de.json"}), "de.json")
    yield Reader({"de.jsonl": lines(FLAT)}, lambda folder: read_squad({"de": folder / "de.jsonl"}), "de.jsonl")
    yield Reader({"en.json": nested}, lambda folder: read_lareqa(folder, ["en"]), "en.json")
    sides = {"c.de": "Es regnet.\nSchön.\n".encode(), "c.en": b"It rains.\nNice.\n"}
    yield Reader(sides, lambda folder: read_bitext([folder / "c.de", folder / "c.en"]), "c.de")
    both = {"c.tsv": b"Es regnet.\tIt rains.\nJa.\tYes.\n"}
    yield Reader(both, lambda folder: read_bitext(folder / "c.tsv", languages=["de", "en"]), "c.tsv")
    yield Reader({"c.jsonl": lines(BITEXT)}, lambda folder: read_bitext(folder / "c.jsonl"), "c.jsonl")
    mmarco = {
        "google/collections/german_collection.tsv": b"0\tEin Hund.\n1\tEine Katze.\n2\tEin Rad.\n",
        "google/queries/train/german_queries.train.tsv": b"7\tWer bellt?\n8\tWer schnurrt?\n",
        "triples.train.ids.small.tsv": b"7\t0\t1\n8\t1\t2\n",
        "qrels.train.tsv": b"7\t0\t0\t1\n8\t0\t1\t1\n",
    }
    for name in mmarco:
        yield Reader(mmarco, lambda folder: read_mmarco(folder, negatives=1), name)
    passage = {"docid": "0#0", "title": "T", "text": "Paka analala."}
    miracl = {
        "miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv": b"q0\tNani?\n",
        "miracl-v1.0-sw/qrels/qrels.miracl-v1.0-sw-dev.tsv": b"q0\tQ0\t0#0\t1\n",
        "miracl-corpus-v1.0-sw/docs-0.jsonl.gz": gzip.compress(lines([passage])),
    }
    for name in miracl:
        yield Reader(miracl, lambda folder: read_miracl(str(folder), "sw"), name)
    beir = {
        "corpus.jsonl": lines([{"_id": f"p{n}", "text": f"cat {n}"} for n in range(3)]),
        "queries.jsonl": lines([{"_id": "q", "text": "cat?", "metadata": {"language": "en"}}]),
        "qrels/test.tsv": b"query-id\tcorpus-id\tscore\nq\tp1\t2\n",
    }
    for name in beir:
        yield Reader(beir, open_collection, name)
    mlir = {
        "corpus.jsonl": lines([{"p1": {"text": "cat", "lang": "en"}, "p2": {"text": "Katze", "lang": "de"}}]),
        "queries.jsonl": lines([{"q": {"text": "cat?", "lang": "en"}}]),
        "qrels.jsonl": lines([{"q": {"p2": 1}}]),
    }
    for name in mlir:
        yield Reader(mlir, open_collection, name)
    yield Reader({"p.jsonl": lines(LONG)}, lambda folder: sample_passages(folder / "p.jsonl", 3), "p.jsonl")
    texts = {"t.jsonl": lines(LONG), "t.csv": table(LONG, ","), "t.txt": b"one\ntwo\n", "t.parquet": parquet(LONG)}
    for name in texts:
        yield Reader(texts, lambda folder, name=name: read_evaluation_texts(str(folder / name)), name)  # type: ignore[misc]
    file = {"scores.json": b'{"model": "m", "dtype": "float32", "tasks": {}}'}
    yield Reader(file, lambda folder: read_scores(folder / "scores.json"), "scores.json")
    one = {"task": "T", "variant": "plain", "query_id": "q", "query_language": "en", "pool": "multi", "map": 0.5}
    queries = {"scores.parquet": parquet([one])}
    yield Reader(queries, lambda folder: read_per_query(folder / "scores.parquet"), "scores.parquet")
    clean = {"clean.jsonl": lines(LONG)}
    report = report_path("clean.jsonl").name
    about = {
        "clean_sha256": hashlib.sha256(clean["clean.jsonl"]).hexdigest(),
        "version": "1",
        "rows": 9,
        "clean_rows": 9,
    }
    about |= {"settings": {"ngram": 8, "threshold": 0.5}, "against": [{"name": "S", "sha256": "0", "texts": 1}]}
    about["provenance"] = {"versions": {"st-hybrid": "1"}}
    clean[report] = json.dumps(about).encode()
    yield Reader(clean, lambda folder: checked_sets([folder / "clean.jsonl"]), report)
    yield Reader({"journal": journal()}, lambda folder: use_journal(folder / "journal"), "journal")


READERS = list(readers())
NAMES = [f"{number}-{reader.damaged.rpartition('/')[2]}" for number, reader in enumerate(READERS)]
PIECES = [
    *rb"""\x00 \xff " \\ : { } [ ] , null true 1e999 NaN -1 1.5 99999999999999999999 "" {} []""".split(b" "),
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\n", b"\n\n", b"\r", b"\r\n", b"\t", b" ", rb'"\ud800"'),
    *("\u202e\u200d\u2028\x85".encode(), b"[" * 3000, b'{"a":' * 3000, b"9" * 5000),
]
VALUES = [None, True, 0, -1, 1.5, 10**30, float("nan"), "", " ", "x", "\ud800", "\x00", "\u202e", "xx-yy-zz", "9" * 400]
VALUES += [[], {}, [None], [[]], {"text": None}, {"": ""}, [0, "x"], [{}]]
Edit = tuple[str, float, float, Any]
EDITS = st.one_of(
    st.tuples(st.just("insert"), st.floats(0, 1), st.just(0.0), st.sampled_from(PIECES) | st.binary(max_size=6)),
    st.tuples(st.just("replace"), st.floats(0, 1), st.floats(0, 0.2), st.sampled_from([b"", *PIECES])),
    st.tuples(st.just("repeat"), st.floats(0, 1), st.floats(0, 0.5), st.just(b"")),
    st.tuples(st.just("end"), st.floats(0, 1), st.just(0.0), st.just(b"")),
    st.tuples(st.just("flip"), st.floats(0, 1), st.just(0.0), st.integers(1, 255)),
    st.tuples(st.just("value"), st.floats(0, 1), st.floats(0, 1), st.sampled_from(VALUES)),
)
PACKED = {".gz": gzip, ".xz": lzma, ".bz2": bz2}


def edited(content: bytes, edit: Edit) -> bytes:
    kind, where, much, what = edit
    start = round(where * len(content))
    stop = min(len(content), start + round(much * len(content)))
    if kind == "insert":
        return content[:start] + what + content[start:]
    if kind == "replace":
        return content[:start] + what + content[stop:]
    if kind == "repeat":
        return content[:stop] + content[start:]
    if kind == "end":
        return content[:start]
    if kind == "flip":
        return content[:start] + bytes(byte ^ what for byte in content[start : start + 1]) + content[start + 1 :]
    return _with_value(content, where, much, what)


def _with_value(content: bytes, where: float, much: float, what: Any) -> bytes:
    """Another value somewhere in a line, or a whole file, of JSON."""
    for whole in (True, False):
        parts = [content] if whole else content.splitlines()
        number = min(len(parts) - 1, int(where * len(parts))) if parts else 0
        try:
            one = json.loads(parts[number])
            places: list[tuple[Any, Any]] = []
            todo = [one]
            while todo:
                node = todo.pop()
                keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
                places += [(node, key) for key in keys]
                todo += [node[key] for key in keys]
            node, key = places[min(len(places) - 1, int(much * len(places)))]
            node[key] = what
            parts[number] = json.dumps(one).encode()
        except (ValueError, LookupError, RecursionError):
            continue
        return b"\n".join(parts)
    return content


@pytest.fixture(scope="module", autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        patch.setenv("ST_HYBRID_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def read_damaged(reader: Reader, edits: list[Edit], outside: bool) -> None:
    """Read with one file damaged; ``outside``, of a compressed file, the compressed bytes."""
    content = reader.files[reader.damaged]
    pack = None if outside else PACKED.get(Path(reader.damaged).suffix)
    content = pack.decompress(content) if pack else content  # type: ignore[attr-defined]
    for edit in edits:
        content = edited(content, edit)
    content = pack.compress(content) if pack else content  # type: ignore[attr-defined]
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        for name, whole in reader.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content if name == reader.damaged else whole)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(folder)
    except (ValueError, OSError) as error:
        if folder.name not in str(error):
            raise AssertionError("The message names no file.") from error
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("reader", READERS, ids=NAMES)
@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(edits=st.lists(EDITS, min_size=1, max_size=4), outside=st.booleans())
def test_a_damaged_file_is_read_or_named(reader: Reader, edits: list[Edit], outside: bool) -> None:
    read_damaged(reader, edits, outside)


@pytest.mark.full
@pytest.mark.parametrize("reader", READERS, ids=NAMES)
@settings(max_examples=10_000, suppress_health_check=[HealthCheck.too_slow], derandomize=True, print_blob=True)
@given(edits=st.lists(EDITS, min_size=1, max_size=4), outside=st.booleans())
def test_ten_thousand_damaged_files(reader: Reader, edits: list[Edit], outside: bool) -> None:
    read_damaged(reader, edits, outside)


@pytest.mark.parametrize("reader", READERS, ids=NAMES)
def test_the_whole_files_are_read(reader: Reader) -> None:
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    for name, whole in reader.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(whole)
    reader.read(folder)
    shutil.rmtree(folder)
