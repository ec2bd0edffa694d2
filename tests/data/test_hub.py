"""Data sets by name, from a folder laid out as a repository of the hub is: load_dataset reads both the same way."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset

from st_hybrid.data import open_rows

CARD = """---
configs:
- config_name: long
  data_files: [{split: train, path: long.parquet}]
- config_name: wide
  data_files: [{split: train, path: wide.parquet}, {split: test, path: wide-test.parquet}]
- config_name: doubled
  data_files: [{split: train, path: doubled.parquet}]
- config_name: numbers
  data_files: [{split: train, path: numbers.parquet}]
---
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    rows = [
        {"nr": n, "language": code, "question": f"Wer {n}, {code}?", "positive": f"{code} {n}."}
        for n in range(25)
        for code in ("de", "en")
    ]
    Dataset.from_list(rows).to_parquet(folder / "long.parquet")
    wide = [
        {f"{name}_{code}": f"{name} {n} {code}" for name in ("query", "positive") for code in ("de", "en")}
        for n in range(25)
    ]
    Dataset.from_list(wide).to_parquet(folder / "wide.parquet")
    Dataset.from_list(wide[:2]).to_parquet(folder / "wide-test.parquet")
    doubled = [{"id": f"x {n % 25}", "language": "de", "query": "Wer?", "positive": "Ich."} for n in range(30)]
    Dataset.from_list(doubled).to_parquet(folder / "doubled.parquet")
    Dataset.from_list([{**doubled[0], "query": 3}]).to_parquet(folder / "numbers.parquet")
    return folder


@pytest.mark.parametrize("streaming", [False, True])
def test_whole_and_streamed_give_the_same_rows(repository: Path, streaming: bool) -> None:
    columns = {"id": "nr", "query": "question"}
    rows, report = open_rows(f"{repository}:long", columns=columns, streaming=streaming)
    assert rows.column_names == ["id", "language", "query", "positive"]
    assert rows[3] == {"id": 1, "language": "en", "query": "Wer 1, en?", "positive": "en 1."}
    assert report.languages == {"de": 25, "en": 25}
    assert report.sources == {f"{repository}:long": 50}

    rows, report = open_rows(f"{repository}:long", columns=columns, streaming=streaming, max_rows=7)
    assert len(rows) == report.read == 7

    rows, _ = open_rows(f"{repository}:wide", split="test", streaming=streaming)
    assert rows["query"][:] == ["query 0 de", "query 0 en", "query 1 de", "query 1 en"]
    rows, _ = open_rows(f"{repository}:wide", streaming=streaming, languages=["en"])
    assert len(rows) == 25


def test_errors_name_the_data_set_and_what_it_has(repository: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nobody/nothing is neither a file or folder nor"):
        open_rows("nobody/nothing")
    with pytest.raises(ValueError, match=r"'tall' not found.*long.*wide"):
        open_rows(f"{repository}:tall")
    with pytest.raises(ValueError, match="validation"):
        open_rows(f"{repository}:wide", split="validation")
    with pytest.raises(ValueError, match="has no column 'query'; its columns are 'nr', 'language', 'question'"):
        open_rows(f"{repository}:long", columns={"id": "nr"})
    with pytest.raises(ValueError, match=r"row 26 repeats \('x 0', 'de'\) of .*row 1"):
        open_rows(f"{repository}:doubled")
    with pytest.raises(ValueError, match="the column 'query' holds int64, not text"):
        open_rows(f"{repository}:numbers")
