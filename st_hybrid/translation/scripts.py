"""The scripts that languages are written in, and which of them a text's letters are of."""

from __future__ import annotations

import functools

import regex
from babel.core import get_global

from st_hybrid.translation.codes import LANGUAGES, language_codes

# Codes of ISO 15924 that stand for several scripts, or for one way of writing it.
_MEMBERS = {
    "Hans": ("Hani",),
    "Hant": ("Hani",),
    "Jpan": ("Hani", "Hira", "Kana"),
    "Kore": ("Hang",),  # and now and then a word in Han
}


def language_scripts(code: str) -> frozenset[str]:
    """The scripts that texts in a language should be in.

    Args:
        code: A language's code. With a script (``deu_Latn``, ``sr-Latn``) it is that one; without, the one of
            FLORES-200, or else the one that Unicode CLDR calls the likely one. Serbian may be in either of its two.

    Returns:
        Codes of ISO 15924, each of a script in the sense of Unicode: Japanese has ``Hani``, ``Hira`` and ``Kana``.
        Empty for a language that neither knows.

    Example:
        ::

            from st_hybrid.translation.scripts import language_scripts

            language_scripts("ja")  # frozenset({"Hani", "Hira", "Kana"})

    References:
        https://cldr.unicode.org, in babel.
    """
    language, *rest = code.replace("_", "-").split("-")
    try:
        tag = language_codes(code).tag
    except KeyError:
        tag = language
    named = [part.title() for part in (*rest, *tag.split("-")[1:]) if len(part) == 4][:1]
    if tag == "sat":  # whatever NLLB-200's code says
        named = ["Olck"]
    if not named:
        named = ["Cyrl", "Latn"] if tag == "sr" else [_flores_scripts().get(tag) or _likely_script(tag)]
    return frozenset(script for name in named if name for script in _MEMBERS.get(name, (name,)))


def count_letters(text: str, scripts: frozenset[str] | None = None) -> int:
    """How many letters a text has, and marks upon letters, or how many of some scripts.

    Args:
        text: The text.
        scripts: Codes of ISO 15924; by default any. What several scripts use, such as a combining accent, counts.

    Example:
        ::

            count_letters("Привет, Bob!"), count_letters("Привет, Bob!", frozenset({"Cyrl"}))  # (9, 6)
    """
    return len(_letters(scripts).findall(text))


@functools.cache
def _letters(scripts: frozenset[str] | None) -> regex.Pattern[str]:
    if scripts is None:
        return regex.compile(r"[\p{L}\p{M}]")
    allowed = "".join(rf"\p{{Script={script}}}" for script in sorted({*scripts, "Zinh", "Zyyy"}))
    return regex.compile(rf"[[\p{{L}}\p{{M}}]&&[{allowed}]]", regex.V1)


@functools.cache
def _flores_scripts() -> dict[str, str]:
    return {row.tag: row.flores.split("_")[1] for row in LANGUAGES if row.flores is not None}


def _likely_script(language: str) -> str:
    likely = get_global("likely_subtags").get(language)
    return likely.split("_")[1] if likely else ""
