"""Texts reduced to their letters and digits, to be compared across spelling habits and scripts, and near-duplicates."""

import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from st_hybrid.grouping import Ints, counting

Hashes = NDArray[np.uint64]

_SKETCH, _BANDS, _NGRAM = 128, 16, 7  # of near-duplicates
_PAIRS = 1 << 16  # compared at once

# A Chinese character carries about as much as three letters, a syllable of Hangul or kana as two.
_WEIGHTS = (
    (2, ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xAC00, 0xD7A3))),
    (3, ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))),
)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplication modulo 2**64 is one to one


@dataclass(frozen=True)
class NormalizedTexts:
    """The letters of many texts as numbers, one text after the other."""

    codes: NDArray[np.uint32]  # shape (letters,)
    starts: Ints  # of each text, then the end of the last, shape (texts + 1,)

    @property
    def lengths(self) -> Ints:
        """Number of letters of each text, shape ``(texts,)``."""
        return np.diff(self.starts)

    def hashes(self) -> Hashes:
        """One number per text, equal for texts with the same letters, shape ``(texts,)``."""
        place = counting(self.lengths).astype(np.uint64)
        mixed = _scramble(_scramble(self.codes.astype(np.uint64) + np.uint64(1)) + place * _MULTIPLIER)
        summed = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
        return _scramble(summed[self.starts[1:]] - summed[self.starts[:-1]] + self.lengths.astype(np.uint64))

    def ngrams(self, n: int) -> tuple[Hashes, Ints]:
        """The n-grams of all texts in their order, with repetitions, and the number of the text that each is from."""
        windows = len(self.codes) - n + 1
        if windows <= 0:
            return np.empty(0, np.uint64), np.empty(0, np.int64)
        mixed, rolled = _scramble(self.codes.astype(np.uint64) + np.uint64(1)), np.zeros(windows, np.uint64)
        for place in range(n):
            rolled *= _MULTIPLIER
            rolled += mixed[place : place + windows]
        text = np.repeat(np.arange(len(self.starts) - 1), self.lengths)
        inside = text[:windows] == text[n - 1 :]
        return _scramble(rolled[inside]), text[:windows][inside]


def normalize(texts: pa.Array | pa.ChunkedArray) -> NormalizedTexts:
    """Reduce texts to their letters, digits and the marks on them, without spaces and punctuation.

    Compatibility variants (NFKC) and cases are folded: ``"Ｗhere?  IT IS"`` becomes what ``"where it is"`` becomes. A
    character of a dense script is repeated (a Chinese one three times, Hangul and kana twice), so that a length and an
    n-gram carry about as much in every script.

    Args:
        texts: The texts; null counts as empty.
    """
    column = pc.replace_substring(pc.fill_null(texts.cast(pa.large_string()), ""), "\0", " ")
    if not len(column):
        return NormalizedTexts(np.empty(0, np.uint32), np.zeros(1, np.int64))
    joined = "\0".join(column.to_pylist())
    # Normalized again, since case folding may undo the normal form.
    joined = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", joined).casefold())
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    distinct = np.unique(codes)
    weight_of = np.zeros(int(codes.max(initial=0)) + 1, dtype=np.int8)
    weight_of[distinct] = [unicodedata.category(chr(code))[0] in "LNM" for code in distinct.tolist()]
    for weight, ranges in _WEIGHTS:
        for first, last in ranges:
            weight_of[first : last + 1] *= weight
    weights = weight_of[codes]
    summed = np.concatenate([[0], np.cumsum(weights, dtype=np.int64)])
    starts = np.concatenate([[0], summed[:-1][codes == 0], summed[-1:]])
    # The repetitions of a character differ, so that no n-gram matches across them by chance.
    return NormalizedTexts(np.repeat(codes, weights) * 4 + counting(weights.astype(np.int64)).astype(np.uint32), starts)


class NearDuplicates(NamedTuple):
    """Pairs of nearly equal texts, as arrays with one entry per pair; ``first`` is smaller than ``second``."""

    first: Ints
    second: Ints
    similarity: NDArray[np.float64]  # estimated Jaccard similarity of their n-grams


def near_duplicates(texts: pa.Array, threshold: float = 0.8) -> NearDuplicates:
    """Find texts whose sets of letter n-grams are nearly the same.

    rensa makes MinHash sketches (Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900) of 128 values. Texts that
    agree in one of 16 bands are compared with the first text of that band by their whole sketches. So every text with a
    near-duplicate is in a pair, but not every pair is listed. Pairs well above the threshold are found almost surely.

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
    parts = [slice(start, start + _PAIRS) for start in range(0, max(len(one), 1), _PAIRS)]
    similarity = np.concatenate([(sketches[one[part]] == sketches[other[part]]).mean(axis=1) for part in parts])
    near = similarity >= threshold
    return NearDuplicates(kept[one[near]], kept[other[near]], similarity[near])


def _scramble(values: Hashes) -> Hashes:
    """Spread numbers over all 64 bits, one to one (the finalizer of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
