"""Translations kept as they come, so that a killed run loses one batch at most."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


def text_fingerprint(text: str, language: str) -> bytes:
    """Sixteen bytes that stand for a text in a language, called as the model calls it."""
    return hashlib.blake2b(f"{language}\0{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Journal:
    """A folder with a file of translations for each target language, which only grows.

    A line is one batch: the key of what translated it, fingerprints of its texts, and their translations. It counts
    when it is whole, so what a killed process leaves behind of its last line is dropped. Batches of another model, or
    of the same one with other settings, stay where they are and are not read.

    Args:
        folder: The folder; made if it is not there.
        key: Fingerprint of the model and its settings.
    """

    def __init__(self, folder: str | Path, key: str) -> None:
        self.folder, self.key = Path(folder), key

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out.

        Raises:
            BlockingIOError: Another process is at work here.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise BlockingIOError(
                f"Another process is translating with {self.folder}. Wait for it, or end it."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def read(self, language: str, fingerprints: dict[bytes, int]) -> dict[int, str]:
        """The translations into a language that are there.

        Args:
            language: The target language.
            fingerprints: The numbers of the texts wanted, by :func:`text_fingerprint`.

        Returns:
            Translations by the texts' numbers.

        Raises:
            ValueError: A line before the last is not whole: the file was changed.
        """
        found: dict[int, str] = {}
        path = self._path(language)
        if not path.is_file():
            return found
        whole = 0  # bytes of the lines that count
        with path.open("r+b") as file:
            for number, line in enumerate(file, 1):
                try:
                    batch = json.loads(line)
                    texts = [bytes.fromhex(text) for text in batch["texts"]]
                    made = list(zip(texts, batch["translations"], strict=True))
                    if not line.endswith(b"\n"):
                        raise ValueError("The line does not end.")
                except (ValueError, KeyError, TypeError) as error:
                    if next(file, b""):
                        raise ValueError(f"{path}:{number}: not a batch of translations. Delete the line.") from error
                    break
                if batch["key"] == self.key:
                    found.update(
                        (fingerprints[text], translation) for text, translation in made if text in fingerprints
                    )
                whole += len(line)
            file.truncate(whole)  # so that the next batch does not continue a torn line
        return found

    def append(self, language: str, fingerprints: Sequence[bytes], translations: Sequence[str]) -> None:
        """Keep a batch; it is on the disk when this returns.

        Args:
            language: The target language.
            fingerprints: Those of the texts.
            translations: As many translations.
        """
        batch = {"key": self.key, "texts": [text.hex() for text in fingerprints], "translations": list(translations)}
        with self._path(language).open("ab") as file:
            file.write(json.dumps(batch, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _path(self, language: str) -> Path:
        return self.folder / f"{language}.jsonl"
