"""A full disk, paths that cannot be read or written: one error that names the file, and nothing is lost."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from st_hybrid.checkpoints import last_complete_checkpoint

Run = Callable[..., str]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What a full disk does, to files of any user: bytes beyond a size are refused."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    says = {"en": ("Who lives at {}?", "Mr {} does."), "de": ("Wer wohnt in {}?", "Herr {} tut es.")}
    with (tmp_path / "rows.jsonl").open("w", encoding="utf-8") as lines:
        for number in range(200):
            for code, (query, positive) in says.items():
                row = {"id": number, "language": code, "query": query.format(number)}
                print(json.dumps({**row, "positive": positive.format(number)}), file=lines)
    return tmp_path / "rows.jsonl"


def test_rows_on_a_full_disk(rows: Path, st_hybrid: Run, tmp_path: Path, tiny_model_path: Path) -> None:
    output = tmp_path / "out" / "rows.jsonl"
    output.parent.mkdir()
    output.write_text("what was there before", encoding="utf-8")
    (tmp_path / "texts.txt").write_text("Nothing of this.\n", encoding="utf-8")
    for command in (
        ["import", "rows", rows],
        ["decontaminate", rows, "--against", tmp_path / "texts.txt"],
        ["mine", rows, "--model", tiny_model_path],
    ):
        with files_of_at_most(20_000):
            told = st_hybrid("data", *command, "--output", output, status=1)
        assert "cannot be written: File too large" in told, command
        assert output.read_text(encoding="utf-8") == "what was there before"
        assert list(output.parent.iterdir()) == [output]


def test_a_training_on_a_full_disk_goes_on_later(
    rows: Path, st_hybrid: Run, tmp_path: Path, tiny_model_path: Path
) -> None:
    command = ["train", "--model", tiny_model_path, "--data", rows, "--output", tmp_path / "out", "--resume"]
    command += ["--batch-size", "4", "--max-steps", "4", "--save-steps", "2"]
    with files_of_at_most(150_000):  # enough for the weights, too little for the optimizer's state
        told = st_hybrid(*command, status=1)
    assert f"{tmp_path / 'out'}" in told
    assert "cannot be written: " in told
    assert last_complete_checkpoint(tmp_path / "out" / "checkpoints") is None
    st_hybrid(*command)
    assert (tmp_path / "out" / "training.json").is_file()


def test_scores_on_a_full_disk(rows: Path, st_hybrid: Run, tmp_path: Path, tiny_model_path: Path) -> None:
    command = ["evaluate", "--model", tiny_model_path, "--data", rows, "--output", tmp_path / "scores.json"]
    with files_of_at_most(2_000):
        told = st_hybrid(*command, status=1)
    assert "cannot be written: File too large" in told
    assert not list(tmp_path.glob("scores*"))
    assert not list(tmp_path.glob(".scores*"))
    st_hybrid(*command)


def test_paths_that_are_something_else(rows: Path, st_hybrid: Run, tmp_path: Path, tiny_model_path: Path) -> None:
    """A folder where a file should be, and a file where a folder should be: root may do the rest."""
    (tmp_path / "folder.jsonl").mkdir()
    inside = rows / "out.jsonl"
    model = ["--model", tiny_model_path]
    for command, named in (
        (["data", "import", "rows", rows, "--output", tmp_path / "folder.jsonl"], "folder.jsonl"),
        (["data", "import", "rows", rows, "--output", inside], "rows.jsonl"),
        (["data", "import", "rows", tmp_path / "folder.jsonl", "--output", tmp_path / "out.jsonl"], "folder.jsonl"),
        (["data", "mine", rows, *model, "--output", inside], "rows.jsonl"),
        (["data", "check", rows, "--report", inside], "rows.jsonl"),
        (["train", *model, "--data", rows, "--output", inside, "--max-steps", "2", "--batch-size", "4"], "rows.jsonl"),
        (["evaluate", *model, "--data", rows, "--output", inside], "rows.jsonl"),
        (["center", *model, "--data", rows, "--output", inside], "rows.jsonl"),
    ):
        assert named in st_hybrid(*command, status=1), command
    assert len(rows.read_text(encoding="utf-8").splitlines()) == 400
    assert not list((tmp_path / "folder.jsonl").iterdir())
