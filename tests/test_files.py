"""Files are written whole or not at all; checksums, and the folders for caches and temporary files."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from st_hybrid.files import cache_folder, replacing, sha256, temporary_folder, write_json


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("new", encoding="utf-8")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text(encoding="utf-8") == "new"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(TypeError, match="must be str"), replacing(path) as temporary:
        temporary.write_bytes(b"ha") and temporary.write_text(b"lf")  # type: ignore[arg-type]
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fails", [False, True])
def test_folders_too(tmp_path: Path, fails: bool) -> None:
    path = tmp_path / "folder"
    try:
        with replacing(path) as temporary:
            (temporary / "inner").mkdir(parents=True)
            if fails:
                raise RuntimeError("half")
    except RuntimeError:
        assert fails
    assert [part.name for part in tmp_path.rglob("*")] == ([] if fails else ["folder", "inner"])


def test_a_folder_that_holds_files_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(OSError, match="not empty"), replacing(tmp_path / "mine") as temporary:
        temporary.mkdir()
    assert [part.name for part in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


def test_two_writers_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as one, replacing(tmp_path / "file") as other:
        assert one != other
        one.write_text("one", encoding="utf-8")
        other.write_text("other", encoding="utf-8")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "one"


def test_json_is_indented_utf8(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"größe": [1, None]})
    text = (tmp_path / "file.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"größe": [1, None]}
    assert "größe" in text
    assert text.endswith("}\n")
    with pytest.raises(TypeError):
        write_json(tmp_path / "file.json", {"a": object()})
    assert (tmp_path / "file.json").read_text(encoding="utf-8") == text


def test_sha256_of_files_and_folders(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000  # more than one block
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(content)
    assert sha256(tmp_path / "a" / "file") == hashlib.sha256(content).hexdigest()
    before = sha256(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert sha256(tmp_path / "b") == before
    (tmp_path / "b" / "file").rename(tmp_path / "b" / "other")
    assert sha256(tmp_path / "b") != before
    with pytest.raises(FileNotFoundError):
        sha256(tmp_path / "a")


def test_the_cache_folder_is_the_one_that_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ST_HYBRID_CACHE", "~/somewhere")
    assert cache_folder() == Path.home() / "somewhere"
    monkeypatch.delenv("ST_HYBRID_CACHE")
    assert cache_folder().name == "st-hybrid"


def test_temporary_folders_go_with_the_process(tmp_path: Path) -> None:
    script = "from st_hybrid.files import temporary_folder as t; print(t(), t())"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment)
    folders = [Path(name) for name in done.stdout.split()]
    assert [folder.parent for folder in folders] == [tmp_path, tmp_path]
    assert not any(folder.exists() for folder in folders)
    assert temporary_folder().is_dir()


LEAVE = """
import os, sys
from pathlib import Path
from st_hybrid.files import replacing, temporary_folder
temporary_folder()
with replacing(Path(sys.argv[1]) / "file.txt") as file, replacing(Path(sys.argv[1]) / "folder") as folder:
    file.write_text("half")
    folder.mkdir()
    (folder / "part").write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, scratch = tmp_path / "output", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert subprocess.run([sys.executable, "-c", LEAVE, str(output)], check=False).returncode == -9
    assert sorted(path.suffix for path in output.iterdir()) == [".part", ".part"]
    assert len(list(scratch.iterdir())) == 1
    with replacing(output / "file.txt") as one, replacing(output / "folder") as other:
        one.write_text("whole", encoding="utf-8")
        other.mkdir()
        with replacing(output / "file.txt") as beside:  # of a process that lives: not touched
            beside.write_text("beside", encoding="utf-8")
        assert one.is_file()
    assert sorted(path.name for path in output.iterdir()) == ["file.txt", "folder"]
    mine = temporary_folder()
    assert temporary_folder() != mine
    assert mine.is_dir()
    assert len(list(scratch.iterdir())) == 2


def test_what_another_machine_left_goes_after_a_day(tmp_path: Path) -> None:
    left, new = (tmp_path / f".file.00000000-1-{name}.part" for name in ("aaaaaaaa", "bbbbbbbb"))
    for path in (left, new, tmp_path / ".file.mine.part.txt"):
        path.write_text("half", encoding="utf-8")
    os.utime(left, (0, 0))
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("whole", encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, ".file.mine.part.txt", "file"]
