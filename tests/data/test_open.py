"""Rows by a name alone, whatever it names; one set or several."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from st_hybrid.data import open_row_sets, open_rows, read_bitext, write_rows

ROWS = [
    {"id": "a", "language": language, "query": f"Wer, {language}?", "positive": f"Eine Frau „{language}“."}
    for language in ("de", "el")
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("rows.jsonl", lambda rows, path: rows.to_json(path)),
        ("rows.csv", lambda rows, path: rows.to_csv(path)),
        ("rows.tsv", lambda rows, path: rows.to_csv(path, sep="\t")),
        ("rows.parquet", lambda rows, path: rows.to_parquet(path)),
        ("folder", lambda rows, path: rows.save_to_disk(path)),
        ("splits", lambda rows, path: DatasetDict(train=rows, test=rows.select([0])).save_to_disk(path)),
        ("data", lambda rows, path: (path.mkdir(), rows.to_parquet(path / "train.parquet"))),
    ],
)
def test_reads_what_was_written(name: str, write: Callable[[Dataset, Path], None], tmp_path: Path) -> None:
    write(Dataset.from_list(ROWS), tmp_path / name)
    assert open_rows(tmp_path / name).rows.to_list() == ROWS

    names = {"id": "nr", "query": "question", "negative": "wrong"}
    other = [{"wrong_1": "Er.", **row, "more": 1} for row in ROWS]
    renamed = Dataset.from_list(other).rename_columns({"id": "nr", "query": "question"})
    write(renamed, tmp_path / f"other-{name}")
    found = open_rows(tmp_path / f"other-{name}", columns=names).rows
    assert set(found.column_names) == {"id", "language", "query", "positive", "negative_1"}
    assert found.remove_columns("negative_1").select_columns(list(ROWS[0])).to_list() == ROWS


def test_rows_without_text_are_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Dataset.from_list([*ROWS, {**ROWS[0], "id": "b", "query": ""}]).to_json(tmp_path / "rows.jsonl")
    with caplog.at_level(logging.WARNING):
        assert len(open_row_sets([tmp_path / "rows.jsonl"])["rows"]) == 2
    assert "1 left out: no query, first at" in caplog.text
    assert "rows.jsonl:3" in caplog.text


def test_what_is_not_there_or_not_known(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no file"):
        open_rows(tmp_path / "rows.jsonl")
    (tmp_path / "rows.xlsx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of \.json"):
        open_rows(tmp_path / "rows.xlsx")
    DatasetDict(train=Dataset.from_list(ROWS)).save_to_disk(tmp_path / "splits")
    with pytest.raises(ValueError, match="has the splits train, not 'test'"):
        open_rows(tmp_path / "splits", split="test")
    with pytest.raises(ValueError, match="splits has no column 'ask'; its columns are 'id', 'language'"):
        open_rows(tmp_path / "splits", columns={"query": "ask"})


@pytest.mark.parametrize("name", ["rows.jsonl", "folder"])
def test_a_folder_and_a_file_are_checked_alike(name: str, tmp_path: Path) -> None:
    bad = [*ROWS, {**ROWS[0], "id": "b", "positive": " "}, {**ROWS[0], "id": "c", "language": "x-own"}]
    write_rows(Dataset.from_list(bad), tmp_path / name)
    with pytest.raises(ValueError, match=r"(jsonl:4|folder, row 4): 'x-own' is not .* pass check_languages=False"):
        open_rows(tmp_path / name)
    rows, report = open_rows(tmp_path / name, check_languages=False)
    assert rows["language"][:] == ["de", "el", "x-own"]
    assert report.dropped["no positive"].rows == 1
    write_rows(Dataset.from_list([*ROWS, ROWS[0]]), tmp_path / f"again-{name}")
    with pytest.raises(ValueError, match=r"(jsonl:3|folder, row 3) repeats \('a', 'de'\) of .*(jsonl:1|folder, row 1)"):
        open_rows(tmp_path / f"again-{name}")


def test_bitext_of_the_hub_is_pointed_to_its_reader(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    Dataset.from_list([{"translation": {"de": "Ja.", "en": "Yes."}}]).to_parquet(tmp_path / "set" / "train.parquet")
    with pytest.raises(ValueError, match=r"read with read_bitext \(data import bitext\)"):
        open_rows(tmp_path / "set")
    assert read_bitext(tmp_path / "set").rows["query"][:] == ["Ja.", "Yes."]


def test_several_sets_are_kept_apart_under_names_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    paths = [tmp_path / "rows.jsonl", tmp_path / "rows.csv", tmp_path / "more" / "rows.jsonl", tmp_path / "faq"]
    rows = Dataset.from_list(ROWS)
    rows.to_json(paths[0])
    rows.to_csv(paths[1])
    rows.select([0]).to_json(paths[2])
    rows.save_to_disk(paths[3])
    sets = open_row_sets(paths)
    assert {name: len(part) for name, part in sets.items()} == {"rows": 2, "rows-2": 2, "rows-3": 1, "faq": 2}


def test_languages_are_asked_for_by_any_of_their_codes(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "id": str(i), "language": code} for i, code in enumerate(["iw", "he", "fil", "de"])]
    Dataset.from_list(rows).to_json(tmp_path / "rows.jsonl")
    assert open_rows(tmp_path / "rows.jsonl", languages=["he", "tl"]).rows["language"][:] == ["iw", "he", "fil"]
    with pytest.raises(ValueError, match="No row is in zh, only in"):
        open_rows(tmp_path / "rows.jsonl", languages=["he", "zh"])
    wide = {"id": 1, "query_iw": "Who?", "positive_iw": "I.", "query_de": "Wer?", "positive_de": "Ich."}
    Dataset.from_list([wide]).to_json(tmp_path / "wide.jsonl")
    assert open_rows(tmp_path / "wide.jsonl", languages=["he"]).rows["language"][:] == ["iw"]
