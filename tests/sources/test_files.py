"""Rows from files of each kind."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from st_hybrid.sources.files import load_rows

ROWS = [
    {"id": "a", "language": language, "query": f"Wer, {language}?", "positive": f"Eine Frau „{language}“."}
    for language in ("de", "el")
]


def compressed(rows: Dataset, path: Path) -> None:
    rows.to_json(path.with_suffix(""), force_ascii=False)
    path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("rows.jsonl", lambda rows, path: rows.to_json(path)),
        ("rows.jsonl.gz", compressed),
        ("rows.csv", lambda rows, path: rows.to_csv(path)),
        ("rows.tsv", lambda rows, path: rows.to_csv(path, sep="\t")),
        ("rows.parquet", lambda rows, path: rows.to_parquet(path)),
        ("folder", lambda rows, path: rows.save_to_disk(path)),
        ("splits", lambda rows, path: DatasetDict(train=rows, test=rows.select([0])).save_to_disk(path)),
    ],
)
def test_reads_what_was_written(
    name: str, write: Callable[[Dataset, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    write(Dataset.from_list(ROWS), tmp_path / name)
    assert load_rows(tmp_path / name).to_list() == ROWS


def test_what_is_not_there_or_not_known(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="neither a file or folder"):
        load_rows(tmp_path / "rows.jsonl")
    (tmp_path / "rows.xlsx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of \.json"):
        load_rows(tmp_path / "rows.xlsx")
    DatasetDict(train=Dataset.from_list(ROWS)).save_to_disk(tmp_path / "splits")
    with pytest.raises(ValueError, match="has the splits train, not 'test'"):
        load_rows(tmp_path / "splits", split="test")
