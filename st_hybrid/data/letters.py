"""Texts as letters alone, to compare them across spelling habits and scripts."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

# A Chinese character says about as much as three letters, a syllable of Hangul or kana as two.
_WEIGHTS = (
    (2, ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xAC00, 0xD7A3))),
    (3, ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))),
)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying by it loses nothing


@dataclass(frozen=True)
class Letters:
    """The letters of many texts, one after the other.

    Letters, digits and the marks that belong to them, after compatibility decomposition (NFKC) and case folding: no
    spaces, no punctuation. So texts compare alike in scripts with and without spaces. A character of a dense script
    stands several times, so that a length, and an n-gram, says about as much in every script.

    Args:
        codes: The letters as numbers, shape ``(letters,)``.
        starts: Where each text begins, and the end: shape ``(texts + 1,)``.
    """

    codes: NDArray[np.uint32]
    starts: Ints

    @property
    def lengths(self) -> Ints:
        """Letters of each text."""
        return np.diff(self.starts)

    def hashes(self) -> Hashes:
        """A number for each text that only texts of the same letters share."""
        mixed = _mixed(self.codes)
        place = np.arange(len(mixed), dtype=np.uint64) - np.repeat(self.starts[:-1], self.lengths).astype(np.uint64)
        mixed = _scrambled(mixed + place * _MULTIPLIER)
        summed = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
        return _scrambled(summed[self.starts[1:]] - summed[self.starts[:-1]] + self.lengths.astype(np.uint64))

    def ngrams(self, n: int) -> tuple[Hashes, Ints]:
        """The n-grams of all texts, in their order and with repetitions.

        Args:
            n: Letters of an n-gram.

        Returns:
            A number for each n-gram, and the number of its text.
        """
        windows = len(self.codes) - n + 1
        if windows <= 0:
            return np.empty(0, np.uint64), np.empty(0, np.int64)
        mixed, rolled = _mixed(self.codes), np.zeros(windows, np.uint64)
        for place in range(n):
            rolled *= _MULTIPLIER
            rolled += mixed[place : place + windows]
        text = np.repeat(np.arange(len(self.starts) - 1), self.lengths)
        inside = text[:windows] == text[n - 1 :]
        return _scrambled(rolled[inside]), text[:windows][inside]


def letters(texts: pa.Array | pa.ChunkedArray) -> Letters:
    """Reduce texts to their letters.

    Args:
        texts: Texts; null counts as empty.

    Returns:
        Their letters.

    Example:
        ::

            import pyarrow as pa
            from st_hybrid.data.letters import letters

            same = letters(pa.array(["Ｗhere?  IT IS", "where it is"]))
            print(same.hashes()[0] == same.hashes()[1])  # True
    """
    column = pc.replace_substring(pc.fill_null(texts.cast(pa.large_string()), ""), "\0", " ")
    if not len(column):
        return Letters(np.empty(0, np.uint32), np.zeros(1, np.int64))
    joined = "\0".join(column.to_pylist())
    # Case folding may undo the normal form.
    joined = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", joined).casefold())
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    distinct = np.unique(codes)
    weight_of = np.zeros(int(codes.max(initial=0)) + 1, dtype=np.int8)
    weight_of[distinct] = [unicodedata.category(chr(code))[0] in "LNM" for code in distinct.tolist()]
    for weight, ranges in _WEIGHTS:
        for first, last in ranges:
            weight_of[first : last + 1] *= weight
    weights = weight_of[codes]
    summed = np.concatenate([np.zeros(1, np.int64), np.cumsum(weights, dtype=np.int64)])
    breaks = np.flatnonzero(codes == 0)
    starts = np.concatenate([np.zeros(1, np.int64), summed[breaks], summed[-1:]])
    repeated = np.repeat(codes, weights)
    begins = np.repeat(summed[:-1], weights)
    return Letters(repeated * 4 + (np.arange(len(repeated)) - begins).astype(np.uint32), starts)


def _mixed(codes: NDArray[np.uint32]) -> Hashes:
    return _scrambled(codes.astype(np.uint64) + np.uint64(1))


def _scrambled(values: Hashes) -> Hashes:
    """Spread numbers over all 64 bits, one to one (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
