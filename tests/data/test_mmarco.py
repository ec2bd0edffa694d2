"""MMARCO's layout: joins, draws and negatives as a plain reading would have them, and errors at file and line."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.data import Dropped, mmarco, read_mmarco

NAMES = {"de": "german", "hi": "hindi"}


def texts(path: Path, lines: dict[int, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{number}\t{text}\n" for number, text in lines.items()).encode())
    return path


def numbers(path: Path, lines: list[tuple[int, ...]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(map(str, line)) + "\n" for line in lines), encoding="utf-8")
    return path


def layout(root: Path, passages: int = 40, queries: int = 20) -> Path:
    """Passages 0 and on, queries 100 and on; query 100 + n is answered by passage n."""
    for code, name in NAMES.items():
        texts(
            root / "google" / "collections" / f"{name}_collection.tsv",
            {number: f'{code} passage {number}, "as\tis' for number in reversed(range(passages))},
        )
        texts(
            root / "google" / "queries" / "train" / f"{name}_queries.train.tsv",
            {100 + number: f"{code} query {number}" for number in range(queries)},
        )
    numbers(
        root / "triples.train.ids.small.tsv", [(100 + n, n, 20 + (n + k) % 20) for k in range(3) for n in range(10)]
    )
    return root


def collection(root: Path) -> Path:
    return root / "google" / "collections" / "german_collection.tsv"


def test_positives_of_triples(tmp_path: Path) -> None:
    rows, report = read_mmarco(layout(tmp_path))
    assert rows.column_names == ["id", "language", "query", "positive"]
    assert rows[3] == {
        "id": "103-3",
        "language": "de",
        "query": "de query 3",
        "positive": 'de passage 3, "as\tis',
    }
    assert rows["id"][:10] == rows["id"][10:]
    assert report.languages == {"de": 10, "hi": 10}
    assert report.sources[str(collection(tmp_path))] == 40
    assert report.sources[str(tmp_path / "triples.train.ids.small.tsv")] == 30


def test_positives_of_qrels_go_first(tmp_path: Path) -> None:
    root = layout(tmp_path / "data")
    qrels = [(100, 0, 7, 1), (100, 0, 3, 1), (101, 0, 5, 0), (102, 0, 5, 2), (102, 0, 5, 1)]
    numbers(root / "qrels.train.tsv", qrels)
    for folder in (root, root.parent):
        assert read_mmarco(folder, languages=["hi"]).rows["id"][:] == ["100-3", "100-7", "102-5"]
    other = numbers(tmp_path / "other.tsv", [(101, 0, 5, 1)])
    assert read_mmarco(root, languages=["hi"], qrels=other).rows["id"][:] == ["101-5"]


def test_other_splits_translations_and_compressions(tmp_path: Path) -> None:
    root = layout(tmp_path)
    texts(root / "helsinki" / "collections" / "german_collection.tsv", {1: "alt"})
    texts(root / "helsinki" / "queries" / "dev" / "german_queries.dev.small.tsv", {9: "Was?"})
    numbers(root / "qrels.dev.small.tsv", [(9, 0, 1, 1)])
    for path in list(root.rglob("*.tsv")):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    rows, _ = read_mmarco(root, translation="helsinki", split="dev.small")
    assert rows.to_list() == [{"id": "9-1", "language": "de", "query": "Was?", "positive": "alt"}]
    assert len(read_mmarco(root).rows) == 20


def test_a_draw_of_queries_is_the_same_in_all_languages(tmp_path: Path) -> None:
    root = layout(tmp_path)
    first, again, other = (read_mmarco(root, max_queries=4, seed=seed).rows for seed in (1, 1, 2))
    assert len(first) == 8
    assert first["id"][:4] == first["id"][4:] == again["id"][:4]
    assert set(other["id"]) != set(first["id"])
    assert len(read_mmarco(root, max_queries=1000).rows) == 20


def test_what_is_missing_is_left_out_and_counted(tmp_path: Path) -> None:
    root = layout(tmp_path, passages=35)
    queries = root / "google" / "queries" / "train" / "german_queries.train.tsv"
    texts(queries, {100 + n: "" if n == 5 else f"Frage {n}" for n in range(20) if n != 4})
    numbers(root / "triples.train.ids.small.tsv", [(100 + n, n * 10, 3) for n in range(6)])
    rows, report = read_mmarco(root)
    assert rows["id"][:] == ["100-0", "101-10", "102-20", "103-30", "100-0", "101-10", "102-20", "103-30"]
    hindi = root / "google" / "collections" / "hindi_collection.tsv"
    assert report.dropped == {
        "no query": Dropped(2, f"{collection(root)}, query 104 and passage 40"),
        "no positive": Dropped(2, f"{hindi}, query 104 and passage 40"),
    }
    assert report.read == 12

    texts(queries, {100 + n: " " if n == 1 else f"Frage {n}" for n in range(20)})
    dropped = read_mmarco(root).report.dropped["no query"]
    assert dropped == Dropped(1, f"{collection(root)}, query 101 and passage 10")


def naive(root: Path, negatives: int) -> list[dict[str, Any]]:
    """What should come out, with dictionaries of everything."""

    def read(path: Path) -> list[list[str]]:
        return [line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()]

    triples = [tuple(map(int, line.split())) for line in (root / "triples.train.ids.small.tsv").open(encoding="utf-8")]
    pairs = sorted({(query, positive) for query, positive, _ in triples})
    drawn: dict[tuple[int, int], list[int]] = {pair: [] for pair in pairs}
    for query, positive, negative in triples:
        of_pair = drawn[query, positive]
        if len(of_pair) < negatives and negative not in of_pair and (query, negative) not in drawn:
            of_pair.append(negative)
    rows = []
    for code, name in NAMES.items():
        passages = dict(read(root / "google" / "collections" / f"{name}_collection.tsv"))
        queries = dict(read(root / "google" / "queries" / "train" / f"{name}_queries.train.tsv"))
        for query, positive in pairs:
            wanted = [positive, *drawn[query, positive]]
            if len(wanted) == 1 + negatives and str(query) in queries and all(str(n) in passages for n in wanted):
                columns = ["positive", *(f"negative_{place + 1}" for place in range(negatives))]
                row = {"id": f"{query}-{positive}", "language": code, "query": queries[str(query)]}
                rows.append(row | {column: passages[str(n)] for column, n in zip(columns, wanted, strict=True)})
    return rows


@given(
    triples=st.lists(st.tuples(st.integers(98, 106), st.integers(0, 5), st.integers(3, 14)), min_size=1, max_size=60),
    negatives=st.integers(0, 3),
    block=st.integers(32, 300),
    batch=st.integers(1, 10),
)
def test_equals_a_plain_reading(triples: list[tuple[int, ...]], negatives: int, block: int, batch: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmarco, "_BLOCK", block)
        patch.setattr(mmarco, "_BATCH", batch)
        root = layout(Path(folder), passages=13, queries=6)
        numbers(root / "triples.train.ids.small.tsv", triples)
        expected = naive(root, negatives)
        if not expected:
            with pytest.raises(ValueError, match=r"No row is left|different negatives for no query"):
                read_mmarco(root, negatives=negatives)
            return
        if len({row["language"] for row in expected}) < 2:
            return
        rows, report = read_mmarco(root, negatives=negatives)
        assert rows.to_list() == expected
        assert report.read == 2 * len({triple[:2] for triple in triples})


def test_errors_point_at_file_and_line(tmp_path: Path) -> None:
    root = layout(tmp_path)
    for content, message in (
        (b"0\ta\n1 b\n", r"german_collection\.tsv:2: not a number, a tab and a text"),
        (b"0\ta\n\nx\tb\n", r"german_collection\.tsv:3: not a number"),
        (b"0\ta\n1\tb\n2\tc\n1\td\n", r"german_collection\.tsv: the number 1 occurs in several lines"),
        ("0\tschön\n".encode("latin-1"), r"german_collection\.tsv:1: not UTF-8"),
    ):
        collection(root).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_mmarco(root)
    layout(root)
    triples = root / "triples.train.ids.small.tsv"
    for content, message in (
        (b"100\t0\t3\n100\t0\n", r"small\.tsv:2: not 3 whole numbers with tabs between them: query, positive"),
        (b"100\t0\t3\n\n100\tx\t3\n", r"small\.tsv:3: not 3 whole numbers"),
        (b"100 0 3\n", r"small\.tsv:1: not 3 whole numbers"),
    ):
        triples.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_mmarco(root)
    numbers(root / "qrels.train.tsv", [(100, 0, 3, 0)])
    with pytest.raises(ValueError, match=r"qrels\.train\.tsv has no relevant passage"):
        read_mmarco(root)


def test_errors_of_files_and_arguments_come_first(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*google"):
        read_mmarco(tmp_path)
    root = layout(tmp_path)
    with pytest.raises(ValueError, match="negatives must be at least 0"):
        read_mmarco(root, negatives=-1)
    with pytest.raises(ValueError, match="max_queries must be at least 1"):
        read_mmarco(root, max_queries=0)
    with pytest.raises(ValueError, match=r"languages: 'german' is not .*'de'"):
        read_mmarco(root, languages=["german"])
    with pytest.raises(FileNotFoundError, match="has no fr, only de, hi"):
        read_mmarco(root, languages=["fr"])
    with pytest.raises(FileNotFoundError, match=r"german_queries\.dev\.tsv"):
        read_mmarco(root, split="dev")
    with pytest.raises(FileNotFoundError, match=r"none\.tsv"):
        read_mmarco(root, qrels=root / "none.tsv")
    (root / "triples.train.ids.small.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"has neither qrels\.train\.tsv nor triples"):
        read_mmarco(root)
    numbers(root / "qrels.train.tsv", [(100, 0, 3, 1)])
    with pytest.raises(FileNotFoundError, match=r"has no triples\.train\.ids\.small\.tsv, which negatives come from"):
        read_mmarco(root, negatives=1)
    texts(root / "google" / "collections" / "germn_collection.tsv", {1: "x"})
    with pytest.raises(ValueError, match=r"germn: the name does not end in a language code\. .* or de_collection\.tsv"):
        read_mmarco(root)
    (root / "google" / "collections" / "germn_collection.tsv").rename(
        root / "google" / "collections" / "src_collection.tsv"
    )
    with pytest.raises(ValueError, match=r"src: the name does not end in a language code"):
        read_mmarco(root)
