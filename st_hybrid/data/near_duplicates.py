"""Texts that are nearly the same, in time that grows with their number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from st_hybrid.data.letters import Letters

Ints = NDArray[np.int64]

_SKETCH = 128
_BANDS = 16
_NGRAM = 7


class NearDuplicates(NamedTuple):
    """Pairs of nearly equal texts, as arrays of one entry a pair.

    Every text that has a near-duplicate is in a pair, but not all pairs of many such texts are listed.

    Args:
        first: Number of one text.
        second: Number of the other, larger than ``first``.
        similarity: Estimated Jaccard similarity of their n-grams.
    """

    first: Ints
    second: Ints
    similarity: NDArray[np.float64]


def near_duplicates(texts: Letters, threshold: float = 0.8) -> NearDuplicates:
    """Find texts whose sets of letter n-grams are nearly the same.

    MinHash sketches of 128 values, made by rensa; texts that agree in one of 16 bands are compared with the first text
    of that band by their whole sketches. Pairs well above the threshold are found almost surely, pairs near it often.

    Args:
        texts: The texts' letters; those with fewer than 7 have no near-duplicates.
        threshold: Least Jaccard similarity, from about 0.7 to 1.

    Returns:
        The pairs.

    Raises:
        ModuleNotFoundError: rensa is not installed; it comes with ``st-hybrid[check]``.

    References:
        Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900
    """
    from rensa import RMinHash

    grams, text = texts.ngrams(_NGRAM)
    sizes = np.bincount(text, minlength=len(texts.lengths))
    kept = np.flatnonzero(sizes)
    if not len(kept):
        return NearDuplicates(kept, kept, kept.astype(float))
    offsets = np.concatenate([[0], np.cumsum(sizes[kept])]).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(grams, offsets, _SKETCH, 0)
    sketches = np.array(matrix.to_rows(), dtype=np.uint32)
    pairs = []
    for band in np.split(sketches, _BANDS, axis=1):
        # A band's bytes as one value, so that equal bands have equal numbers.
        whole = np.ascontiguousarray(band).view(np.dtype((np.void, band.shape[1] * band.itemsize))).ravel()
        _, first, bucket = np.unique(whole, return_index=True, return_inverse=True)
        pairs.append(np.stack([first[bucket], np.arange(len(bucket))]))
    one, other = np.unique(np.concatenate(pairs, axis=1), axis=1)
    one, other = one[one < other], other[one < other]
    similarity = np.concatenate(
        [
            (sketches[one[i : i + 65536]] == sketches[other[i : i + 65536]]).mean(axis=1)
            for i in range(0, len(one), 65536)
        ]
        or [np.empty(0)]
    )
    enough = similarity >= threshold
    return NearDuplicates(kept[one[enough]], kept[other[enough]], similarity[enough])
