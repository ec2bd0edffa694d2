"""Letters of texts: what is left of a text, and numbers that stand for texts and n-grams."""

from __future__ import annotations

import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.normalized import near_duplicates, normalize

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


def words(draw: np.random.Generator, number: int) -> list[str]:
    return ["".join(draw.choice(list("abcdefghijklmnop"), draw.integers(3, 9))) for _ in range(number)]


@pytest.mark.parametrize(("threshold", "slack"), [(0.75, 0.13), (0.9, 0.09)])
def test_pairs_are_those_with_similar_sets(threshold: float, slack: float) -> None:
    """Against the exact Jaccard similarity; only pairs near the threshold may go either way."""
    draw = np.random.default_rng(0)
    texts = []
    for changed in (0, 1, 2, 4, 8, 16) * 8:
        original = words(draw, 40)
        edited = list(original)
        for place in draw.choice(40, changed, replace=False):
            edited[place] = words(draw, 1)[0]
        texts += [" ".join(original), " ".join(edited)]
    found = near_duplicates(pa.array(texts), threshold)
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert all(first < second for first, second in pairs)

    def grams(text: str) -> set[str]:
        plain = text.replace(" ", "")
        return {plain[i : i + 7] for i in range(len(plain) - 6)}

    sure = 0
    for first in range(0, len(texts), 2):
        one, other = grams(texts[first]), grams(texts[first + 1])
        exact = len(one & other) / len(one | other)
        if abs(exact - threshold) > slack:
            assert ((first, first + 1) in pairs) == (exact > threshold), exact
            sure += exact > threshold
    assert sure >= 8
    assert len(pairs) <= 24


def test_every_text_of_many_copies_is_in_a_pair() -> None:
    found = near_duplicates(pa.array(["The same sentence, again and again."] * 50 + ["Quite another one here."]))
    assert set(found.first.tolist()) | set(found.second.tolist()) == set(range(50))
    assert found.similarity.min() == 1


def test_texts_without_ngrams() -> None:
    assert not len(near_duplicates(pa.array(["", "abc", "abc"])).first)


def test_without_rensa_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'st-hybrid\[check\]'"):
        near_duplicates(pa.array(["abc"]))
