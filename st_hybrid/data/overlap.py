"""Which of many texts share how much with a set of known texts, without comparing each with each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from st_hybrid.data.letters import Hashes, Letters

Ints = NDArray[np.int64]

_GRAM_BITS = np.uint64(16)  # what is cut from a gram's 64 bits to make room for the number of its text
_CHUNK = 1 << 16
_FILTER_BITS = np.uint64(26)
_PAIRS = 1 << 17  # pairs verified at once


@dataclass(frozen=True)
class OverlapSettings:
    """When two texts overlap.

    Args:
        ngram: Letters of an n-gram.
        threshold: Share of the shorter text's n-grams that both must have.
        min_letters: Texts with fewer letters are compared whole, never by n-grams: they share too much by chance.
        min_exact_letters: Texts with fewer letters are not compared at all.
    """

    ngram: int = 7
    threshold: float = 0.5
    min_letters: int = 25
    min_exact_letters: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"The threshold is a share above 0 and at most 1, got {self.threshold}.")
        if self.ngram < 1 or self.min_letters < self.ngram:
            raise ValueError(
                f"min_letters ({self.min_letters}) must be at least the n-grams' length ({self.ngram}), and that "
                "at least 1."
            )


class Overlaps(NamedTuple):
    """Pairs of texts that overlap, as arrays of one entry a pair.

    Args:
        text: Number of the text.
        known: Number of the known text.
        overlap: Share of the shorter text's n-grams that the other has; 1 where both have the same letters.
        exact: Whether both have the same letters.
    """

    text: Ints
    known: Ints
    overlap: NDArray[np.float64]
    exact: NDArray[np.bool_]


class KnownTexts:
    """Texts to look for in others.

    Two texts overlap if their letters are the same, or if one has at least a share ``threshold`` of the other's
    distinct n-grams: the other, or most of it, stands in the one, be it whole, cut or lightly edited. No pair above the
    threshold is missed. If ``b`` n-grams of a text must be shared out of ``a``, any ``a - b + 1`` of them hold a shared
    one, so only pairs that share one of a text's rarest so many are compared (the prefix filter of set similarity
    joins). The work is sparse matrix products over whole chunks.

    Args:
        texts: The texts' letters.
        settings: When texts overlap.

    References:
        Chaudhuri, Ganti and Kaushik 2006, https://doi.org/10.1109/ICDE.2006.9

    Example:
        ::

            import pyarrow as pa
            from st_hybrid.data.letters import letters
            from st_hybrid.data.overlap import KnownTexts

            known = KnownTexts(letters(pa.array(["The stork builds its nest on a chimney in spring."])))
            found = known.find(letters(pa.array(["We saw that the stork builds its nest on a chimney, too."])))
            print(found.overlap)  # most of the n-grams of the shorter text
    """

    def __init__(self, texts: Letters, settings: OverlapSettings | None = None) -> None:
        self.settings = settings or OverlapSettings()
        hashes = texts.hashes()
        compared = np.flatnonzero(texts.lengths >= self.settings.min_exact_letters)
        self._exact = compared[np.argsort(hashes[compared], kind="stable")]
        self._exact_hashes = hashes[self._exact]

        count = len(texts.lengths)
        parts = [_distinct(_part(texts, first), self.settings.ngram) for first in range(0, count, _CHUNK)]
        grams = np.concatenate([gram for gram, _ in parts] or [np.empty(0, np.uint64)])
        text = np.concatenate([part + number * _CHUNK for number, (_, part) in enumerate(parts)] or [np.empty(0, int)])
        self._vocabulary, column = np.unique(grams, return_inverse=True)
        self._seen = np.zeros(1 << int(_FILTER_BITS), dtype=bool)
        self._seen[_slot(self._vocabulary)] = True
        shape = (count, len(self._vocabulary))
        self._grams = csr_array((np.ones(len(text), np.int32), (text, column)), shape=shape)
        self._sizes = np.diff(self._grams.indptr)
        self._frequency = np.bincount(column, minlength=len(self._vocabulary))

    def find(self, texts: Letters) -> Overlaps:
        """All overlaps of texts with the known ones.

        Args:
            texts: The letters of any number of texts; they are gone through in chunks.

        Returns:
            The pairs, in the order of the texts.
        """
        found = [self._find(_part(texts, first), first) for first in range(0, len(texts.lengths), _CHUNK)]
        if not found:
            none = np.empty(0, np.int64)
            return Overlaps(none, none, none.astype(float), none.astype(bool))
        return Overlaps(*(np.concatenate(column) for column in zip(*found, strict=True)))

    def _find(self, texts: Letters, offset: int) -> Overlaps:
        exact = self._same(texts)
        near = self._near(texts)
        text, known, overlap = (np.concatenate(pair) for pair in zip(exact, near, strict=True))
        is_exact = np.arange(len(text)) < len(exact[0])
        # A pair of the same letters overlaps in its n-grams as well; the first entry counts.
        _, first = np.unique(text * len(self._sizes) + known, return_index=True)
        return Overlaps(text[first] + offset, known[first], overlap[first], is_exact[first])

    def _same(self, texts: Letters) -> tuple[Ints, Ints, NDArray[np.float64]]:
        compared = np.flatnonzero(texts.lengths >= self.settings.min_exact_letters)
        hashes = texts.hashes()[compared]
        first = np.searchsorted(self._exact_hashes, hashes, side="left")
        counts = np.searchsorted(self._exact_hashes, hashes, side="right") - first
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(compared, counts), self._exact[np.repeat(first, counts) + place], np.ones(len(place))

    def _near(self, texts: Letters) -> tuple[Ints, Ints, NDArray[np.float64]]:
        grams, text = _distinct(texts, self.settings.ngram)
        sizes = np.bincount(text, minlength=len(texts.lengths))
        maybe = np.flatnonzero(self._seen[_slot(grams)])
        grams, text = grams[maybe], text[maybe]
        column = np.minimum(np.searchsorted(self._vocabulary, grams), max(len(self._vocabulary) - 1, 0))
        there = self._vocabulary[column] == grams if len(self._vocabulary) else np.zeros(0, bool)
        column, text = column[there], text[there]
        mine = csr_array((np.ones(len(text), np.int32), (text, column)), shape=(len(sizes), len(self._vocabulary)))

        here = np.bincount(column, minlength=len(self._vocabulary))
        pairs = [
            (mine @ self._rarest(self._grams, self._sizes, here).T).tocoo(),
            (self._rarest(mine, sizes, self._frequency) @ self._grams.T).tocoo(),
        ]
        keys = np.unique(np.concatenate([pair.row.astype(np.int64) * len(self._sizes) + pair.col for pair in pairs]))
        row, known = np.divmod(keys, len(self._sizes)) if len(keys) else (keys, keys)
        shorter = np.minimum(sizes[row], self._sizes[known])
        large = shorter >= self.settings.min_letters - self.settings.ngram + 1
        row, known, shorter = row[large], known[large], shorter[large]
        shared = np.concatenate(
            [
                mine[row[first : first + _PAIRS]].multiply(self._grams[known[first : first + _PAIRS]]).sum(axis=1)
                for first in range(0, len(row), _PAIRS)
            ]
            or [np.empty(0)]
        )
        overlap = shared / shorter
        enough = overlap >= self.settings.threshold
        return row[enough], known[enough], overlap[enough]

    def _rarest(self, grams: csr_array, sizes: Ints, frequency: Ints) -> csr_array:
        """Of each text that may be contained in one of the others, n-grams of which the container has at least one.

        Args:
            grams: Texts by n-grams.
            sizes: Distinct n-grams of each text, including those that ``grams`` leaves out: no other text has them.
            frequency: In how many of the others each n-gram stands.
        """
        text = np.repeat(np.arange(len(sizes)), np.diff(grams.indptr))
        entry = np.flatnonzero(frequency[grams.indices] > 0)
        present = np.bincount(text[entry], minlength=len(sizes))
        needed = np.ceil(sizes * self.settings.threshold - 1e-9).astype(np.int64)
        needed = np.where(sizes >= self.settings.min_letters - self.settings.ngram + 1, needed, present + 1)
        wanted = np.maximum(present - needed + 1, 0)
        entry = entry[wanted[text[entry]] > 0]
        column = grams.indices[entry]
        order = np.lexsort((frequency[column], text[entry]))
        owner = text[entry][order]
        counts = np.bincount(owner, minlength=len(sizes))
        place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        chosen = order[place < wanted[owner]]
        values = np.ones(len(chosen), np.int32)
        return csr_array((values, (text[entry][chosen], column[chosen])), shape=grams.shape)


def _part(texts: Letters, first: int) -> Letters:
    starts = texts.starts[first : first + _CHUNK + 1]
    return Letters(texts.codes[starts[0] : starts[-1]], starts - starts[0])


def _distinct(texts: Letters, n: int) -> tuple[Hashes, Ints]:
    """The distinct n-grams of each of at most 65,536 texts, in the order of the texts."""
    grams, text = texts.ngrams(n)
    keys = np.sort((text.astype(np.uint64) << (np.uint64(64) - _GRAM_BITS)) | (grams >> _GRAM_BITS))
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys
    gram_bits = np.uint64(64) - _GRAM_BITS
    return keys & ((np.uint64(1) << gram_bits) - np.uint64(1)), (keys >> gram_bits).astype(np.int64)


def _slot(grams: Hashes) -> Hashes:
    return grams >> (np.uint64(64) - _GRAM_BITS - _FILTER_BITS)
