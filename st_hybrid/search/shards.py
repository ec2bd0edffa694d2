"""Embeddings of a corpus of any size, in shards of consecutive rows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from st_hybrid.encoders import Floats, shortened
from st_hybrid.files import replacing
from st_hybrid.search.encoding import Encode
from st_hybrid.search.fingerprint import texts_fingerprint

# What str.strip removes; arrow's own trimming keeps some of it.
_WHITESPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))


@dataclass(frozen=True)
class EmbeddingShards:
    """Embeddings of a corpus, encoded shard by shard and kept in one file per shard.

    A file carries the fingerprints of the model and of its texts, and is used only if both match. So a killed run
    continues at the first missing shard, several processes or machines may fill one folder, and a changed model or
    corpus never reads the embeddings of another.
    """

    corpus: Dataset  #: The passages: a data set with the column ``text`` and, optionally, ``title``.
    encoder: Encode  #: Encodes passages: one vector per text, float32.
    model: str  #: Fingerprint of the encoder.
    rows: int  #: Passages per shard.
    folder: Path | None = None  #: Folder for the shards of this model and corpus; None keeps nothing.

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError(f"A shard needs at least one row, not {self.rows}.")
        if not len(self.corpus):
            raise ValueError("The corpus is empty.")
        if "text" not in self.corpus.column_names:
            raise ValueError(f"The corpus has no column 'text', only {', '.join(self.corpus.column_names)}.")

    def __len__(self) -> int:
        return -(-len(self.corpus) // self.rows)

    def bounds(self, number: int) -> tuple[int, int]:
        """First row of a shard and the row after its last."""
        start = number * self.rows
        return start, min(start + self.rows, len(self.corpus))

    def texts(self, number: int) -> pa.LargeStringArray:
        """Texts of a shard: title and text, joined by a space and stripped, as mteb joins them."""
        start, stop = self.bounds(number)
        columns = [name for name in ("title", "text") if name in self.corpus.column_names]
        table = self.corpus.select_columns(columns).with_format("arrow")[start:stop]
        parts = [pc.fill_null(table[name].cast(pa.large_string()), "") for name in columns]
        joined = pc.binary_join_element_wise(*parts, pa.scalar(" ", pa.large_string()))
        return pc.utf8_trim(joined, characters=_WHITESPACE).combine_chunks()

    def fingerprints(self, number: int) -> dict[str, str]:
        """What the file of a shard carries: the fingerprints ``model`` and ``texts``."""
        return {"model": self.model, "texts": texts_fingerprint(self.texts(number))}

    def holds(self, number: int) -> bool:
        """Whether the folder holds a readable file of this shard, by this model and of these texts."""
        if self.folder is None or not self._path(number).is_file():
            return False
        try:
            with safe_open(self._path(number), framework="numpy") as file:
                return bool(file.metadata() == self.fingerprints(number))
        except (SafetensorError, OSError):
            return False

    def missing(self) -> list[int]:
        """Numbers of the shards that the folder does not hold."""
        return [number for number in range(len(self)) if not self.holds(number)]

    def load(self, number: int) -> Floats:
        """Embeddings of a shard, shape ``(rows, dimensions)``: read from its file, or encoded and written now."""
        if not self.holds(number):
            return self.encode(number)
        with safe_open(self._path(number), framework="numpy") as file:
            return np.asarray(file.get_tensor("embeddings"), dtype=np.float32)

    def encode(self, number: int) -> Floats:
        """Encode a shard; if there is a folder, round to float16 and write it, so that a later run ranks alike."""
        texts = self.texts(number)
        embeddings = self.encoder(texts.to_pylist())
        if embeddings.ndim != 2 or len(embeddings) != len(texts):
            raise ValueError(f"The model gave embeddings of shape {embeddings.shape} for {len(texts)} texts.")
        with np.errstate(over="ignore"):  # the check below names a value beyond float16
            kept = embeddings if self.folder is None else embeddings.astype(np.float16)
        if not np.isfinite(kept).all():
            row = self.bounds(number)[0] + int(np.flatnonzero(~np.isfinite(kept).all(axis=1))[0])
            name = repr(self.corpus[row]["id"]) if "id" in self.corpus.column_names else f"in row {row}"
            text = shortened(texts[row - self.bounds(number)[0]].as_py())
            raise ValueError(
                f"The vector of passage {name} is not finite in {kept.dtype}: {text}. It cannot be ranked. Check the "
                "model, or leave the passage out."
            )
        if self.folder is not None:
            with replacing(self._path(number)) as temporary:
                save_file({"embeddings": kept}, temporary, metadata=self.fingerprints(number))
        return kept.astype(np.float32, copy=False)

    def _path(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{number:05}-of-{len(self):05}.safetensors"
