"""Scripts of languages and of letters."""

from __future__ import annotations

import pytest

from st_hybrid.translation import LANGUAGES
from st_hybrid.translation.scripts import count_letters, language_scripts


@pytest.mark.parametrize(
    ("code", "scripts"),
    [
        ("de", {"Latn"}),
        ("ru", {"Cyrl"}),
        ("ja", {"Hani", "Hira", "Kana"}),
        ("jpn_Jpan", {"Hani", "Hira", "Kana"}),
        ("ko", {"Hang"}),
        ("zh", {"Hani"}),
        ("zh-TW", {"Hani"}),
        ("sr", {"Cyrl", "Latn"}),
        ("srp_Cyrl", {"Cyrl"}),
        ("sr-Latn", {"Latn"}),
        ("ks", {"Arab"}),
        ("ks-Deva", {"Deva"}),
        ("sat_Beng", {"Olck"}),  # the model's code is wrong
        ("br", {"Latn"}),
        ("yue_Hant", {"Hani"}),
        ("zz", set()),
    ],
)
def test_scripts_of_languages(code: str, scripts: set[str]) -> None:
    assert language_scripts(code) == scripts


def test_every_language_of_the_models_has_scripts_that_unicode_knows() -> None:
    for row in LANGUAGES:
        for code in filter(None, row):
            assert language_scripts(code)
            assert count_letters("7", language_scripts(code)) == 0


def test_letters() -> None:
    assert count_letters("Привет, Bob! 12") == 9
    assert count_letters("Привет, Bob! 12", frozenset({"Cyrl"})) == 6
    assert count_letters("हिन्दी", frozenset({"Deva"})) == count_letters("हिन्दी") == 6  # marks are letters here
    assert count_letters("ソーラー", frozenset({"Kana"})) == 4  # the length mark is of several scripts
    assert count_letters("e\u0301", frozenset({"Latn"})) == 2  # e and a combining accent
    assert count_letters("… 3.5 % — 🙂") == 0
