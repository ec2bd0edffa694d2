"""Streams: batches without a key twice, their evenness, and the largest batch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.draw import PairRows, Stream


def stream_of(clusters: list[int], texts: list[int]) -> Stream:
    """One monolingual pair per row."""
    rows = np.arange(len(clusters))
    return Stream(PairRows(rows, rows, rows * 0, rows * 0, np.array(clusters), np.array(texts), None, ["a"]), rows)


@pytest.mark.parametrize(("batches", "last"), [(1, 9), (2, 3), (5, 12), (0, 4), (3, 0), (7, 1)])
def test_rows_that_share_nothing_are_even_even_if_they_barely_fill_a_batch(batches: int, last: int) -> None:
    stream = stream_of(list(range(13)), list(range(13)))
    for seed in range(30):
        full, short = stream.draw(batches, 12, last, np.random.default_rng(seed))
        assert full.shape == (batches, 12)
        assert all(len(set(batch)) == 12 for batch in full.tolist())
        assert len(set(short.tolist())) == len(short) == last
        assert np.ptp(np.bincount(np.concatenate([full.reshape(-1), short]), minlength=13)) <= 1


rows_with_keys = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=9)


@given(rows_with_keys)
def test_the_largest_batch_is_the_largest_by_brute_force(keys: list[tuple[int, int]]) -> None:
    def fits(rows: tuple[int, ...]) -> bool:
        return all(len({keys[row][side] for row in rows}) == len(rows) for side in (0, 1))

    sizes = range(len(keys) + 1)
    wanted = max(size for size in sizes if any(map(fits, itertools.combinations(range(len(keys)), size))))
    assert stream_of(*map(list, zip(*keys, strict=True))).largest_batch == wanted


@given(rows_with_keys, st.integers(0, 8), st.integers(0, 3), st.data())
def test_no_batch_has_a_key_twice_even_at_the_largest_size(
    keys: list[tuple[int, int]], batches: int, seed: int, data: st.DataObject
) -> None:
    clusters, texts = map(np.array, zip(*keys, strict=True))
    stream = stream_of(clusters.tolist(), texts.tolist())
    last = data.draw(st.integers(0, stream.largest_batch - 1))
    full, short = stream.draw(batches, stream.largest_batch, last, np.random.default_rng(seed))
    assert full.shape == (batches, stream.largest_batch)
    assert short.shape == (last,)
    for batch in [*full, short]:
        assert len(set(clusters[batch])) == len(set(texts[batch])) == len(batch)
