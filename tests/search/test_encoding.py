"""Each distinct text is encoded once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.search.encoding import encode_distinct


@given(st.lists(st.sampled_from(["", "a", "b", "Yes.", "yes.", "\ud800"]), min_size=1))
def test_each_distinct_text_is_encoded_once_and_returned_in_order(texts: list[str]):
    encoded: list[str] = []

    def encode(distinct: list[str]) -> np.ndarray:
        encoded.extend(distinct)
        return np.asarray([[hash(text) % 1000, len(text)] for text in distinct], dtype=np.float32)

    vectors = encode_distinct(encode, texts)
    assert len(encoded) == len(set(encoded)) == len(set(texts))
    assert vectors.tolist() == [[hash(text) % 1000, len(text)] for text in texts]
