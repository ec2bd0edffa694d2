"""Bitext in its usual layouts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from st_hybrid import parallel_pairs
from st_hybrid.data import Dropped, Rows, read_bitext

GERMAN = ["Guten Tag.", 'Er sagte "ja".', '"Nein', "größer 😀", "中文"]
ENGLISH = ["Good day.", 'He said "yes".', '"No', "bigger 😀", "Chinese, too"]


def moses(folder: Path) -> Rows:
    (folder / "corpus.de.gz").write_bytes(gzip.compress("\n".join(GERMAN).encode()))
    (folder / "corpus.en").write_bytes(("\r\n".join(ENGLISH) + "\r\n").encode())
    return read_bitext([folder / "corpus.de.gz", folder / "corpus.en"])


def tsv(folder: Path) -> Rows:
    (folder / "corpus.tsv").write_bytes("".join(f"{a}\t{b}\n" for a, b in zip(GERMAN, ENGLISH, strict=True)).encode())
    return read_bitext(folder / "corpus.tsv", languages=["de", "en"])


def jsonl(folder: Path) -> Rows:
    rows = [{"de": a, "en": b, "score": 0.5} for a, b in zip(GERMAN, ENGLISH, strict=True)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return read_bitext(folder / "corpus.jsonl")


def named_columns(folder: Path) -> Rows:
    rows = [{"src": a, "tgt": b} for a, b in zip(GERMAN, ENGLISH, strict=True)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return read_bitext(folder / "corpus.jsonl", languages=["de", "en"], text_columns=["src", "tgt"])


def opus_jsonl(folder: Path) -> Rows:
    rows = [{"id": "x", "translation": {"de": a, "en": b}} for a, b in zip(GERMAN, ENGLISH, strict=True)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return read_bitext(folder / "corpus.jsonl")


def opus_parquet(folder: Path) -> Rows:
    rows = [{"translation": {"de": a, "en": b}} for a, b in zip(GERMAN, ENGLISH, strict=True)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "corpus.parquet")
    return read_bitext(folder / "corpus.parquet")


@pytest.mark.parametrize("read", [moses, tsv, jsonl, named_columns, opus_jsonl, opus_parquet])
def test_a_pair_is_a_group_whose_cross_lingual_pairs_are_translations(
    read: Callable[[Path], Rows], tmp_path: Path
) -> None:
    rows, report = read(tmp_path)
    assert report.dropped == {}
    assert (report.groups, report.languages) == (5, {"de": 5, "en": 5})
    assert rows["id"][2].rpartition("-")[2] == "2"
    pairs = [tuple(pair.values())[:2] for pair in parallel_pairs(rows)]
    translations = set(zip(GERMAN, ENGLISH, strict=True))
    assert set(pairs) == translations | {(b, a) for a, b in translations}  # and no pair of a text with itself


def test_a_pair_with_an_empty_side_is_left_out_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("Eins\tOne\n\tTwo\nDrei\t \nVier\tFour\n", encoding="utf-8")
    rows, report = read_bitext(path, languages=["de", "en"])
    assert rows["id"][:] == ["a.tsv-1", "a.tsv-1", "a.tsv-4", "a.tsv-4"]
    assert report.dropped == {"pair with an empty side": Dropped(4, f"{path}:2")}
    assert (report.read, report.kept) == (8, 4)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_files_whose_lines_differ_in_length_stay_aligned(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from st_hybrid.data import bitext
    from st_hybrid.data.blocks import read_blocks

    monkeypatch.setattr(bitext, "read_blocks", lambda path: read_blocks(path, size))
    german, english = [f"{'lang ' * (n % 5)}{n}" for n in range(60)], [f"{n}{' long' * (n % 7)}" for n in range(60)]
    (tmp_path / "a.de").write_text("\n".join(german), encoding="utf-8")
    (tmp_path / "a.en").write_text("\n".join(english) + "\n", encoding="utf-8")
    rows, report = read_bitext([tmp_path / "a.de", tmp_path / "a.en"])
    assert rows["query"][::2] == german
    assert rows["positive"][1::2] == english
    assert report.sources == {str(tmp_path / "a.de"): 60, str(tmp_path / "a.en"): 60}

    (tmp_path / "a.en").write_text("\n".join(english[:-3]) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.de has 60 and .*a\.en has 57"):
        read_bitext([tmp_path / "a.de", tmp_path / "a.en"])


@pytest.mark.parametrize(
    ("first", "second"), [("train.src", "train.tgt"), ("x.low", "x.raw"), ("eng.txt", "deu.tok"), ("a.id", "a.en")]
)
def test_suffixes_that_mean_no_language(first: str, second: str, tmp_path: Path) -> None:
    paths = [tmp_path / first, tmp_path / second]
    for path in paths:
        path.write_text("eins\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"the name does not end in a language code\. Name the two languages: languages="
    ):
        read_bitext(paths)
    assert read_bitext(paths, languages=["de", "id"]).report.languages == {"de": 1, "id": 1}


def test_suffixes_that_mean_a_language(tmp_path: Path) -> None:
    for names in (["a.deu", "a.eng"], ["a.zh-Hans", "a.pt_BR"], ["a.de-en.de.gz", "a.de-en.en"], ["a.cmn", "a.swh"]):
        for name in names:
            data = b"eins\n"
            (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        found = read_bitext([tmp_path / name for name in names]).report.languages
        assert list(found) == [name.removesuffix(".gz").rpartition(".")[2] for name in names]


def test_errors(tmp_path: Path) -> None:
    path, table = tmp_path / "a.tsv", tmp_path / "a.jsonl"
    for content, message in (
        ("Eins\tOne\nZwei\n", r"a\.tsv:2: the line has 1 columns, not two"),
        ("Eins\tOne\nZwei\tTwo\t0.5\n", r"a\.tsv:2: the line has 3 columns, not two"),
        ("", r"There are no rows in .*a\.tsv"),
    ):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            read_bitext(path, languages=["de", "en"])
    path.write_bytes("Eins\tOne\nFünf\tFive\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"a\.tsv:2: not UTF-8"):
        read_bitext(path, languages=["de", "en"])
    with pytest.raises(ValueError, match="does not say which languages"):
        read_bitext(path)
    table.write_text('{"src": "Eins", "tgt": "One"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="has the columns src, tgt, and not two of them name a language"):
        read_bitext(table)
    with pytest.raises(ValueError, match="has no column 'target', only src, tgt"):
        read_bitext(table, languages=["de", "en"], text_columns=["src", "target"])
    with pytest.raises(ValueError, match="text_columns applies to one file with columns"):
        read_bitext(table, text_columns=["src", "tgt"])
    with pytest.raises(ValueError, match="two languages, got de, de"):
        read_bitext(table, languages=["de", "de"])
    with pytest.raises(ValueError, match=r"a\.jsonl: the name does not end in a language code"):
        read_bitext([table, path])
    with pytest.raises(ValueError, match="got 3"):
        read_bitext([table] * 3)
    with pytest.raises(FileNotFoundError, match=r"none\.de"):
        read_bitext([tmp_path / "none.de", table])
