"""Texts as sentences and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.translation.pieces import Pieces


def test_sentences_are_found_once_each() -> None:
    cut = Pieces(["It rains. Take a coat.", "It rains.", "Take a coat. It rains. It rains."], "en")
    assert cut.distinct == ["It rains.", "Take a coat."]
    made = ["Es regnet.", "Nimm einen Mantel."]
    assert cut.join(made, "de") == [
        "Es regnet. Nimm einen Mantel.",
        "Es regnet.",
        "Nimm einen Mantel. Es regnet. Es regnet.",
    ]
    assert cut.any(np.array([False, True])).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("language", "joined"), [("de", "A. B.\n\nC."), ("zh", "A.B.\n\nC."), ("ja", "A.B.\n\nC."), ("ko", "A. B.\n\nC.")]
)
def test_the_language_decides_what_is_between_sentences(language: str, joined: str) -> None:
    cut = Pieces(["One sentence.  Two sentences.\n\nThree sentences."], "en")
    assert cut.join(["A.", " B. ", "C."], language) == [joined]


def test_sentences_without_spaces_between_them_get_spaces() -> None:
    cut = Pieces(["今天下雨。带上外套。"], "zh")
    assert len(cut.distinct) == 2
    assert cut.join(["It rains.", "Take a coat."], "eng_Latn") == ["It rains. Take a coat."]


def test_what_has_no_letters_is_not_translated() -> None:
    cut = Pieces(["12.5 %", "It costs 3 marks. 7! Then more.", "—"], "en")
    assert cut.distinct == ["It costs 3 marks.", "Then more."]
    assert cut.join(["A", "B"], "fr") == ["12.5 %", "A 7! B", "—"]


def test_whole_texts() -> None:
    cut = Pieces(["It rains. Take a coat.", "7"], "en", sentences=False)
    assert cut.distinct == ["It rains. Take a coat."]
    assert cut.join(["X"], "fr") == ["X", "7"]


@given(st.lists(st.text(st.sampled_from("ab. \n!?7。x"), max_size=30), max_size=5))
def test_untouched_pieces_make_the_same_words(texts: list[str]) -> None:
    cut = Pieces(texts, "en")
    for text, joined in zip(texts, cut.join(cut.distinct, "en"), strict=True):
        assert "".join(joined.split()) == "".join(text.split())
