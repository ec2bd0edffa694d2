"""Settings, and functions as translators."""

from __future__ import annotations

import pytest

from st_hybrid.translation import Decoding, FunctionTranslator, Translator


def upper(texts: list[str], source: str, target: str) -> list[str]:
    return [f"{text.upper()} {source}>{target}" for text in texts]


def test_a_function_translates() -> None:
    translator = FunctionTranslator(upper)
    assert isinstance(translator, Translator)
    assert translator.translate(["a", "b"], "en", "de") == ["A en>de", "B en>de"]
    assert translator.fingerprint() == f"function {__name__}.upper"
    assert translator.lengths(["", "a", "abcd", "abcde", "日本"], "ja").tolist() == [0, 1, 1, 2, 2]


def test_its_name_says_which_it_is() -> None:
    names = {FunctionTranslator(upper, name).fingerprint() for name in (None, "one", "two")}
    assert len(names) == 3


def test_its_languages_are_any() -> None:
    assert FunctionTranslator(upper).code("nds") == "nds"
    with pytest.raises(ValueError, match=r"upper: 'german' .* Did you mean 'de' \(German\)\?"):
        FunctionTranslator(upper).code("german")


@pytest.mark.parametrize("given", [["a"], ["a", "b", "c"], ["a", None]])
def test_a_function_that_gives_something_else(given: list[str]) -> None:
    translator = FunctionTranslator(lambda texts, source, target: given, "mine")
    with pytest.raises(ValueError, match="mine should give a list of 2 texts"):
        translator.translate(["a", "b"], "en", "de")


def test_the_limit_of_a_translation() -> None:
    decoding = Decoding(max_length=100)
    assert [decoding.limit(longest) for longest in (1, 10, 16, 500)] == [25, 70, 100, 100]
    with pytest.raises(ValueError, match="max_source must be positive, got 0"):
        Decoding(max_source=0)
