"""Nearly equal texts are found, others are not."""

from __future__ import annotations

import sys

import numpy as np
import pyarrow as pa
import pytest

from st_hybrid.data.near_duplicates import near_duplicates


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
