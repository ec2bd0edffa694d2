"""Find the texts that share much with a set of known texts, without comparing each with each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import csr_array

from st_hybrid.data.normalized import Hashes, NormalizedTexts, normalize
from st_hybrid.grouping import Ints, numbered

_CHUNK = 1 << 16  # texts normalized at once; their numbers fit in 16 bits
_PRODUCTS = 1 << 23  # n-grams in common, with repetitions, that are counted at once
_GRAM_BITS = np.uint64(48)  # of an n-gram's hash; the other 16 bits hold the number of its text


@dataclass(frozen=True)
class OverlapSettings:
    """When two texts overlap.

    Args:
        ngram: Letters per n-gram.
        threshold: Share of the shorter text's n-grams that the other text must have, above 0 and at most 1.
        min_letters: Texts with fewer letters are only compared as a whole; they share n-grams by chance.
        min_exact_letters: Texts with fewer letters are not compared.
    """

    ngram: int = 7
    threshold: float = 0.5
    min_letters: int = 25
    min_exact_letters: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be a share above 0 and at most 1, got {self.threshold}.")
        if not 1 <= self.ngram <= self.min_letters:
            raise ValueError(
                f"ngram must be at least 1 and at most min_letters, so that every text compared by n-grams has one; "
                f"got ngram={self.ngram} and min_letters={self.min_letters}."
            )


class Overlaps(NamedTuple):
    """Pairs of texts that overlap, as arrays with one entry per pair, ordered by text and known text."""

    text: Ints
    known: Ints
    overlap: NDArray[np.float64]  # share of the shorter text's n-grams that the other has; 1 for the same letters
    exact: NDArray[np.bool_]  # both have the same letters


class KnownTexts:
    """Texts to search for in other texts.

    Two texts overlap if they have the same letters, or if one has at least a share ``threshold`` of the other's
    distinct n-grams. So a text is found whole, cut, embedded in a longer one, or lightly edited. The search is exact:
    the n-grams in common are counted for all pairs, with a product of two sparse matrices.
    """

    def __init__(self, texts: pa.Array, settings: OverlapSettings | None = None) -> None:
        self.settings = settings or OverlapSettings()
        wholes: list[tuple[Hashes, Ints]] = []
        ngrams: list[tuple[Hashes, Ints]] = []
        for start, part in _parts(texts):
            for features, (hashes, text) in ((wholes, self._wholes_of(part)), (ngrams, self._ngrams_of(part))):
                features.append((hashes, text + start))
        self._wholes, self._ngrams = _Index(wholes, len(texts)), _Index(ngrams, len(texts))

    def find(self, texts: pa.Array, advance: Callable[[int], None] = lambda units: None) -> Overlaps:
        """Find all overlaps of texts with the known texts; ``advance`` gets the number of texts just compared."""
        fewest = self.settings.min_letters - self.settings.ngram + 1
        known_sizes = self._ngrams.sizes
        found = []
        for start, part in _parts(texts):
            count = len(part.lengths)
            grams, owner = self._ngrams_of(part)
            sizes = np.bincount(owner, minlength=count)
            pairs = [
                (text, known, np.ones(len(text)))
                for text, known, _ in self._wholes.common(*self._wholes_of(part), count)
            ]
            exact = sum(len(text) for text, _, _ in pairs)
            for text, known, common in self._ngrams.common(grams, owner, count):
                shorter = np.minimum(sizes[text], known_sizes[known])
                overlap = common / shorter
                near = (shorter >= fewest) & (overlap >= self.settings.threshold)
                pairs.append((text[near], known[near], overlap[near]))
            text, known, overlap = map(np.concatenate, zip(*pairs, strict=True))
            # Texts with the same letters share their n-grams as well; the first entry counts.
            _, first = np.unique(text * len(known_sizes) + known, return_index=True)
            found.append((text[first] + start, known[first], overlap[first], first < exact))
            advance(count)
        return Overlaps(*map(np.concatenate, zip(*found, strict=True)))

    def _wholes_of(self, texts: NormalizedTexts) -> tuple[Hashes, Ints]:
        """The hashes of the texts that are long enough, and the texts' numbers."""
        text = np.flatnonzero(texts.lengths >= self.settings.min_exact_letters)
        return texts.hashes()[text], text

    def _ngrams_of(self, texts: NormalizedTexts) -> tuple[Hashes, Ints]:
        """The distinct n-grams of each of at most 65,536 texts, and the numbers of the texts that have them."""
        grams, text = texts.ngrams(self.settings.ngram)
        shift = np.uint64(64) - _GRAM_BITS
        keys = np.sort((text.astype(np.uint64) << _GRAM_BITS) | (grams >> shift))
        keys = keys[np.diff(keys, prepend=~keys[:1]) != 0]  # np.unique takes ten times as long
        return keys & ((np.uint64(1) << _GRAM_BITS) - np.uint64(1)), (keys >> _GRAM_BITS).astype(np.int64)


class _Index:
    """Which known texts have which features: n-grams, or the hash of the whole text."""

    def __init__(self, features: list[tuple[Hashes, Ints]], texts: int) -> None:
        hashes, text = map(np.concatenate, zip(*features, strict=True))
        column, self._vocabulary = numbered(pa.array(hashes))
        shape = (len(self._vocabulary), texts)
        self._texts = csr_array((np.ones(len(text), np.int32), (column, text)), shape=shape)
        self.sizes = np.bincount(text, minlength=texts)  # features per text

    def common(self, hashes: Hashes, text: Ints, texts: int) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Pairs of a text and a known text, with their number of common features, part by part."""
        place = pc.index_in(pa.array(hashes), value_set=self._vocabulary)
        column, text = place.drop_null().to_numpy(), text[place.is_valid().to_numpy(zero_copy_only=False)]
        shape = (texts, len(self._vocabulary))
        features = csr_array((np.ones(len(text), np.int32), (text, column)), shape=shape)
        work = np.cumsum(features @ np.diff(self._texts.indptr).astype(np.int64))
        for rows in np.split(np.arange(texts), np.flatnonzero(np.diff(work // _PRODUCTS)) + 1):
            product = (features[rows] @ self._texts).tocoo()
            yield rows[product.row], product.col.astype(np.int64), product.data


def _parts(texts: pa.Array) -> Iterator[tuple[int, NormalizedTexts]]:
    """The texts, normalized, in parts of at most 65,536 and at least one part, with the number of each part's first."""
    for start in range(0, max(len(texts), 1), _CHUNK):
        yield start, normalize(texts.slice(start, _CHUNK))
