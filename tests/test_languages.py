"""Which codes are languages, and what is said of those that are none."""

from __future__ import annotations

import pytest

from st_hybrid.languages import check_language, close_languages, english_name, is_language, language_named


@pytest.mark.parametrize("code", ["de", "deu", "zza", "zh-Hans", "zh_CN", "pt-BR", "deu_Latn", "sr_Latn_RS", "es-419"])
def test_codes_of_languages(code: str) -> None:
    assert is_language(code)
    assert check_language(code, "here") == code


@pytest.mark.parametrize(
    "code", ["", "xx", "german", "DE", "de_old", "de-", "id_text", "query", "de_Abcd", "zh-Hans-ZZZ"]
)
def test_what_is_no_language(code: str) -> None:
    assert not is_language(code)
    with pytest.raises(ValueError, match=r"^rows\.jsonl:3: .*is not the code of a language"):
        check_language(code, "rows.jsonl:3")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("german", "de"),
        ("Deutsch", "de"),
        ("日本語", "ja"),
        ("portugese", "pt"),
        ("jp", "ja"),
        ("cn", "zh"),
        ("gr", "el"),
        ("EN", "en"),
        ("de_old", "de"),
    ],
)
def test_the_likely_meaning_comes_first(word: str, meant: str) -> None:
    assert close_languages(word)[0] == meant
    with pytest.raises(ValueError, match=f"Did you mean '{meant}'"):
        check_language(word, "here")


def test_no_guess_where_nothing_is_close() -> None:
    assert close_languages("qqqqqq") == []


def test_mmarco_calls_its_languages_by_their_english_names() -> None:
    names = "arabic chinese dutch english french german hindi indonesian italian japanese portuguese russian spanish"
    codes = "ar zh nl en fr de hi id it ja pt ru es"
    assert [language_named(name) for name in [*names.split(), "vietnamese"]] == [*codes.split(), "vi"]
    assert language_named("question") is None
    assert english_name("nl_NL") == "Dutch"
    assert english_name("src") is None
