"""A file of translations that survives a crash."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_TABLE = """CREATE TABLE IF NOT EXISTS translations (
    translator TEXT, source TEXT, target TEXT, text TEXT, translation TEXT NOT NULL,
    PRIMARY KEY (translator, source, target, text)
) WITHOUT ROWID"""
_READ = "SELECT translation FROM translations WHERE translator = ? AND source = ? AND target = ? AND text = ?"
_WRITE = "INSERT OR REPLACE INTO translations VALUES (?, ?, ?, ?, ?)"


class Journal:
    """An SQLite file of translations by a translator and its settings; those of others stay in the file, unread.

    It is created if it does not exist. No other process can open it until it is closed.
    """

    def __init__(self, path: str | Path, translator: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._translator, self._path = translator, path
        try:
            self._connection = sqlite3.connect(path, timeout=0)
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("BEGIN EXCLUSIVE")
            self._connection.execute(_TABLE)
            self._connection.commit()
        except (sqlite3.Error, ValueError) as error:
            if "locked" in str(error):
                raise BlockingIOError(f"Another process uses the journal {path}. Wait for it, or end it.") from None
            raise ValueError(f"{path} is not a journal of translations: {error}. Name another file.") from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def read(self, texts: Sequence[str], source: str, target: str) -> list[str | None]:
        """The translations of texts from one language into another, None for those that are not in the file."""
        keys = ((self._translator, source, target, text) for text in texts)
        with self._explained():
            found = [self._connection.execute(_READ, key).fetchone() for key in keys]
        return [row and row[0] for row in found]

    def write(self, translations: Mapping[str, str], source: str, target: str) -> None:
        """Store translations by their texts. All of them are on the disk when this returns, or none after a crash."""
        with self._explained(), self._connection:
            rows = [(self._translator, source, target, *pair) for pair in translations.items()]
            self._connection.executemany(_WRITE, rows)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say which file is damaged or cannot be written."""
        try:
            yield
        except sqlite3.OperationalError as error:  # the disk is full, say
            raise OSError(f"The journal {self._path} cannot be used: {error}. What it holds stays.") from error
        except sqlite3.Error as error:
            raise ValueError(
                f"The journal {self._path} is damaged: {error}. Remove it, or name another file."
            ) from error
