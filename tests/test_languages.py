"""Codes, names and scripts of languages, and their detection."""

from __future__ import annotations

import subprocess
import sys

import mteb
import pytest
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES as FLORES

from st_hybrid.languages import (
    LanguageDetector,
    check_language,
    close_languages,
    count_letters,
    english_name,
    is_language,
    language_named,
    language_scripts,
    language_tag,
    mteb_code,
    one_code_each,
    supported_code,
)

M2M = FAIRSEQ_LANGUAGE_CODES["m2m100"]

# All languages of FLORES-200 and M2M100, compared with their lists by hand: a tag, FLORES-200's code and M2M100's.
CODES = """
ace ace_Latn -; ace-Arab ace_Arab -; acm acm_Arab -; acq acq_Arab -; aeb aeb_Arab -; af afr_Latn af; ajp ajp_Arab -;
ak aka_Latn -; am amh_Ethi am; apc apc_Arab -; ar arb_Arab ar; ars ars_Arab -; ary ary_Arab -; arz arz_Arab -;
as asm_Beng -; ast ast_Latn ast; awa awa_Deva -; ay ayr_Latn -; az azj_Latn az; azb azb_Arab -; ba bak_Cyrl ba;
ban ban_Latn -; be bel_Cyrl be; bem bem_Latn -; bg bul_Cyrl bg; bho bho_Deva -; bjn bjn_Latn -; bjn-Arab bjn_Arab -;
bm bam_Latn -; bn ben_Beng bn; bo bod_Tibt -; br - br; bs bos_Latn bs; bug bug_Latn -; ca cat_Latn ca;
ceb ceb_Latn ceb; cjk cjk_Latn -; ckb ckb_Arab -; crh crh_Latn -; cs ces_Latn cs; cy cym_Latn cy; da dan_Latn da;
de deu_Latn de; dik dik_Latn -; dyu dyu_Latn -; dz dzo_Tibt -; ee ewe_Latn -; el ell_Grek el; en eng_Latn en;
eo epo_Latn -; es spa_Latn es; et est_Latn et; eu eus_Latn -; fa pes_Arab fa; ff fuv_Latn ff; fi fin_Latn fi;
fj fij_Latn -; fo fao_Latn -; fon fon_Latn -; fr fra_Latn fr; fur fur_Latn -; fy - fy; ga gle_Latn ga;
gd gla_Latn gd; gl glg_Latn gl; gn grn_Latn -; gu guj_Gujr gu; ha hau_Latn ha; he heb_Hebr he; hi hin_Deva hi;
hne hne_Deva -; hr hrv_Latn hr; ht hat_Latn ht; hu hun_Latn hu; hy hye_Armn hy; id ind_Latn id; ig ibo_Latn ig;
ilo ilo_Latn ilo; is isl_Latn is; it ita_Latn it; ja jpn_Jpan ja; jv jav_Latn jv; ka kat_Geor ka; kab kab_Latn -;
kac kac_Latn -; kam kam_Latn -; kbp kbp_Latn -; kea kea_Latn -; kg kon_Latn -; ki kik_Latn -; kk kaz_Cyrl kk;
km khm_Khmr km; kmb kmb_Latn -; kn kan_Knda kn; ko kor_Hang ko; kr knc_Latn -; kr-Arab knc_Arab -; ks kas_Arab -;
ks-Deva kas_Deva -; ku kmr_Latn -; ky kir_Cyrl -; lb ltz_Latn lb; lg lug_Latn lg; li lim_Latn -; lij lij_Latn -;
lmo lmo_Latn -; ln lin_Latn ln; lo lao_Laoo lo; lt lit_Latn lt; ltg ltg_Latn -; lua lua_Latn -; luo luo_Latn -;
lus lus_Latn -; lv lvs_Latn lv; mag mag_Deva -; mai mai_Deva -; mg plt_Latn mg; mi mri_Latn -; min min_Latn -;
mk mkd_Cyrl mk; ml mal_Mlym ml; mn khk_Cyrl mn; mni mni_Beng -; mos mos_Latn -; mr mar_Deva mr; ms zsm_Latn ms;
mt mlt_Latn -; my mya_Mymr my; nb nob_Latn no; ne npi_Deva ne; nl nld_Latn nl; nn nno_Latn -; nso nso_Latn ns;
nus nus_Latn -; ny nya_Latn -; oc oci_Latn oc; om gaz_Latn -; or ory_Orya or; pa pan_Guru pa; pag pag_Latn -;
pap pap_Latn -; pl pol_Latn pl; prs prs_Arab -; ps pbt_Arab ps; pt por_Latn pt; qu quy_Latn -; rn run_Latn -;
ro ron_Latn ro; ru rus_Cyrl ru; rw kin_Latn -; sa san_Deva -; sat sat_Beng -; sc srd_Latn -; scn scn_Latn -;
sd snd_Arab sd; sg sag_Latn -; shn shn_Mymr -; si sin_Sinh si; sk slk_Latn sk; sl slv_Latn sl; sm smo_Latn -;
sn sna_Latn -; so som_Latn so; sq als_Latn sq; sr srp_Cyrl sr; ss ssw_Latn ss; st sot_Latn -; su sun_Latn su;
sv swe_Latn sv; sw swh_Latn sw; szl szl_Latn -; ta tam_Taml ta; taq taq_Latn -; taq-Tfng taq_Tfng -; te tel_Telu -;
tg tgk_Cyrl -; th tha_Thai th; ti tir_Ethi -; tk tuk_Latn -; tl tgl_Latn tl; tn tsn_Latn tn; tpi tpi_Latn -;
tr tur_Latn tr; ts tso_Latn -; tt tat_Cyrl -; tum tum_Latn -; tw twi_Latn -; tzm tzm_Tfng -; ug uig_Arab -;
uk ukr_Cyrl uk; umb umb_Latn -; ur urd_Arab ur; uz uzn_Latn uz; vec vec_Latn -; vi vie_Latn vi; war war_Latn -;
wo wol_Latn wo; xh xho_Latn xh; yi ydd_Hebr yi; yo yor_Latn yo; yue yue_Hant -; zh zho_Hans zh; zh-Hant zho_Hant -;
zu zul_Latn zu
"""
LANGUAGES = [entry.split() for entry in CODES.split(";")]


@pytest.mark.parametrize("code", ["de", "deu", "zza", "zh-Hans", "zh_CN", "pt-BR", "deu_Latn", "sr_Latn_RS", "es-419"])
def test_codes_of_languages(code: str) -> None:
    assert is_language(code)
    assert check_language(code, "here") == code


@pytest.mark.parametrize(
    "code", ["", "xx", "german", "DE", "de_old", "de-", "id_text", "query", "de_Abcd", "zh-Hans-ZZZ", "qid", "map"]
)
def test_other_words(code: str) -> None:
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
        ("portuguse", "pt"),
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


def test_english_names() -> None:
    names = "arabic chinese dutch english french german hindi indonesian italian japanese portuguese russian spanish"
    codes = "ar zh nl en fr de hi id it ja pt ru es"
    assert [language_named(name) for name in [*names.split(), "vietnamese"]] == [*codes.split(), "vi"]
    assert language_named("question") is None
    assert english_name("nl_NL") == "Dutch"
    assert english_name("src") is None  # Logudorese Sardinian, and more often a source
    assert [english_name(code) for code in ("query", "tlh", "la", "tw", "yue")] == [
        None,
        None,
        "Latin",
        "Twi",
        "Cantonese",
    ]


def test_the_expected_codes_are_those_of_the_models() -> None:
    assert sorted(flores for _, flores, _ in LANGUAGES if flores != "-") == sorted(FLORES)
    assert sorted(m2m for _, _, m2m in LANGUAGES if m2m != "-") == sorted(M2M)


@pytest.mark.parametrize(("tag", "flores", "m2m"), LANGUAGES)
def test_codes_of_the_models(tag: str, flores: str, m2m: str) -> None:
    for code in {tag, flores, flores.replace("_", "-"), m2m} - {"-"}:
        assert (supported_code(code, FLORES) or "-") == flores
        # M2M100's Persian also serves Dari, which CLDR takes for a variant of it.
        assert (supported_code(code, M2M) or "-") == ("fa" if tag == "prs" else m2m)


@pytest.mark.parametrize(
    ("code", "tag", "flores", "m2m"),
    [
        ("deu", "de", "deu_Latn", "de"),
        ("DE", "de", "deu_Latn", "de"),
        ("de_AT", "de-AT", "deu_Latn", "de"),
        ("es-419", "es-419", "spa_Latn", "es"),
        ("pt-BR", "pt-BR", "por_Latn", "pt"),
        ("iw", "he", "heb_Hebr", "he"),
        ("in", "id", "ind_Latn", "id"),
        ("fil", "fil", "tgl_Latn", "tl"),
        ("tl", "fil", "tgl_Latn", "tl"),
        ("cmn", "zh", "zho_Hans", "zh"),
        ("zho", "zh", "zho_Hans", "zh"),
        ("zh-CN", "zh-CN", "zho_Hans", "zh"),
        ("zh-TW", "zh-TW", "zho_Hant", None),
        ("zh-Hans-SG", "zh-Hans-SG", "zho_Hans", "zh"),
        ("no", "no", "nob_Latn", "no"),
        ("ns", "nso", "nso_Latn", "ns"),
        ("ful", "ff", "fuv_Latn", "ff"),
        ("que", "qu", "quy_Latn", None),
        ("srp_Cyrl", "sr-Cyrl", "srp_Cyrl", "sr"),
        ("sr-Latn", "sr-Latn", None, None),
        ("uz-Cyrl", "uz-Cyrl", None, None),
        ("sr_ME", "sr-ME", None, None),
        ("pa-PK", "pa-PK", None, None),
        ("tlh", "tlh", None, None),
        ("zz", "zz", None, None),
    ],
)
def test_other_ways_to_write_them(code: str, tag: str, flores: str | None, m2m: str | None) -> None:
    assert language_tag(code) == tag
    assert (supported_code(code, FLORES), supported_code(code, M2M)) == (flores, m2m)


def test_codes_of_one_language_become_one() -> None:
    codes = ["he", "iw", "in", "id", "tl", "fil", "zh", "cmn", "deu_Latn", "de", "eng", "sr", "sr-Latn", "ex am ple"]
    assert one_code_each(codes) == {
        **{"he": "he", "iw": "he", "in": "id", "id": "id", "tl": "fil", "fil": "fil", "zh": "zh", "cmn": "zh"},
        **{"deu_Latn": "de", "de": "de", "eng": "eng", "sr": "sr", "sr-Latn": "sr-Latn", "ex am ple": "ex am ple"},
    }


def test_words_are_not_supported_and_languages_of_their_own_are() -> None:
    assert [supported_code(word, FLORES) for word in ("german", "", "de-")] == [None] * 3
    assert supported_code("nds_Latn", [*FLORES, "nds_Latn"]) == "nds_Latn"
    assert supported_code("de", []) is None


def test_codes_of_mteb() -> None:
    theirs = mteb.get_task("MIRACLRetrieval").metadata.eval_langs
    assert {code: [mteb_code(code)] for code in theirs} == theirs
    assert mteb_code("zho_Hant") == "zho-Hant"


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


@pytest.mark.parametrize(("tag", "flores", "m2m"), LANGUAGES)
def test_scripts_of_the_models(tag: str, flores: str, m2m: str) -> None:
    """Tags get FLORES-200's scripts, and Unicode knows them."""
    expected = "Olck" if tag == "sat" else flores[4:]  # FLORES-200's script for Santali is wrong
    members = {"Hans": {"Hani"}, "Hant": {"Hani"}, "Jpan": {"Hani", "Hira", "Kana"}}.get(expected, {expected})
    for code in {tag, flores} - {"-"}:
        scripts = language_scripts(code)
        assert scripts == ({"Cyrl", "Latn"} if code == "sr" else members if flores != "-" else {"Latn"})
        assert count_letters("7", scripts) == 0


def test_letters() -> None:
    assert count_letters("Привет, Bob! 12") == 9
    assert count_letters("Привет, Bob! 12", frozenset({"Cyrl"})) == 6
    assert count_letters("हिन्दी", frozenset({"Deva"})) == count_letters("हिन्दी") == 6  # marks are letters here
    assert count_letters("ソーラー", frozenset({"Kana"})) == 4  # the length mark is of several scripts
    assert count_letters("e\u0301", frozenset({"Latn"})) == 2  # e and a combining accent
    assert count_letters("… 3.5 % — 🙂") == 0


SENTENCES = {
    "de": "Die Fähre zur Insel fährt jeden Morgen um halb sieben ab.",
    "en": "The ferry to the island leaves every morning at half past six.",
    "fr": "Le bac pour l'île part tous les matins à six heures et demie.",
    "ja": "島へのフェリーは毎朝六時半に出ます。",
    "ru": "Паром на остров отправляется каждое утро в половине седьмого.",
    "zh": "去岛上的渡轮每天早上六点半开。",
}


@pytest.fixture(scope="module")
def detector() -> LanguageDetector:
    return LanguageDetector(["deu_Latn", "fr", "rus_Cyrl", "zho_Hans", "ja", "nob_Latn", "yue_Hant"])


class TestDetector:
    """Detection with lingua."""

    @pytest.mark.parametrize("language", SENTENCES)
    def test_a_sentence_is_in_its_own_language_only(self, detector: LanguageDetector, language: str) -> None:
        assert detector.other(list(SENTENCES.values()), language).tolist() == [code != language for code in SENTENCES]

    def test_the_likeliest_language(self, detector: LanguageDetector) -> None:
        languages, confidence = detector.detect(list(SENTENCES.values()))
        assert languages == list(SENTENCES)
        assert confidence.shape == (len(SENTENCES),)
        assert ((confidence > 0.5) & (confidence <= 1)).all()

    @pytest.mark.slow
    def test_all_languages(self) -> None:
        detector = LanguageDetector()
        assert sum(map(detector.knows, detector._language)) == 75
        assert detector.detect(list(SENTENCES.values()))[0] == list(SENTENCES)

    def test_any_code_of_a_language(self, detector: LanguageDetector) -> None:
        assert all(map(detector.knows, ("deu_Latn", "fr", "ja", "nob_Latn", "rus_Cyrl", "zho_Hans")))
        assert detector.other([SENTENCES["de"], SENTENCES["fr"]], "deu_Latn").tolist() == [False, True]
        assert detector.other([SENTENCES["zh"]], "zh_TW").tolist() == [False]
        assert all(map(detector.knows, ("nob_Latn", "no", "de-AT", "deu", "pt-BR")))
        assert LanguageDetector(["fil"]).knows("tl")

    def test_norwegian_is_either_of_its_two(self) -> None:
        detector = LanguageDetector(["no"])
        texts = ["Jeg vet ikke hva jeg skal gjøre i morgen.", "Eg veit ikkje kva eg skal gjere i morgon."]
        assert detector.other(texts, "no").tolist() == [False, False]
        assert detector.detect(texts)[0] == ["nb", "nn"]

    def test_a_language_that_lingua_does_not_know_is_not_checked(self, detector: LanguageDetector) -> None:
        assert not detector.knows("yue_Hant")
        assert not detector.knows("cs")  # was not asked for
        assert detector.other([SENTENCES["de"]], "yue").tolist() == [False]
        assert LanguageDetector([]).knows("en")
        assert LanguageDetector(["cs"]).knows("cs")

    def test_serbian_in_latin_letters_is_not_checked(self) -> None:
        latin, cyrillic = "Trajekt za ostrvo polazi svakog jutra.", "Трајект за острво полази сваког јутра."
        detector = LanguageDetector(["sr", "sr-Latn", "uz-Cyrl", "az"])
        assert detector.knows("sr")
        assert not detector.knows("sr-Latn")  # lingua knows Serbian in Cyrillic letters only
        assert detector.other([latin, cyrillic, SENTENCES["ru"]], "sr").tolist() == [False, False, True]
        assert detector.other([latin, cyrillic], "sr-Latn").tolist() == [False, False]
        assert not LanguageDetector(["pa-PK"]).knows("pa-PK")

    @pytest.mark.parametrize(("alias", "text"), [
        ("iw", "המעבורת לאי יוצאת בכל בוקר בשש וחצי."),
        ("in", "Feri ke pulau itu berangkat setiap pagi pukul setengah tujuh."),
        ("fil", "Umaalis ang lantsa papunta sa isla tuwing umaga nang alas sais y medya."),
        ("cmn", SENTENCES["zh"]),
    ])  # fmt: skip
    def test_aliases_are_checked(self, alias: str, text: str) -> None:
        detector = LanguageDetector([alias])
        assert detector.knows(alias)
        assert detector.other([text, SENTENCES["fr"]], alias).tolist() == [False, True]

    def test_a_few_han_characters_are_chinese_or_japanese(self, detector: LanguageDetector) -> None:
        assert detector.other(["島の天気", "天気予報", "予報" * 20], "ja").tolist() == [False, False, True]

    def test_thresholds(self) -> None:
        texts = [SENTENCES["fr"]]
        assert LanguageDetector(["de"]).other(texts, "de").tolist() == [True]
        assert LanguageDetector(["de"], other_above=1.0).other(texts, "de").tolist() == [False]

    def test_no_texts(self, detector: LanguageDetector) -> None:
        assert detector.other([], "de").tolist() == []
        assert detector.other(["", "12"], "de").tolist() == [False, False]
        assert detector.detect([])[0] == []

    def test_without_lingua(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "lingua", None)
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'st-hybrid\[check\]'"):
            LanguageDetector(["de"])


def test_codes_and_names_load_nothing_heavy() -> None:
    """The module itself, apart from the package that it is in."""
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('languages', {language_tag.__code__.co_filename!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "assert module.is_language('de') and module.language_tag('iw') == 'he'\n"
        "assert not {'torch', 'lingua', 'babel', 'datasets', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
