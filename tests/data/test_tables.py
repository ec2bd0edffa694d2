"""Files in long and in wide form: what is read, what is left out, and what is said of what is wrong."""

from __future__ import annotations

import csv
import gzip
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid import parallel_pairs
from st_hybrid.data import Dropped, open_rows, tables

TEXTS = ["Wer?", 'Er sagte: "ja, so"', "zwei\nZeilen\tund mehr", "日本語、中文", "emoji 😀 ", "\\n 'x'", "NULL", "NA"]


def long_rows(languages: Sequence[str] = ("de", "el", "zh")) -> list[dict[str, Any]]:
    return [
        {"id": f"g{number}", "language": code, "query": f"{code} {text}", "positive": f"{text} ({code})"}
        for number, text in enumerate(TEXTS)
        for code in languages
    ]


def wide_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    wide: dict[str, dict[str, Any]] = {}
    for row in rows:
        part = wide.setdefault(row["id"], {"id": row["id"]})
        part |= {f"{name}_{row['language']}": row[name] for name in row if name not in ("id", "language")}
    return list(wide.values())


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as the suffix says."""
    plain = path.with_suffix("") if path.suffix in (".gz", ".zst") else path
    names = list(dict.fromkeys(name for row in rows for name in row))
    if plain.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows]), plain)
    elif plain.suffix == ".jsonl":
        plain.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with plain.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names, delimiter="\t" if plain.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    if plain != path:
        codec = {".gz": "gzip", ".zst": "zstd"}[path.suffix]
        with pa.output_stream(str(path), compression=codec) as stream:
            stream.write(plain.read_bytes())
        plain.unlink()
    return path


def lines(path: Path, *rows: object) -> Path:
    """A file of lines, each JSON unless it is text."""
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def row(**values: object) -> dict[str, Any]:
    return {"id": 1, "language": "de", "query": "Wer?", "positive": "Ich.", **values}


KINDS = ["jsonl", "jsonl.gz", "jsonl.zst", "csv", "csv.gz", "tsv", "tsv.zst", "parquet"]


@pytest.mark.parametrize("form", ["long", "wide"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_and_form_gives_the_same_rows(kind: str, form: str, tmp_path: Path) -> None:
    rows = long_rows()
    path = write(tmp_path / f"rows.{kind}", rows if form == "long" else wide_rows(rows))
    found, report = open_rows(path)
    assert found.to_list() == rows
    assert (report.read, report.kept, report.groups, report.dropped) == (len(rows), len(rows), len(TEXTS), {})
    assert report.languages == dict.fromkeys(("de", "el", "zh"), len(TEXTS))
    assert report.sources == {str(path): len(rows) if form == "long" else len(TEXTS)}


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_columns_by_other_names(kind: str, tmp_path: Path) -> None:
    names = {"id": "nr", "language": "lang", "query": "question", "positive": "answer", "negative": "wrong"}
    rows = [{**part, "negative_1": "falsch", "negative_2": "auch"} for part in long_rows()]
    renamed = {**names, "negative_1": "wrong_1", "negative_2": "wrong_2"}
    path = write(tmp_path / f"long.{kind}", [{renamed[name]: part[name] for name in part} for part in rows])
    assert open_rows(path, columns=names).rows.to_list() == rows

    prefixes = {"id": "nr", "query": "q", "positive": "p", "negative": "n"}
    wide = []
    for part in wide_rows(rows):
        renamed = {name: name.replace("query", "q").replace("positive", "p").replace("negative", "n") for name in part}
        wide.append({renamed[name].replace("id", "nr"): part[name] for name in part})
    path = write(tmp_path / f"wide.{kind}", wide)
    assert open_rows(path, columns=prefixes).rows.to_list() == rows


def test_other_columns_are_left_alone_whatever_they_hold(tmp_path: Path) -> None:
    extra = [{"score": 1.5, "tags": ["a"]}, {"score": "high", "tags": {"b": None}}]
    rows = [row(id=number, query_rewrites=["x"], **part) for number, part in enumerate(extra)]
    found = open_rows(lines(tmp_path / "a.jsonl", *rows)).rows
    assert found.column_names == ["id", "language", "query", "positive"]
    assert found["id"][:] == [0, 1]


def test_ids_are_text_or_whole_numbers_as_the_file_has_them(tmp_path: Path) -> None:
    assert open_rows(lines(tmp_path / "a.jsonl", row(id=7))).rows["id"][:] == [7]
    assert open_rows(lines(tmp_path / "b.jsonl", row(id="007"))).rows["id"][:] == ["007"]
    assert open_rows(write(tmp_path / "c.csv", [row(id="007")])).rows["id"][:] == ["007"]
    assert open_rows(write(tmp_path / "d.parquet", [row(id=7)])).rows["id"][:] == [7]


def test_rows_in_one_language_need_neither_language_nor_id(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [{"question": "Who?", "answer": "I."}, {"question": "When?", "answer": "Now."}])
    found, _ = open_rows(path, columns={"query": "question", "positive": "answer"}, language="en")
    assert found.to_list() == [
        {"id": "a.csv-1", "language": "en", "query": "Who?", "positive": "I."},
        {"id": "a.csv-2", "language": "en", "query": "When?", "positive": "Now."},
    ]


def test_wide_rows_without_ids_are_numbered(tmp_path: Path) -> None:
    rows = long_rows(["de", "en"])
    path = write(tmp_path / "a.csv", [{k: v for k, v in part.items() if k != "id"} for part in wide_rows(rows)])
    found = open_rows(path).rows
    assert found["id"][:4] == ["a.csv-1", "a.csv-1", "a.csv-2", "a.csv-2"]
    assert found.remove_columns("id").to_list() == Dataset.from_list(rows).remove_columns("id").to_list()


def test_a_group_may_lack_languages_in_wide_form(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl",
        {"id": 1, "query_de": "Wer?", "positive_de": "Ich."},
        {"id": 2, "query_de": "Wo?", "positive_de": "Hier.", "query_en": "Where?", "positive_en": "Here."},
        {"id": 3, "query_en": "When?", "positive_en": None, "query_de": " ", "positive_de": ""},
    )
    found, report = open_rows(path)
    assert [(part["id"], part["language"]) for part in found] == [(1, "de"), (2, "de"), (2, "en")]
    assert report.read == 4
    assert report.dropped == {"no positive": Dropped(1, f"{path}:3")}


def test_a_language_that_only_a_later_block_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("st_hybrid.data.tables._BLOCK", 1)
    rows = [{"id": n, "query_de": f"Wer {n}?", "positive_de": f"{n}."} for n in range(20)]
    rows[15] |= {"query_yo": "Ta ni?", "positive_yo": "Èmi."}
    found, report = open_rows(lines(tmp_path / "a.jsonl", *rows))
    assert report.languages == {"de": 20, "yo": 1}
    assert found.filter(lambda part: part["language"] == "yo").to_list() == [
        {"id": 15, "language": "yo", "query": "Ta ni?", "positive": "Èmi."}
    ]


def test_blocks_that_lack_a_column_altogether(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("st_hybrid.data.tables._BLOCK", 1)
    path = lines(tmp_path / "a.jsonl", row(id=1), {"id": 2, "language": "de", "query": "Wo?"}, {"note": "x"}, row(id=3))
    found, report = open_rows(path)
    assert found["id"][:] == [1, 3]
    assert report.dropped == {"no positive": Dropped(1, f"{path}:2"), "no id": Dropped(1, f"{path}:3")}
    path = lines(
        tmp_path / "b.jsonl",
        {"id": 1, "query_de": "Wer?", "positive_de": "Ich."},
        {"id": 2, "query_en": "Who?"},
        {"id": 3},
        {"id": 4, "query_en": "Where?", "positive_en": "Here."},
    )
    found, report = open_rows(path)
    assert found["id"][:] == [1, 4]
    assert report.dropped == {"no positive": Dropped(1, f"{path}:2")}


def test_a_column_of_ids_may_look_like_one_of_indonesian(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"query_id": 5, "query_en": "Who?", "positive_en": "I."})
    assert open_rows(path, columns={"id": "query_id"}).rows["id"][:] == [5]
    assert open_rows(path, languages=["en"]).rows["language"][:] == ["en"]


def test_what_is_left_out_is_counted_by_reason_and_placed(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl",
        row(id=1, negative="Sie."),
        "",
        row(id=2, query="  ", positive="", negative="x"),
        row(id=3, positive=None, negative="x"),
        row(id=None, negative="x"),
        row(id=4, language="", negative="x"),
        row(id=5, negative=None),
        row(id=6, negative="x", query="\t\n"),
        row(id=7, language="fr", negative="x"),
    )
    found, report = open_rows(path, languages=["de"])
    assert found["id"][:] == [1]
    assert report.dropped == {
        "no query": Dropped(2, f"{path}:3"),
        "no positive": Dropped(1, f"{path}:4"),
        "no id": Dropped(1, f"{path}:5"),
        "no language": Dropped(1, f"{path}:6"),
        "no negative": Dropped(1, f"{path}:7"),
        "language not asked for": Dropped(1, f"{path}:9"),
    }
    assert report.read == 8 == report.kept + sum(part.rows for part in report.dropped.values())
    assert "2 left out: no query, first at" in str(report)


def test_several_files_are_one_set(tmp_path: Path) -> None:
    first = write(tmp_path / "de.jsonl", long_rows(["de"]))
    second = write(tmp_path / "en.csv.gz", long_rows(["en"]))
    found, report = open_rows([first, second])
    assert len(parallel_pairs(found)) == 4 * len(TEXTS)
    assert report.sources == {str(first): len(TEXTS), str(second): len(TEXTS)}
    with pytest.raises(ValueError, match=r"but .*en2\.csv:2 repeats \('g0', 'en'\) of .*en\.csv\.gz:2\."):
        open_rows([second, write(tmp_path / "en2.csv", long_rows(["en"]))])
    numbers = lines(tmp_path / "numbers.jsonl", row())
    with pytest.raises(ValueError, match=r"numbers\.jsonl:1: ids are int64 here but string before"):
        open_rows([first, numbers])
    negatives = lines(tmp_path / "negatives.jsonl", row(id="x", negative="y"))
    with pytest.raises(ValueError, match=r"negatives\.jsonl:1: the columns here are .*negative"):
        open_rows([first, negatives])


def error(path: Path, **options: Any) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        open_rows(path, **options)
    return str(caught.value).replace(f"{path.parent}/", "")


def test_errors_point_at_file_and_line_of_json(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert error(lines(path, row(), "", '{"id": 2')) == "a.jsonl:3: not valid JSON: Expecting ',' delimiter (column 9)."
    assert error(lines(path, row(), "[1]")).startswith("a.jsonl:2: not an object")
    assert error(lines(path, row(), row(query=["Wer?"]))) == "a.jsonl:2: 'query' is [\"Wer?\"], not text."
    assert error(lines(path, row(id=1.5))) == "a.jsonl:1: 'id' is 1.5, not text."
    assert error(lines(path, row(), row(id="x"))) == (
        "a.jsonl:2: 'id' is \"x\", not a whole number of at most 64 bits. Make all ids text."
    )
    assert error(lines(path, row(), "", row())) == (
        "Each id must have one query per language and each positive once, but a.jsonl:3 repeats (1, 'de') of "
        "a.jsonl:1. Give these rows ids of their own, or drop them."
    )
    assert error(lines(path, row(), row(id=2, language="german"))) == (
        "a.jsonl:2: 'german' is not the code of a language. Did you mean 'de' (German)? To accept any text as a "
        "language, pass check_languages=False."
    )
    assert error(lines(path, row(id=1.5), row())).startswith("a.jsonl:1: 'id' is 1.5, not text.")
    assert error(lines(path, row(), row(id=1.5))).startswith("a.jsonl:2: 'id' is \"1.5\", not a whole number")
    assert error(lines(path, row(), row(id=2**64 - 1))).startswith(
        "a.jsonl:2: 'id' is 18446744073709551615, not a whole"
    )
    assert error(lines(path, row(), row(id=2), row(id=3, query="\ud83d?"))) == (
        "a.jsonl:3: 'query' is \"\\ud83d?\", not text. Half of a surrogate pair is no text."
    )
    path.write_bytes(json.dumps(row(query="schön"), ensure_ascii=False).encode("latin-1"))
    assert error(path).startswith("a.jsonl:1: not UTF-8")


def test_errors_point_at_file_and_line_of_csv(tmp_path: Path) -> None:
    path, header = tmp_path / "a.csv", "id,language,query,positive"
    assert error(lines(path, header, '1,de,"Wer\nist?",Ich.', "2,de,Wo?")).startswith(
        "a.csv:4: 3 columns, where the header has 4."
    )
    assert "a.csv:2: a quotation mark is not closed" in error(lines(path, header, '1,de,"Wer,Ich.'))
    assert error(lines(path, "id,id,language,query,positive", "1,1,de,Wer?,Ich.")).startswith(
        "a.csv:1: the column 'id'"
    )
    assert "but a.csv:3 repeats ('1', 'de') of a.csv:2." in error(
        lines(path, header, "1,de,Wer?,Ich.", "1,de,Wo?,Hier.")
    )
    assert error(lines(path)).startswith("a.csv is empty")
    assert error(lines(path, header)) == "There are no rows in a.csv."
    path.write_bytes(f"{header}\n1,de,schön,gut\n".encode("latin-1"))
    assert error(path).startswith("a.csv:2: not UTF-8")


@pytest.mark.parametrize("second", ['"another mark', 'one that ends in a mark "'])
def test_an_open_quotation_mark_does_not_join_rows(second: str, tmp_path: Path) -> None:
    rows = ['1\tde\t"Am Anfang\tIch.', f"2\tde\t{second}\tDu.", "3\tde\tWo?\tHier."]
    path = lines(tmp_path / "a.tsv", "id\tlanguage\tquery\tpositive", "0\tde\tWer?\tSie.", *rows)
    assert error(path).startswith("a.tsv:3: a quotation mark is not closed")


def test_a_json_array_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([row(), row(id=2)]), encoding="utf-8")
    assert open_rows(path).rows["id"][:] == [1, 2]
    for name in ("a.jsonl", "a.csv"):
        path = write(tmp_path / name, [row(id="1")])
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert open_rows(path).rows.to_list() == [row(id="1")]


def test_invalid_rows_are_kept_for_a_check(tmp_path: Path) -> None:
    rows = [row(), row(), row(id=2, query=""), row(id=None), row(id=3, language=None), row(id=4, language="x-own")]
    found, report = open_rows(lines(tmp_path / "a.jsonl", *rows), keep_invalid=True)
    assert found.to_list() == rows
    assert (report.read, report.kept, report.groups, report.dropped) == (6, 6, 4, {})
    assert report.languages == {"de": 4, "": 1, "x-own": 1}


def test_names_that_may_or_may_not_mean_a_language(tmp_path: Path) -> None:
    texts = {"query_en": "Who?", "positive_en": "I."}
    for code in ("id", "len", "jp", "url"):
        path = lines(tmp_path / "a.jsonl", {**texts, f"query_{code}": "7", f"positive_{code}": "9"})
        assert f"a.jsonl: query_{code}, positive_{code} may or may not be texts in a language {code!r}" in error(path)
        assert open_rows(path, languages=["en"]).rows["language"][:] == ["en"]
    path = lines(tmp_path / "a.jsonl", {**texts, "query_id": 17, "query_len": 4, "query_tokens": ["Who", "?"]})
    assert open_rows(path).rows["language"][:] == ["en"]
    path = lines(tmp_path / "a.jsonl", {**texts, "query_id": "Siapa?", "positive_id": "Saya."})
    assert open_rows(path, languages=["en", "id"]).rows["language"][:] == ["en", "id"]


def test_options_that_contradict_the_source(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", row())
    assert "has the column 'language', so language='en' cannot hold" in error(path, language="en")
    assert "has no split 'test'" in error(path, split="test")
    assert "streaming and revision are for data sets on the hub" in error(path, streaming=True)
    assert "streaming and revision are for data sets on the hub" in error(path, revision="main")
    with pytest.raises(ValueError, match="max_rows must be at least 1"):
        open_rows(path, max_rows=0)


def test_the_first_rows_of_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("st_hybrid.data.tables._BLOCK", 99)
    paths = [lines(tmp_path / f"{part}.jsonl", *(row(id=part * 3 + n) for n in range(3))) for part in range(3)]
    for rows in range(1, 9):
        assert open_rows(paths, max_rows=rows).rows["id"][:] == list(range(rows))


def test_errors_of_columns_and_kinds(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert error(lines(path, {"id": 1, "language": "de", "question": "Wer?", "positive": "Ich."})).startswith(
        "a.jsonl has no column 'query'; its columns are 'id', 'language', 'question', 'positive'."
    )
    assert "no columns such as query_de and positive_de in fr" in error(
        lines(path, {"query_de": "Wer?", "positive_de": "Ich."}), languages=["fr"]
    )
    with pytest.raises(ValueError, match="No row is in fr, only in de: 1 of 1 rows kept"):
        open_rows(lines(path, row()), languages=["de", "fr"])
    assert "No row is left: 0 of 1 rows kept" in error(lines(path, row(query="")))
    assert "There are no rows in a.jsonl" in error(lines(path, ""))
    parquet = write(tmp_path / "a.parquet", [row(query=5)])
    assert "the column 'query' holds int64, not text" in error(parquet)
    parquet.write_bytes(b"nothing")
    assert "a.parquet is not Parquet" in error(parquet)
    assert "none of .jsonl" in error(lines(tmp_path / "a.xlsx"))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"x" * 1000)[:20])
    with pytest.raises(OSError, match=r"b\.jsonl\.gz cannot be read to its end"):
        open_rows(tmp_path / "b.jsonl.gz")
    with pytest.raises(FileNotFoundError, match=r"There is no file .*none\.csv"):
        open_rows([path, tmp_path / "none.csv"])


def test_arguments_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing.jsonl"
    with pytest.raises(ValueError, match="columns names 'answer', but its keys are id, language"):
        open_rows(missing, columns={"answer": "positive"})
    with pytest.raises(ValueError, match="languages: 'english' is not"):
        open_rows(missing, languages=["english"])
    with pytest.raises(ValueError, match="language: 'english' is not"):
        open_rows(missing, language="english")


# Small files of what parsers differ in, and of what they do not.
_VALUES = ["", "x", "é", '"a,b"', '"a""b"', '""', '"a\nb"', 'a"b', '"a" ', ' "a"', '"a"b', '"', "a\rb", "2011-01-01"]
_RECORD = st.lists(st.sampled_from(_VALUES), min_size=1, max_size=3) | st.lists(
    st.sampled_from(_VALUES[:7]), min_size=2, max_size=2
)
_CSV = st.lists(st.tuples(_RECORD.map(",".join), st.sampled_from(["\n", "\r\n", "\n\n"])).map("".join), max_size=6).map(
    "".join
)
_JSON = st.lists(
    st.dictionaries(
        st.sampled_from(["a", "b", "id"]), st.sampled_from([1, 2.5, 2**64, None, True, "\ud83d", "2011-01-01"])
    ).map(json.dumps)
    | st.sampled_from(["", " {}", '{"a": "x"}{"a": "x"}', "[]", '{"a":']),
    max_size=8,
).map("\n".join)


@pytest.mark.parametrize(("kind", "texts"), [("csv", _CSV), ("tsv", _CSV), ("jsonl", _JSON)])
@given(data=st.data(), size=st.integers(1, 40))
def test_arrow_reads_what_python_reads(
    kind: str, texts: st.SearchStrategy[str], data: st.DataObject, size: int
) -> None:
    types = {"a": pa.string(), "b": pa.string(), "id": tables.IDENTIFIER}
    text = data.draw(texts)

    def read() -> tuple[list[Any], str]:
        found = []
        try:
            for batch in tables.Source(str(path)).read(types.get):
                places = [batch.place(row) for row in range(len(batch.table))]
                found += zip(batch.table.to_pylist(), places, strict=True)
        except ValueError as error:
            return [], str(error)
        return [({name: row.get(name) for name in types}, place) for row, place in found], ""

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_BLOCK", size)
        path = Path(folder, f"a.{kind}")
        path.write_text(f"a,b\n{text}".replace(",", "\t" if kind == "tsv" else ",") if kind != "jsonl" else text)
        by_arrow = read()
        for name in ("_csv_by_arrow", "_json_by_arrow"):
            patch.setattr(tables, name, lambda *_: None)
        assert by_arrow == read()


def test_rows_lie_on_disk_and_survive_a_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found, _ = open_rows(write(tmp_path / "a.jsonl", long_rows()))
    (cached,) = found.cache_files
    assert Path(cached["filename"]).is_relative_to(tmp_path)
    assert pickle.loads(pickle.dumps(found)).to_list() == found.to_list()
