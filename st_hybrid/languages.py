"""Codes of languages (BCP 47 or FLORES-200), names and scripts, from langcodes, and detection with lingua."""

import functools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

import langcodes
import numpy as np
import regex
from langcodes.data_dicts import LIKELY_SUBTAGS
from numpy.typing import NDArray

_TAG = re.compile(r"([a-z]{2,3})(?:[-_][A-Za-z]{4})?(?:[-_](?:[A-Za-z]{2}|\d{3}))?")

# Tags that replace those of langcodes: scripts that CLDR does not know or that differ in FLORES-200; members that
# FLORES-200 has of Fula, Pashto and Quechua; Twi, which is not merged with Akan; M2M100's code for Northern Sotho.
# FLORES-200's code for Santali names the wrong script (github.com/facebookresearch/flores, issue 52).
# fmt: off
_TAGS = MappingProxyType({
    "acm": "acm-Arab", "acq": "acq-Arab", "ajp": "ajp-Arab", "azb": "azb-Arab", "cjk": "cjk-Latn", "crh": "crh-Latn",
    "dik": "dik-Latn", "lus": "lus-Latn", "tzm": "tzm-Tfng", "ko-Hang": "ko", "fuv": "ff", "fuv-Latn": "ff",
    "pbt": "ps", "pbt-Arab": "ps", "quy": "qu", "quy-Latn": "qu", "tw": "tw-Latn", "tw-Latn": "tw-Latn",
    "ak-Latn": "ak", "ns": "nso", "sat-Beng": "sat",
})
# fmt: on

_MAX_DISTANCE = 5  # of langcodes: a regional variant or a member of the macrolanguage, but no related language

# Codes of ISO 15924 that combine several of Unicode's scripts, or that name a style of one.
_MEMBERS = {"Hans": ("Hani",), "Hant": ("Hani",), "Jpan": ("Hani", "Hira", "Kana"), "Kore": ("Hang",)}

# Wrong output of a translation model is mostly in one of these.
_WIDELY_WRITTEN = re.findall(r"\w+", "ar de en es fa fr hi it ja nl pl pt ru tr uk ur vi zh")
_SHORT_HAN = 12  # characters
_OWN_BELOW = 0.05  # probability
_SAMPLE, _SHOWN = 1000, 400  # texts that show which languages there are, and characters of each text
_BLOCK = 1000  # texts that lingua ranks at once, in parallel


def is_language(code: str) -> bool:
    """Whether a code, in lower case apart from its script and region, is that of a language."""
    tag = _TAG.fullmatch(code)
    return (
        tag is not None
        and not "qaa" <= tag[1] <= "qtz"  # private use
        and langcodes.tag_is_valid(code)
        and not langcodes.Language.make(language=tag[1]).display_name().endswith(" languages")  # a family of them
    )


def check_language(code: str, where: str) -> str:
    """Return the code of a language; raise a ValueError that begins with ``where`` and suggests a code otherwise."""
    if is_language(code):
        return code
    meant = suggestion(close_languages(code)) or "Use a code of ISO 639 such as 'de', or with a script 'zh-Hans'."
    raise ValueError(f"{where}: {code!r} is not the code of a language. {meant}")


def close_languages(word: str) -> list[str]:
    """Up to two codes, the likelier first, that ``"german"``, ``"Deutsch"``, ``"jp"`` or ``"portugese"`` may mean."""
    base = re.split(r"[-_]", word.lower())[0]
    if is_language(base):  # what follows it is not a script or region
        return [base]
    if f"und-{word.upper()}" in LIKELY_SUBTAGS:  # a country
        return [langcodes.Language.make(territory=word.upper()).maximize().language or ""]
    try:
        return [str(langcodes.find(word))]
    except (LookupError, UnicodeError):  # UnicodeError: a control character
        names = _names()
        return list(dict.fromkeys(names[name] for name in get_close_matches(word.lower(), names, cutoff=0.8)))[:2]


def suggestion(codes: Iterable[str]) -> str:
    """``Did you mean 'de' (German)?``, or an empty string without codes."""
    named = [f"{code!r} ({name})" if (name := english_name(code)) else repr(code) for code in codes]
    return f"Did you mean {' or '.join(named)}?" if named else ""


def english_name(code: str) -> str | None:
    """The English name of a language; None for a code of three letters without speakers in CLDR, such as ``src``."""
    language = langcodes.Language.make(language=re.split(r"[-_]", code)[0])
    known = language.is_valid() and (len(str(language)) == 2 or language.speaking_population())
    return language.display_name() if known else None


def language_named(name: str) -> str | None:
    """The code of a language by its English name in any case, or None. mMARCO names its files so."""
    try:
        return str(langcodes.find(name, language="en"))
    except LookupError:
        return None


def language_tag(code: str) -> str:
    """The one BCP 47 tag for all codes of a language; a ValueError if a code has no such form.

    ``iw`` and ``heb`` become ``he``, ``cmn`` becomes ``zh``, and ``deu_Latn`` ``de``, without its usual script.
    """
    tag = langcodes.standardize_tag(code)
    tag = _TAGS.get(tag) or langcodes.standardize_tag(tag, macro=True)
    return _TAGS.get(tag, tag)


def codes_of(languages: Collection[str], present: Iterable[str | None]) -> list[str]:
    """The codes among those present that name one of the languages, such as ``iw`` for ``he``."""
    tags = {_tag_or_text(code) for code in languages}
    return [code for code in present if code is not None and _tag_or_text(code) in tags]


def one_code_each(codes: Iterable[str]) -> dict[str, str]:
    """The one code for each code: its tag if another code of its language is among them, otherwise itself."""
    by_tag: dict[str, list[str]] = {}
    for code in codes:
        by_tag.setdefault(_tag_or_text(code), []).append(code)
    return {code: tag if len(same) > 1 else code for tag, same in by_tag.items() for code in same}


def supported_code(code: str, supported: Collection[str]) -> str | None:
    """A model's own code of a language, or of a variant or member of it in the same script; None if there is none."""
    if code in supported:
        return code
    try:
        tag = language_tag(code)
    except ValueError:
        return None
    code_of = _code_of_tag(frozenset(supported))
    if tag not in code_of:
        found = langcodes.closest_supported_match(tag, list(code_of), max_distance=_MAX_DISTANCE)
        if found is None or _script(found) != _script(tag):
            return None
        tag = found
    return code_of[tag]


def mteb_code(code: str) -> str:
    """A language's code in mteb's metadata: ISO 639-3 and the script."""
    language = langcodes.Language.get(language_tag(code)).maximize()
    return f"{language.to_alpha3()}-{language.script}"


def language_scripts(code: str) -> frozenset[str]:
    """ISO 15924 codes of the scripts of a language: the one in its code, or the likely ones; empty if unknown.

    ``ja`` has ``Hani``, ``Hira`` and ``Kana``, as Unicode names them; Serbian is written in two.
    """
    tag = language_tag(code)
    if tag == "sr":
        return frozenset({"Cyrl", "Latn"})
    language = langcodes.Language.get(tag)
    if language.script is None and language.language not in LIKELY_SUBTAGS:
        return frozenset()
    return _scripts(tag)


def count_letters(text: str, scripts: frozenset[str] | None = None) -> int:
    """Count the letters of a text and the marks on them, or only those of some scripts, by ISO 15924 code."""
    return len(_letters(scripts).findall(text))


class LanguageDetector:
    """Detects the language of texts with `lingua <https://github.com/pemistahl/lingua-py>`_.

    It is right for almost every sentence and often wrong for headings of a few words. With the defaults, :meth:`other`
    marked four of 3,000 paragraphs of software help in 11 languages, all of them untranslated. A text of up to 12 Han
    characters and no other letters passes as Chinese and as Japanese.

    Args:
        languages: Codes of the languages that texts may be in, besides 18 widely written ones. By default all 75
            languages that lingua knows, which is slower.
        other_above: A text is in another language if that one has more than this probability, and its own below 0.05.

    Example:
        ::

            from st_hybrid.languages import LanguageDetector

            detector = LanguageDetector(["de", "fr"])
            print(detector.other(["Das Wetter ist heute schön."], "fr"))  # [ True]
    """

    def __init__(self, languages: Iterable[str] | None = None, *, other_above: float = 0.5) -> None:
        try:
            from lingua import Language, LanguageDetectorBuilder
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("Language detection needs lingua: pip install 'st-hybrid[check]'.") from error
        self.other_above = other_above
        self._language: dict[str, Any] = {one.iso_code_639_1.name.lower(): one for one in Language.all()}
        self._code = {one: code for code, one in self._language.items()}
        given = {*(self._language if languages is None else languages), *_WIDELY_WRITTEN}
        self._considered = frozenset[str]().union(*map(self._same, given))
        considered = [self._language[code] for code in sorted(self._considered)]
        self._detector = LanguageDetectorBuilder.from_languages(*considered).build()

    def knows(self, language: str) -> bool:
        """Whether :meth:`other` can check texts in a language: lingua knows it and it is among those considered."""
        return bool(self._same(language) & self._considered)

    def detect(
        self, texts: Sequence[str], *, among: Collection[str] | None = None
    ) -> tuple[list[str], NDArray[np.float64]]:
        """ISO 639-1 code of each text's likeliest language, and its probability, shape ``(texts,)``; on all cores.

        ``among`` are the codes to choose from, by default all; those that lingua does not know do not count.
        """
        codes = frozenset[str]().union(*map(self._same, among or ())) or frozenset(self._language)
        first = [next(one for one in ranked if self._code[one.language] in codes) for ranked in self._ranked(texts)]
        return [self._code[one.language] for one in first], np.array([one.value for one in first])

    def other(self, texts: Sequence[str], language: str) -> NDArray[np.bool_]:
        """Find the texts that are surely not in the language that they should be in.

        Returns:
            True for a text in another language, shape ``(texts,)``. All False if :meth:`knows` is false.
        """
        other = np.zeros(len(texts), dtype=bool)
        own = self._same(language)
        if not own & self._considered:
            return other
        unknown = language_scripts(language).difference(*map(_scripts, own))  # Serbian in Latin letters
        for number, (text, ranked) in enumerate(zip(texts, self._ranked(texts), strict=True)):
            if unknown and 2 * count_letters(text, unknown) > count_letters(text):
                continue
            first = self._code[ranked[0].language]
            mine = max(one.value for one in ranked if self._code[one.language] in own)
            other[number] = first not in own and ranked[0].value > self.other_above and mine < _OWN_BELOW
            if other[number] and {first} | own == {"ja", "zh"}:
                han, letters = count_letters(text, frozenset({"Hani"})), count_letters(text)
                other[number] = han < letters or han > _SHORT_HAN
        return other

    def _ranked(self, texts: Sequence[str]) -> Iterator[Any]:
        for start in range(0, len(texts), _BLOCK):
            block = list(texts[start : start + _BLOCK])
            yield from self._detector.compute_language_confidence_values_in_parallel(block)

    def _same(self, code: str) -> frozenset[str]:
        """Lingua's codes of a language in a script that lingua knows it in; Norwegian has two."""
        base = langcodes.Language.get(language_tag(code)).language or ""
        found = supported_code(base, self._language.keys())
        if found is None or not _scripts(found) & language_scripts(code):
            return frozenset()
        return frozenset({"nb", "nn"} if base == "no" else {found})


def detect_languages(
    texts: Sequence[str], least: float, known: Collection[str] = ()
) -> tuple[list[str], NDArray[np.float64]]:
    """Detect the language of each text of a corpus, and its probability.

    A detector that knows which languages there are errs less. A language counts if it is ``known``, or if at least a
    share ``least`` of a sample of 1,000 texts is detected as it.
    """
    shown = [text[:_SHOWN] for text in texts]
    sample = shown[:: -(-len(shown) // _SAMPLE)]
    counts = Counter(LanguageDetector().detect(sample)[0])
    likely = {*known, *(code for code, count in counts.items() if count >= least * len(sample))}
    return LanguageDetector(likely).detect(shown, among=likely)


def _tag_or_text(code: str) -> str:
    try:
        return language_tag(code)
    except ValueError:  # a word
        return code


def _script(tag: str) -> str:
    return langcodes.Language.get(tag).maximize().script or ""


def _scripts(tag: str) -> frozenset[str]:
    return frozenset(_MEMBERS.get(_script(tag), (_script(tag),)))


@functools.cache
def _code_of_tag(codes: frozenset[str]) -> dict[str, str]:
    return {language_tag(code): code for code in sorted(codes, reverse=True)}


@functools.cache
def _letters(scripts: frozenset[str] | None) -> regex.Pattern[str]:
    if scripts is None:
        return regex.compile(r"[\p{L}\p{M}]")
    allowed = "".join(rf"\p{{Script={script}}}" for script in sorted({*scripts, "Zinh", "Zyyy"}))
    return regex.compile(rf"[[\p{{L}}\p{{M}}]&&[{allowed}]]", regex.V1)


@functools.cache
def _names() -> dict[str, str]:
    """Codes of the languages whose speakers CLDR counts, by their names in English and in the language itself."""
    from language_data.population_data import LANGUAGE_SPEAKING_POPULATION

    codes = sorted(tag for tag in LANGUAGE_SPEAKING_POPULATION if "-" not in tag and tag != "und")
    languages = [langcodes.Language.make(language=code) for code in codes]
    return {name.lower(): str(one) for one in languages for name in (one.autonym(), one.display_name())}
