"""Find texts that are nearly the same, in time that grows with their number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from st_hybrid.data.normalized import normalize
from st_hybrid.grouping import Ints

_SKETCH, _BANDS, _NGRAM = 128, 16, 7
_CHUNK = 1 << 16  # pairs compared at once


class NearDuplicates(NamedTuple):
    """Pairs of nearly equal texts, as arrays with one entry per pair; ``first`` is smaller than ``second``."""

    first: Ints
    second: Ints
    similarity: NDArray[np.float64]  # estimated Jaccard similarity of their n-grams


def near_duplicates(texts: pa.Array, threshold: float = 0.8) -> NearDuplicates:
    """Find texts whose sets of letter n-grams are nearly the same.

    rensa makes MinHash sketches (Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900) of 128 values. Texts that
    agree in one of 16 bands are compared with the first text of that band by their whole sketches. So every text with a
    near-duplicate is in a pair, but not every pair is listed. Pairs well above the threshold are found almost surely,
    pairs near it often.

    Args:
        texts: The texts. Those with fewer than 7 letters have no near-duplicates.
        threshold: Least Jaccard similarity, from about 0.7 to 1.
    """
    try:
        from rensa import RMinHash
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Near-duplicates need rensa: pip install 'st-hybrid[check]'.") from error

    grams, text = normalize(texts).ngrams(_NGRAM)
    sizes = np.bincount(text, minlength=len(texts))
    kept = np.flatnonzero(sizes)
    if not len(kept):
        return NearDuplicates(kept, kept, kept.astype(float))
    offsets = np.concatenate([[0], np.cumsum(sizes[kept])]).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(grams, offsets, _SKETCH, 0)
    sketches = np.array(matrix.to_rows(), dtype=np.uint32)
    pairs = []
    for band in np.split(sketches, _BANDS, axis=1):
        # The bytes of a band as one value, so that equal bands have equal numbers.
        whole = np.ascontiguousarray(band).view(np.dtype((np.void, band.shape[1] * band.itemsize))).ravel()
        _, first, bucket = np.unique(whole, return_index=True, return_inverse=True)
        pairs.append(np.stack([first[bucket], np.arange(len(bucket))]))
    one, other = np.unique(np.concatenate(pairs, axis=1), axis=1)
    one, other = one[one < other], other[one < other]
    parts = [slice(start, start + _CHUNK) for start in range(0, max(len(one), 1), _CHUNK)]
    similarity = np.concatenate([(sketches[one[part]] == sketches[other[part]]).mean(axis=1) for part in parts])
    near = similarity >= threshold
    return NearDuplicates(kept[one[near]], kept[other[near]], similarity[near])
