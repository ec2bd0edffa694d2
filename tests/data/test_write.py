"""Rows come back as they were written, and a file is there whole or not at all."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from datasets import Dataset

from st_hybrid.data import open_rows, write_rows

ROWS = [
    {
        "id": f"g{n}",
        "language": code,
        "query": f'{code} "Wer"\n{n}?',
        "positive": f"„Ich“ / \\ {n} 中 😀",
        "negative": "x",
    }
    for n in range(30)
    for code in ("de", "el")
]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.jsonl.bz2", "a.parquet", "folder"])
def test_what_was_written_reads_the_same(name: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / name
    write_rows(Dataset.from_list(ROWS), path)
    assert open_rows(path).rows.to_list() == ROWS
    assert [left.name for left in path.parent.iterdir()] == [name]


def test_the_same_rows_make_the_same_file(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_rows(Dataset.from_list(ROWS), tmp_path / name)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As if the disk were full: no file can grow beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of a half-written Parquet file
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_a_file_stays_as_it_was_when_writing_fails(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write_rows(Dataset.from_list(ROWS[:2]), path)
    before = path.read_bytes()
    with files_of_at_most(100), pytest.raises(OSError, match="File too large"):
        write_rows(Dataset.from_list(ROWS), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_cannot_be_written(tmp_path: Path) -> None:
    for name in ("a.txt", "a.json", "a.csv", "a.parquet.gz", "a.jsonl.xz"):
        with pytest.raises(ValueError, match=r"Rows are written as \.jsonl"):
            write_rows(Dataset.from_list(ROWS), tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileExistsError, match="folder exists"):
        write_rows(Dataset.from_list(ROWS), tmp_path / "folder")
    assert [left.name for left in tmp_path.iterdir()] == ["folder"]
