"""Texts as distinct sentences, which translation models are trained on, and back."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from st_hybrid.languages import count_letters, language_scripts, language_tag
from st_hybrid.sentences import sentence_spans


class Pieces:
    """Texts in a language, cut into sentences or whole. Pieces without letters, such as numbers, are not translated.

    ``distinct`` has the distinct pieces with letters, in order of appearance.
    """

    def __init__(self, texts: Sequence[str], language: str, *, sentences: bool = True) -> None:
        splitter = language_tag(language).split("-")[0]
        numbers: dict[str, int] = {}
        self._parts: list[list[int | str]] = []  # of each text: the number of a piece, or a string that stays as it is
        for text in texts:
            parts: list[int | str] = []
            end = 0
            for start, stop in sentence_spans(splitter, text) if sentences else [(0, len(text))]:
                piece = text[start:stop]
                parts += [text[end:start], numbers.setdefault(piece, len(numbers)) if count_letters(piece) else piece]
                end = stop
            self._parts.append([part for part in (*parts, text[end:]) if part != ""])
        self.distinct = list(numbers)

    def join(self, translations: Sequence[str], language: str) -> list[str]:
        """The texts from one translation per distinct piece. Chinese and Japanese have no spaces between sentences."""
        scripts = language_scripts(language)
        space = "" if scripts and scripts <= {"Hani", "Hira", "Kana"} else " "
        joined = []
        for parts in self._parts:
            made, after_piece = [], False
            for part in parts:
                if isinstance(part, int):
                    made += [space, translations[part].strip()] if after_piece else [translations[part].strip()]
                else:
                    made.append(space if part.isspace() and "\n" not in part else part)
                after_piece = isinstance(part, int)
            joined.append("".join(made))
        return joined

    def any(self, flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which texts have a flagged piece, by a flag for each distinct piece."""
        return np.array([any(flags[part] for part in parts if isinstance(part, int)) for parts in self._parts], bool)
