"""Embeddings of a corpus of any size, encoded and kept in shards of consecutive rows."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from st_hybrid.search.fingerprint import texts_fingerprint

Floats = npt.NDArray[np.float32]
Encode = Callable[[list[str]], Floats]

# What str.strip removes: a passage is joined as mteb joins it, in Python.
_WHITESPACE = "".join(character for character in map(chr, range(0x3001)) if character.isspace())


class EmbeddingShards:
    """Embeddings of a corpus in files of consecutive rows, each written whole or not at all.

    A file carries the fingerprints of the model and of its texts, and is used only if both are those at hand. So a run
    that was killed goes on at the first missing shard, several processes or machines may fill one folder, and neither a
    changed model nor a changed corpus reads what belongs to another.

    Args:
        folder: Folder of the shards of this model and corpus, or ``None`` to keep nothing.
        corpus: The passages: a data set with the column ``text`` and, if it has titles, ``title``.
        model: Fingerprint of the model, see :func:`~st_hybrid.search.fingerprint.model_fingerprint`.
        rows: Passages a shard.

    Raises:
        ValueError: If the corpus is empty or has no texts, or ``rows`` is not positive.
    """

    def __init__(self, folder: Path | None, corpus: Dataset, model: str, rows: int) -> None:
        if rows < 1:
            raise ValueError(f"A shard needs at least one row, not {rows}.")
        if not len(corpus):
            raise ValueError("The corpus is empty.")
        if "text" not in corpus.column_names:
            raise ValueError(f"The corpus has no column 'text', only {', '.join(corpus.column_names)}.")
        self.folder, self.corpus, self.model, self.rows = folder, corpus, model, rows

    def __len__(self) -> int:
        return -(-len(self.corpus) // self.rows)

    def bounds(self, number: int) -> tuple[int, int]:
        """First row of a shard and the row after its last."""
        start = number * self.rows
        return start, min(start + self.rows, len(self.corpus))

    def texts(self, number: int) -> pa.LargeStringArray:
        """The texts of a shard: title and text, joined by a space and stripped, as mteb joins them."""
        start, stop = self.bounds(number)
        columns = [name for name in ("title", "text") if name in self.corpus.column_names]
        table = self.corpus.select_columns(columns).with_format("arrow")[start:stop]
        parts = [pc.fill_null(table[name].cast(pa.large_string()), "") for name in columns]
        joined = pc.binary_join_element_wise(*parts, pa.scalar(" ", pa.large_string()))
        return pc.utf8_trim(joined, characters=_WHITESPACE).combine_chunks()

    def missing(self) -> list[int]:
        """Numbers of the shards that no usable file holds."""
        return [number for number in range(len(self)) if not self.holds(number)]

    def holds(self, number: int) -> bool:
        """Whether a usable file holds a shard."""
        path = self._path(number)
        if path is None or not path.is_file():
            return False
        try:
            with safe_open(path, framework="numpy") as file:
                return bool(file.metadata() == self.fingerprints(number))
        except (SafetensorError, OSError):
            return False

    def fingerprints(self, number: int) -> dict[str, str]:
        """What the file of a shard must carry: the fingerprints ``model`` and, of its texts, ``texts``."""
        return {"model": self.model, "texts": texts_fingerprint(self.texts(number))}

    def read(self, number: int) -> Floats | None:
        """The embeddings of a shard as they were written, shape ``(rows, dimensions)``.

        ``None`` stands for: not there, unreadable, of another model, or of other texts.
        """
        path = self._path(number)
        if path is None or not self.holds(number):
            return None
        with safe_open(path, framework="numpy") as file:
            stored: Floats = file.get_tensor("embeddings").astype(np.float32)
        return stored

    def encode(self, number: int, encode: Encode) -> Floats:
        """Encode a shard, and write it if there is a folder.

        Args:
            number: Number of the shard.
            encode: Gives one vector a text, shape ``(texts, dimensions)``.

        Returns:
            The embeddings in the order of the corpus, as :meth:`read` would give them: rounded to float16 if they were
            written, so that a run which goes on later ranks with the very same numbers.

        Raises:
            ValueError: If the model gives another number of vectors, or a vector that is not finite.
        """
        texts = self.texts(number)
        start, _ = self.bounds(number)
        embeddings = encode(texts.to_pylist())
        if embeddings.ndim != 2 or len(embeddings) != len(texts):
            raise ValueError(f"The model gave embeddings of shape {embeddings.shape} for {len(texts)} texts.")
        with np.errstate(over="ignore"):  # what float16 cannot hold is named below
            kept = embeddings if self.folder is None else embeddings.astype(np.float16)
        if not np.isfinite(kept).all():
            row = start + int(np.flatnonzero(~np.isfinite(kept).all(axis=1))[0])
            name = repr(self.corpus[row]["id"]) if "id" in self.corpus.column_names else f"in row {row}"
            raise ValueError(f"The vector of passage {name} is not finite in {kept.dtype}; it cannot be ranked.")
        path = self._path(number)
        if path is None:
            return embeddings
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")
        try:
            save_file({"embeddings": kept}, partial, metadata=self.fingerprints(number))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return kept.astype(np.float32)

    def _path(self, number: int) -> Path | None:
        return None if self.folder is None else self.folder / f"{number:05}-of-{len(self):05}.safetensors"
