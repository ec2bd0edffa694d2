"""Stand-in for the detector of st_hybrid.languages, with the same interface."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Detected(NamedTuple):
    """The likeliest language of each text, and its probability."""

    languages: list[str]
    confidence: NDArray[np.float64]


class LanguageDetector:
    """Detects languages with lingua."""

    def __init__(self, languages: Iterable[str] | None = None, *, other_above: float = 0.5) -> None:
        try:
            from lingua import Language, LanguageDetectorBuilder
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("Language detection needs lingua: pip install 'st-hybrid[check]'.") from error
        self.other_above = other_above
        self._language: dict[str, Any] = {one.iso_code_639_1.name.lower(): one for one in Language.all()}
        self._code = {one: code for code, one in self._language.items()}
        given = self._language if languages is None else [*languages, "en", "fr"]
        self._considered = {base for code in given if (base := _base(code)) in self._language}
        known = [self._language[code] for code in sorted(self._considered)]
        self._detector = LanguageDetectorBuilder.from_languages(*known).build()

    def knows(self, language: str) -> bool:
        """Whether texts can be checked for being in a language."""
        return _base(language) in self._considered

    def detect(self, texts: Sequence[str]) -> Detected:
        """Detect the language of each text."""
        first = [one[0] for one in self._detector.compute_language_confidence_values_in_parallel(list(texts))]
        return Detected([self._code[one.language] for one in first], np.array([one.value for one in first]))

    def other(self, texts: Sequence[str], language: str) -> NDArray[np.bool_]:
        """Find the texts that are surely in another language."""
        found = self.detect(texts)
        return (np.array(found.languages, dtype=str) != _base(language)) & (found.confidence > self.other_above)


def _base(code: str) -> str:
    return code.replace("_", "-").split("-")[0].lower()
