"""Which texts are in another language than they should be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from st_hybrid.translation.codes import language_codes
from st_hybrid.translation.scripts import count_letters


class LanguageDetector(Protocol):
    """Tells languages apart."""

    def knows(self, language: str) -> bool:
        """Whether texts can be checked for being in a language."""

    def other(self, texts: Sequence[str], language: str) -> NDArray[np.bool_]:
        """Which texts are surely in another language; none of a language that it does not know."""


# Widely written languages of several scripts: what a model writes by mistake is most likely one of them.
_WIDELY_WRITTEN = (
    *("ar", "de", "en", "es", "fa", "fr", "hi", "it", "ja"),
    *("nl", "pl", "pt", "ru", "tr", "uk", "ur", "vi", "zh"),
)


class LinguaDetector:
    """Tells languages apart with lingua, of whose 75 languages it takes those that may come up.

    A text is in another language if lingua gives another one more than half of the probability and the one that it
    should be in less than a twentieth. Of 3,000 headings and as many paragraphs of software help in 11 languages that
    took four paragraphs for another language, all of them really untranslated, and no heading but Japanese ones
    in Han characters alone, which may be Chinese; so a text of up to 12 of them and no other letters passes as either.

    Args:
        languages: Codes of the languages that texts may be in: sources and targets. English and 17 other widely written
            ones come to them. Those that lingua does not know are left out.

    Raises:
        ModuleNotFoundError: lingua is not installed.

    Example:
        ::

            detector = LinguaDetector(["de", "fr"])
            detector.other(["Das Wetter ist heute schön."], "fr")  # array([True])

    References:
        https://github.com/pemistahl/lingua-py
    """

    def __init__(self, languages: Iterable[str]) -> None:
        try:
            from lingua import IsoCode639_1, Language, LanguageDetectorBuilder
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "Languages are told apart with lingua: pip install 'st-hybrid[translate]'."
            ) from error
        known = {language.iso_code_639_1.name.lower(): language for language in Language.all()}
        wanted = {tag: known[tag] for code in (*_WIDELY_WRITTEN, *languages) if (tag := _tag(code)) in known}
        self._names = {language: tag for tag, language in wanted.items()}
        codes = [IsoCode639_1.from_str(tag.upper()) for tag in sorted(wanted)]
        self._detector: Any = LanguageDetectorBuilder.from_iso_codes_639_1(*codes).build()

    def knows(self, language: str) -> bool:
        """Whether texts can be checked for being in a language."""
        return _tag(language) in self._names.values()

    def other(self, texts: Sequence[str], language: str) -> NDArray[np.bool_]:
        """Which texts are surely in another language.

        Args:
            texts: The texts.
            language: The code of the language they should be in.

        Returns:
            An entry a text; none is true for a language that lingua does not know.
        """
        found = np.zeros(len(texts), dtype=bool)
        if not self.knows(language):
            return found
        tag = _tag(language)
        either = tag in ("ja", "zh")
        values = self._detector.compute_language_confidence_values_in_parallel(list(texts))
        for number, (text, ranking) in enumerate(zip(texts, values, strict=True)):
            confidence = {self._names[one.language]: one.value for one in ranking}
            first = max(confidence, key=lambda name: confidence[name])
            found[number] = first != tag and confidence[first] > 0.5 and confidence[tag] < 0.05
            if found[number] and either and first in ("ja", "zh"):
                han, letters = count_letters(text, frozenset({"Hani"})), count_letters(text)
                found[number] = han < letters or han > 12
        return found


def _tag(code: str) -> str:
    """What lingua calls a language, by ISO 639-1, if it knows it."""
    try:
        return language_codes(code).tag.split("-")[0]
    except KeyError:
        return code.replace("_", "-").split("-")[0]
