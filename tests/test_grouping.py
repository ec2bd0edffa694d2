"""Numbers of equal values, and places within a group."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.grouping import counting, numbered, place_in_group


@given(st.lists(st.text(max_size=2)), st.integers(0, 20))
def test_values_are_numbered_in_order_of_appearance_across_chunks(texts: list[str], cut: int) -> None:
    chunked = pa.chunked_array([texts[:cut], texts[cut:]], pa.string())
    wanted = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    for column in (chunked, pa.array(texts, pa.string()), chunked.cast(pa.large_string())):
        numbers, values = numbered(column)
        assert numbers.tolist() == [wanted[text] for text in texts]
        assert numbers.dtype == np.int64
        assert values.to_pylist() == list(wanted)


def test_a_column_without_chunks_has_no_values() -> None:
    numbers, values = numbered(pa.chunked_array([], pa.string()))
    assert len(numbers) == len(values) == 0


@given(st.lists(st.integers(-3, 3)))
def test_place_in_group_counts_earlier_entries(groups: list[int]) -> None:
    seen: Counter[int] = Counter()
    wanted = []
    for group in groups:
        wanted.append(seen[group])
        seen[group] += 1
    assert place_in_group(np.array(groups, dtype=np.int64)).tolist() == wanted


@given(st.lists(st.integers(0, 4)))
def test_counting_counts_each_length(lengths: list[int]) -> None:
    wanted = [number for length in lengths for number in range(length)]
    assert counting(np.array(lengths, dtype=np.int64)).tolist() == wanted
