"""Language codes: which there are, and which one was meant by one that is none.

Codes are BCP 47 tags of language, script and region as people write them: ``de``, ``deu``, ``zh-Hans``, ``pt_BR``,
``deu_Latn``. The lists are those of Unicode CLDR, which the package babel carries.
"""

from __future__ import annotations

import functools
import re
from difflib import get_close_matches

from babel import Locale
from babel.core import get_global
from babel.localedata import locale_identifiers

_TAG = re.compile(r"([a-z]{2,3})(?:[-_]([A-Za-z]{4}))?(?:[-_]([A-Za-z]{2}|\d{3}))?")


def is_language(code: str) -> bool:
    """Whether a code is that of a language.

    Args:
        code: Such as ``"de"`` or ``"zh-Hans"``.

    Example:
        ::

            is_language("pt_BR"), is_language("portuguese")  # True, False
    """
    tag = _TAG.fullmatch(code)
    if tag is None or tag[1] not in _languages():
        return False
    english = Locale("en")
    return (tag[2] is None or tag[2].title() in english.scripts) and (
        tag[3] is None or tag[3].upper() in english.territories
    )


def check_language(code: str, where: str) -> str:
    """Refuse what is no language's code, and say which one may have been meant.

    Args:
        code: What should be a language's code.
        where: Where it stands, to begin the message with: file and line, or the option.

    Returns:
        The code as it is.

    Raises:
        ValueError: It is no language's code.

    Example:
        ::

            check_language("german", "rows.jsonl:3")  # ValueError: ... Did you mean 'de' (German)?
    """
    if is_language(code):
        return code
    meant = [f"{found!r} ({english_name(found) or found})" for found in close_languages(code)]
    raise ValueError(
        f"{where}: {code!r} is not the code of a language. "
        + (f"Did you mean {' or '.join(meant)}?" if meant else "Codes are ISO 639's, such as 'de', or 'zh-Hans'.")
    )


def close_languages(word: str) -> list[str]:
    """The codes that may be meant by a language's name in English or in itself, a country's code, or a misspelling.

    Args:
        word: Such as ``"german"``, ``"Deutsch"``, ``"jp"`` or ``"portugese"``.

    Returns:
        Up to two codes, the likelier first.

    Example:
        ::

            close_languages("jp")  # ["ja"]
    """
    exact = language_named(word)
    if exact is not None:
        return [exact]
    by_people = get_global("territory_languages").get(word.upper(), {})
    if by_people:
        return [max(by_people, key=lambda code: (by_people[code]["population_percent"], code))]
    base = re.split(r"[-_]", word.lower())[0]
    if base in _languages():  # what follows it is no script or region
        return [base]
    names = _named() | _autonyms()
    return list(dict.fromkeys(names[name] for name in get_close_matches(word.lower(), names, n=3, cutoff=0.8)))[:2]


def english_name(code: str) -> str | None:
    """A language's name in English, or None for one that CLDR has no name for, as it has for some 650.

    Args:
        code: A language's code; script and region count for nothing.

    Example:
        ::

            english_name("nl")  # "Dutch"
    """
    name: str | None = Locale("en").languages.get(re.split(r"[-_]", code)[0])
    return name


def language_named(name: str) -> str | None:
    """The code of a language by its English name in any case, or None.

    Args:
        name: Such as ``"portuguese"``, as files of mMARCO are called.

    Example:
        ::

            language_named("dutch")  # "nl"
    """
    return _named().get(name.lower())


@functools.cache
def _named() -> dict[str, str]:
    return {name.lower(): code for code, name in Locale("en").languages.items()}


@functools.cache
def _autonyms() -> dict[str, str]:
    locales = [Locale(identifier) for identifier in locale_identifiers() if "_" not in identifier]
    return {locale.languages.get(locale.language, "").lower(): locale.language for locale in locales}


@functools.cache
def _languages() -> frozenset[str]:
    tags = (*get_global("likely_subtags"), *get_global("language_aliases"), *Locale("en").languages)
    return frozenset(re.split(r"[-_]", tag)[0] for tag in tags)
