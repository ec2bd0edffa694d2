"""Languages told apart by lingua."""

from __future__ import annotations

import sys

import pytest

from st_hybrid.translation import LinguaDetector

from .test_checks import GOOD, SOURCE


@pytest.fixture(scope="module")
def detector() -> LinguaDetector:
    return LinguaDetector(["deu_Latn", "fr", "rus_Cyrl", "zho_Hans", "ja", "nob_Latn", "yue_Hant"])


@pytest.mark.parametrize("language", ["de", "fr", "ru", "zh", "ja"])
def test_a_text_is_in_its_own_language_and_in_no_other(detector: LinguaDetector, language: str) -> None:
    for other in ("de", "fr", "ru", "zh", "ja", "en"):
        text = GOOD.get(other, SOURCE)
        assert detector.other([text], language).tolist() == [other != language]


def test_codes_of_the_models_will_do(detector: LinguaDetector) -> None:
    assert detector.other([GOOD["de"], GOOD["fr"]], "deu_Latn").tolist() == [False, True]
    assert detector.other([GOOD["zh"]], "zho_Hans").tolist() == [False]
    assert detector.knows("nob_Latn")
    assert detector.knows("no")


def test_a_language_that_lingua_does_not_know_is_not_checked(detector: LinguaDetector) -> None:
    assert not detector.knows("yue_Hant")
    assert not detector.knows("cs")  # was not asked for
    assert detector.other([GOOD["de"]], "yue").tolist() == [False]
    assert LinguaDetector([]).knows("en")
    assert LinguaDetector(["cs"]).knows("cs")


def test_a_few_han_characters_are_chinese_or_japanese(detector: LinguaDetector) -> None:
    assert detector.other(["島の天気", "天気予報", "予報" * 20], "ja").tolist() == [False, False, True]


def test_no_texts(detector: LinguaDetector) -> None:
    assert detector.other([], "de").tolist() == []
    assert detector.other([""], "de").tolist() == [False]


def test_without_lingua(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'st-hybrid\[translate\]'"):
        LinguaDetector(["de"])
