"""Sentence boundaries, for files that do not mark them."""

from collections.abc import Callable

import sentencex

Splitter = Callable[[str, str], list[tuple[int, int]]]
"""Takes a language code and a text; returns the start and end of each sentence in characters, in order."""

WITHOUT_MARKS = frozenset({"khm", "km", "lao", "lo", "th", "tha"})
"""Languages that mark the end of a sentence by a space at most, where :func:`sentence_spans` finds few ends."""


def sentence_spans(language: str, text: str) -> list[tuple[int, int]]:
    """Split a text into sentences with `sentencex <https://github.com/wikimedia/sentencex>`_.

    It knows the punctuation and the abbreviations of some 300 languages, many through a related one. In the languages
    of :data:`WITHOUT_MARKS` it returns long pieces of several sentences.

    Returns:
        Start and end of each sentence in characters, without the white space around it.
    """
    spans = []
    for found in sentencex.get_sentence_boundaries(language, text):
        sentence = text[found["start_index"] : found["end_index"]]
        if sentence.strip():
            start = found["start_index"] + len(sentence) - len(sentence.lstrip())
            spans.append((start, start + len(sentence.strip())))
    return spans
