"""Letters of texts: what is left of a text, and numbers that stand for texts and n-grams."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.data.normalized import normalize

TEXTS = st.lists(st.text(alphabet="abÄß 7.,\0\nテア한中ﬁ", max_size=12), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where do storks nest?", "where DO  storks\tnest"),
        ("Straße", "STRASSE"),
        ("ﬁnale Ⅳ", "Finale IV"),
        ("テスト", "テスト"),
        ("Κήπος", "ΚΉΠΟΣ"),
    ],
)
def test_spelling_habits_leave_the_same_letters(one: str, other: str) -> None:
    made = normalize(pa.array([one, other]))
    assert made.lengths[0] == made.lengths[1] > 0
    assert made.hashes()[0] == made.hashes()[1]


def test_different_letters_have_different_hashes() -> None:
    texts = ["abc", "acb", "ab", "abcd", "ábc", "aabc", "", "а́bc", "中", "中中"]
    assert len(set(normalize(pa.array(texts)).hashes().tolist())) == len(texts)


def test_dense_scripts_count_for_more() -> None:
    assert normalize(pa.array(["abcdef", "数据", "한국어", "かな", "ไทย", "", None])).lengths.tolist() == [
        6,
        6,
        6,
        4,
        3,
        0,
        0,
    ]


def test_marks_stay_and_all_else_goes() -> None:
    made = normalize(pa.array(["हिन्दी", "а-б, в!", "1,5 €"]))
    assert made.lengths.tolist() == [6, 3, 2]


@given(TEXTS, st.integers(1, 4))
def test_ngrams_are_those_of_each_text_alone(texts: list[str], n: int) -> None:
    together, text = normalize(pa.array(texts)).ngrams(n)
    for number, alone in enumerate(texts):
        made = normalize(pa.array([alone]))
        own, _ = made.ngrams(n)
        assert together[text == number].tolist() == own.tolist()
        assert len(own) == max(0, made.lengths[0] - n + 1)
        windows = [tuple(made.codes[i : i + n].tolist()) for i in range(len(own))]
        assert len(set(windows)) == len(np.unique(own))


@given(TEXTS)
def test_hashes_do_not_hang_on_the_neighbours(texts: list[str]) -> None:
    together = normalize(pa.array(texts)).hashes().tolist()
    assert together == [int(normalize(pa.array([text])).hashes()[0]) for text in texts]


def test_no_texts() -> None:
    made = normalize(pa.array([], pa.string()))
    assert len(made.lengths) == len(made.hashes()) == len(made.ngrams(3)[0]) == 0
