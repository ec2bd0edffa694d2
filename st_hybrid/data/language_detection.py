"""What language texts are in, by their letters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_BATCH = 2000


class Detected(NamedTuple):
    """The likeliest language of each text.

    Args:
        languages: Its code, in the way of the codes that were asked for; ISO 639 for others.
        confidence: Its probability among the languages considered.
    """

    languages: list[str]
    confidence: NDArray[np.float64]


class LanguageDetector:
    """Detects languages with lingua.

    lingua weighs n-grams of one to five letters by the languages that it is told to consider. It is right on nearly all
    texts of a sentence, and often wrong on headings of a few words: give it texts of 40 letters and more.

    Args:
        languages: Codes of the languages to consider, ISO 639-1 or 639-3, with or without a region: ``"de"``,
            ``"pt-BR"``. Fewer languages are faster, and what is in none of them is not seen as such. English is always
            considered, since untranslated texts are mostly English.
        every: Consider all 75 languages that lingua knows.

    Raises:
        ModuleNotFoundError: lingua is not installed; it comes with ``st-hybrid[check]``.

    References:
        https://github.com/pemistahl/lingua-py
    """

    def __init__(self, languages: Iterable[str], *, every: bool = False) -> None:
        from lingua import Language, LanguageDetectorBuilder

        by_code: dict[str, Any] = {}
        for language in Language.all():
            by_code[language.iso_code_639_1.name.lower()] = by_code[language.iso_code_639_3.name.lower()] = language
        by_code["no"] = by_code["nb"]
        plain = {code: by_code[base] for code in sorted(set(languages)) if (base := _base(code)) in by_code}
        self.known = list(plain)
        self._code_of = {language: language.iso_code_639_1.name.lower() for language in Language.all()}
        # Two codes of one language, such as pt-BR and pt-PT, cannot be told apart.
        self._same = {code: self._code_of[language] for code, language in plain.items()}
        considered = (
            {*plain.values(), by_code["en"], by_code["fr"]} if len(plain) < 2 else {*plain.values(), by_code["en"]}
        )
        builder = (
            LanguageDetectorBuilder.from_all_languages()
            if every
            else LanguageDetectorBuilder.from_languages(*sorted(considered, key=lambda one: self._code_of[one]))
        )
        self._detector = builder.build()

    def detect(self, texts: Sequence[str], advance: Callable[[int], None] = lambda done: None) -> Detected:
        """Detect the language of each text, on all cores.

        Args:
            texts: The texts.
            advance: Called with the number of texts done since the last call.
        """
        languages, confidence = [], []
        for start in range(0, len(texts), _BATCH):
            part = list(texts[start : start + _BATCH])
            for ranked in self._detector.compute_language_confidence_values_in_parallel(part):
                languages.append(self._code_of[ranked[0].language])
                confidence.append(ranked[0].value)
            advance(len(part))
        return Detected(languages, np.array(confidence))

    def agrees(self, code: str, detected: str) -> bool:
        """Whether a detected language is the one that a code means."""
        nordic = {"nb", "nn"}
        wanted = self._same[code]
        return detected == wanted or (_base(code) == "no" and detected in nordic)


def _base(code: str) -> str:
    return code.replace("_", "-").split("-")[0].lower()
