"""The journal: what is stored, what is read, and what a killed process leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from st_hybrid.translation.journal import Journal


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal"
    with closing(Journal(path, "model")) as journal:
        assert journal.read(["a"], "en", "de") == [None]
        journal.write({"a": "Ä\n", "b": ""}, "en", "de")
        journal.write({"c": "ç"}, "en", "de")
        journal.write({"a": "à"}, "en", "fr")
        journal.write({"a": "A"}, "en", "de")  # replaces
    with closing(Journal(path, "model")) as journal:
        assert journal.read(["c", "b", "x", "a"], "en", "de") == ["ç", "", None, "A"]
        assert journal.read(["a", "b"], "en", "fr") == ["à", None]
        assert journal.read(["a"], "fr", "de") == [None]
    with closing(Journal(path, "other")) as journal:
        assert journal.read(["a"], "en", "de") == [None]
        journal.write({"a": "other"}, "en", "de")
    with closing(Journal(path, "model")) as journal:
        assert journal.read(["a"], "en", "de") == ["A"]


def test_a_killed_process_loses_at_most_the_batch_that_it_was_writing(tmp_path: Path) -> None:
    """Killed in the middle of a transaction."""
    code = (
        "import os, signal, sys\n"
        "from st_hybrid.translation.journal import Journal\n"
        "journal = Journal(sys.argv[1], 'model')\n"
        "journal.write({'a': 'A', 'b': 'B'}, 'en', 'de')\n"
        "def pairs():\n"
        "    yield 'c', 'C'\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "class Batch(dict):\n"
        "    def items(self): return pairs()\n"
        "journal._connection.execute('PRAGMA cache_size = 1')\n"
        "journal._connection.execute('INSERT INTO translations VALUES (?, ?, ?, ?, ?)',"
        " ('model', 'en', 'de', 'd', 'D' * 1_000_000))\n"  # larger than the cache, so part of it is in the file
        "journal.write(Batch(), 'en', 'de')\n"
    )
    path = tmp_path / "journal"
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.stat().st_size > 500_000
    with closing(Journal(path, "model")) as journal:
        assert journal.read(["a", "b", "c", "d"], "en", "de") == ["A", "B", None, None]


def test_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with closing(Journal(path, "model")) as journal:
        for _ in range(2):
            with pytest.raises(BlockingIOError, match="Another process uses the journal"):
                Journal(path, "other")
            journal.write({"a": "A"}, "en", "de")
    Journal(path, "other").close()


def test_what_is_not_a_journal(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("nonsense\n" * 100, encoding="utf-8")
    for path in (tmp_path, tmp_path / "rows.jsonl"):
        with pytest.raises(ValueError, match=r"is not a journal of translations: .*Name another file"):
            Journal(path, "model")
