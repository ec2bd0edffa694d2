"""Languages of sentences are detected, in the codes that the rows use."""

from __future__ import annotations

import pytest

from st_hybrid.data.language_detection import LanguageDetector

SENTENCES = {
    "de": "Der Müller brachte sein Korn jeden Morgen mit dem alten Wagen zur Mühle am Fluss.",
    "en": "Every morning the miller took his grain to the mill by the river in an old cart.",
    "fr": "Chaque matin, le meunier portait son grain au moulin près de la rivière.",
    "ja": "粉屋は毎朝、古い荷車で穀物を川のそばの水車小屋へ運んでいました。",
}


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_sentences(every: bool) -> None:
    detector = LanguageDetector(SENTENCES, every=every)
    done: list[int] = []
    found = detector.detect(list(SENTENCES.values()), done.append)
    assert found.languages == list(SENTENCES)
    assert found.confidence.shape == (4,)
    assert ((found.confidence > 0.5) & (found.confidence <= 1)).all()
    assert sum(done) == 4


def test_codes_with_regions_and_codes_that_mean_the_same() -> None:
    detector = LanguageDetector(["pt-BR", "zh_TW", "no", "deu", "tlh"])
    assert detector.known == ["deu", "no", "pt-BR", "zh_TW"]
    for code, detected in (("pt-BR", "pt"), ("zh_TW", "zh"), ("no", "nb"), ("no", "nn"), ("deu", "de")):
        assert detector.agrees(code, detected)
    assert not detector.agrees("deu", "pt")


def test_english_is_considered_beside_one_language() -> None:
    detector = LanguageDetector(["de"])
    assert detector.detect([SENTENCES["en"]]).languages == ["en"]
    assert LanguageDetector(["en"]).detect([SENTENCES["fr"]]).languages == ["fr"]
