"""Batches by tokens."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.translation.batches import token_batches


@given(st.lists(st.integers(0, 60), max_size=80), st.integers(1, 200))
def test_batches_hold_every_text_once_and_stay_within_the_tokens(lengths: list[int], max_tokens: int) -> None:
    batches = token_batches(lengths, max_tokens)
    assert sorted(number for batch in batches for number in batch.tolist()) == list(range(len(lengths)))
    tokens = np.maximum(np.asarray(lengths, dtype=int), 1)
    for batch in batches:
        padded = len(batch) * tokens[batch].max()
        assert padded <= max_tokens or len(batch) == 1
    for batch, following in pairwise(batches):
        assert tokens[batch].min() >= tokens[following].max()  # the longest first
        assert (len(batch) + 1) * tokens[batch[0]] > max_tokens  # and as full as they can be


def test_texts_of_a_length_keep_their_order() -> None:
    assert [batch.tolist() for batch in token_batches([3, 9, 4, 3], 12)] == [[1], [2, 0, 3]]


def test_no_tokens() -> None:
    assert token_batches([], 10) == []
    with pytest.raises(ValueError, match="at least one token, got 0"):
        token_batches([1], 0)
