"""Texts as sentences, which translation models were trained on, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from st_hybrid.sentences import sentence_spans
from st_hybrid.translation.codes import language_codes
from st_hybrid.translation.scripts import count_letters, language_scripts

_WITHOUT_SPACES = frozenset({"Hani", "Hira", "Kana"})


@dataclass(frozen=True)
class SegmentedTexts:
    """Texts cut into pieces, each distinct piece once.

    Args:
        pieces: The distinct pieces that have letters, in the order in which they first occur.
        texts: For each text its parts in turn: the number of a piece, or what stands between pieces and stays as it is.
    """

    pieces: list[str]
    texts: list[list[int | str]]

    def join(self, translations: Sequence[str], language: str, texts: Iterable[int] | None = None) -> list[str]:
        """Put translations of the pieces together again.

        Args:
            translations: One for each of ``pieces``; those that no wanted text has do not matter.
            language: The code of their language: where it is written without spaces, sentences have none between them.
            texts: The numbers of the texts wanted; by default all.

        Returns:
            The texts.
        """
        scripts = language_scripts(language)
        space = "" if scripts and scripts <= _WITHOUT_SPACES else " "
        joined = []
        for parts in self.texts if texts is None else (self.texts[number] for number in texts):
            made, after_piece = [], False
            for part in parts:
                if isinstance(part, int):
                    made += [space, translations[part].strip()] if after_piece else [translations[part].strip()]
                else:
                    made.append(space if part.isspace() and "\n" not in part else part)
                after_piece = isinstance(part, int)
            joined.append("".join(made))
        return joined


def segment(texts: Sequence[str], language: str, *, sentences: bool = True) -> SegmentedTexts:
    """Cut texts into what a model translates at once.

    Models such as NLLB-200 were trained on sentences, and of a paragraph they often leave out all but one or two.
    What has no letters, such as a number, is no model's business and stays as it is.

    Args:
        texts: The texts.
        language: The code of their language.
        sentences: Cut into sentences; otherwise each text is a piece.

    Returns:
        The pieces and how they make up the texts.

    Example:
        ::

            cut = segment(["It rains. Take a coat.", "It rains."], "en")
            cut.pieces  # ["It rains.", "Take a coat."]
            cut.join(["Es regnet.", "Nimm einen Mantel."], "de")  # ["Es regnet. Nimm einen Mantel.", "Es regnet."]
    """
    try:
        tag = language_codes(language).tag
    except KeyError:
        tag = language
    splitter = tag.replace("_", "-").split("-")[0]
    numbers: dict[str, int] = {}
    cut = []
    for text in texts:
        parts: list[int | str] = []
        end = 0
        for start, stop in sentence_spans(splitter, text) if sentences else [(0, len(text))]:
            if start > end:
                parts.append(text[end:start])
            piece = text[start:stop]
            parts.append(numbers.setdefault(piece, len(numbers)) if count_letters(piece) else piece)
            end = stop
        if end < len(text):
            parts.append(text[end:])
        cut.append(parts)
    return SegmentedTexts(list(numbers), cut)
