"""Codes of languages, compared with the models' own lists."""

from __future__ import annotations

import pytest
from babel.core import get_global
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES as M2M
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES as FLORES

from st_hybrid.languages import is_language
from st_hybrid.translation import LANGUAGES, language_codes, model_code


def test_every_language_of_both_models_is_there_once() -> None:
    assert sorted(row.flores for row in LANGUAGES if row.flores) == sorted(FLORES)
    assert sorted(row.m2m for row in LANGUAGES if row.m2m) == sorted(M2M["m2m100"])
    assert {code for family in M2M.values() for code in family} <= {row.m2m for row in LANGUAGES}
    assert len({row.tag for row in LANGUAGES}) == len(LANGUAGES) == 204


def test_tags_are_codes_of_the_package_and_say_what_cldr_says() -> None:
    """Language and script of a tag are those of FLORES-200's code, by CLDR's aliases and likely scripts."""
    aliases, likely = get_global("language_aliases"), get_global("likely_subtags")
    macrolanguages = {"twi": "tw", "ajp": "ajp", "prs": "prs", "pbt": "ps", "quy": "qu", "fuv": "ff", "dik": "dik"}
    for row in LANGUAGES:
        assert is_language(row.tag), row
        if row.flores is not None:
            language, script = row.flores.split("_")
            tag, _, said = row.tag.partition("-")
            assert tag in (macrolanguages.get(language), aliases.get(language, language), "tl"), row
            alone = sum(other.tag.split("-")[0] == tag for other in LANGUAGES) == 1
            assert said in ((), script) or alone or likely[tag].split("_")[1] == script, row


@pytest.mark.parametrize("row", LANGUAGES, ids=lambda row: row.tag)
def test_every_code_of_a_language_finds_it(row: tuple[str, str | None, str | None]) -> None:
    for code in row:
        if code is not None:
            assert language_codes(code) == row
            assert language_codes(code.replace("_", "-")) == row


@pytest.mark.parametrize(
    ("code", "tag"),
    [
        ("deu", "de"),
        ("DE", "de"),
        ("de_AT", "de"),
        ("es-419", "es"),
        ("pt-BR", "pt"),
        ("iw", "he"),
        ("fil", "tl"),
        ("cmn", "zh"),
        ("zho", "zh"),
        ("zh-CN", "zh"),
        ("zh-TW", "zh-Hant"),
        ("zh-Hans-SG", "zh"),
        ("no", "nb"),
        ("ns", "nso"),
        ("sr-Cyrl", "sr"),
        ("ks-Deva", "ks-Deva"),
        ("ks", "ks"),
        ("tzm", "tzm"),
        ("crh", "crh"),
    ],
)
def test_other_ways_to_write_them(code: str, tag: str) -> None:
    assert language_codes(code).tag == tag


@pytest.mark.parametrize("code", ["sr-Latn", "uz-Cyrl", "sr_ME", "german", "zz", "", "tlh", "de-"])
def test_what_neither_model_has(code: str) -> None:
    with pytest.raises(KeyError):
        language_codes(code)


@pytest.mark.parametrize(
    ("code", "nllb", "m2m"),
    [
        ("de", "deu_Latn", "de"),
        ("no", "nob_Latn", "no"),
        ("nso", "nso_Latn", "ns"),
        ("zh", "zho_Hans", "zh"),
        ("ff", "fuv_Latn", "ff"),
        ("fa", "pes_Arab", "fa"),
        ("tl", "tgl_Latn", "tl"),
    ],
)
def test_codes_of_the_models(code: str, nllb: str, m2m: str) -> None:
    assert model_code(code, FLORES, "flores", "model") == nllb
    assert model_code(code, M2M["m2m100"], "m2m", "model") == m2m


def test_a_language_that_was_added_to_a_model_goes_by_its_own_code() -> None:
    assert model_code("nds_Latn", {*FLORES, "nds_Latn"}, "flores", "model") == "nds_Latn"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("german", r"no language 'german'\. Did you mean 'de' \(German\)\?"),
        ("jp", r"'ja' \(Japanese\)"),
        ("zh-Hant", r"'zh' \(Chinese\)"),
        ("sr-Latn", r"'sr' \(Serbian\)"),
        ("xx", "but 100 others"),
    ],
)
def test_an_unknown_one_names_those_that_may_be_meant(code: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        model_code(code, M2M["m2m100"], "m2m", "model")
