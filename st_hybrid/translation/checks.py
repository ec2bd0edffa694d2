"""Which translations are suspicious, by what can be seen without knowing the languages."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import regex
from numpy.typing import NDArray

from st_hybrid.translation.detection import LanguageDetector
from st_hybrid.translation.scripts import count_letters, language_scripts

Mask = NDArray[np.uint8]

REASONS = MappingProxyType(
    {
        "emptied": "nothing is left of a text with letters",
        "copied": "the source, not translated",
        "script": "letters of another script than the language's",
        "language": "another language",
        "length": "much shorter or longer than the source",
        "repetition": "the same over and over",
        "truncated": "the source was too long for the model",
    }
)
"""Why a translation is suspicious, in the order in which reasons are counted: a row counts for its first."""

# Characters of these say more than a letter of the others: medians of the lengths of translations into and from
# English, of 3,000 groups of software help (Han, Kana, Hangul) and of the names of Unicode CLDR (Ethiopic).
_WEIGHTS = {"Hani": 3.0, "Hira": 1.8, "Kana": 1.8, "Hang": 2.3, "Ethi": 1.6}

# What is the same in all languages: a word of the Latin script with a digit, a capital or a full stop inside, two
# capitals on end, or a sign of paths, options and formulas.
_IN_CODE = r"[\p{Script=Latn}\p{N}_./\\@=<>{}#:+-]*"
_MARKS = r"\p{N}|\p{Ll}\p{Lu}|\p{Ll}\.\p{L}|[_/\\@=<>{}#]"
_IN_CAPITALS = regex.compile(rf"{_IN_CODE}(?:{_MARKS}){_IN_CODE}")
_CODE = regex.compile(rf"{_IN_CODE}(?:{_MARKS}|\p{{Lu}}{{2}}){_IN_CODE}")
_WORD = regex.compile(r"(?V1)[\p{Script=Latn}\p{M}\p{N}]+|[[\p{L}\p{M}]--[\p{Script=Latn}]]+")
_NOT_LETTERS = regex.compile(r"[^\p{L}\p{M}]+")
_DENSE = regex.compile("[" + "".join(rf"\p{{Script={script}}}" for script in sorted(_WEIGHTS)) + "]")
_SPARSE = regex.compile("[^" + "".join(rf"\p{{Script={script}}}" for script in sorted(_WEIGHTS)) + r"\s]")
_LONGEST_PERIOD, _SHORTEST_RUN = 60, 16


@dataclass(frozen=True)
class Checks:
    """What makes a translation suspicious.

    The defaults were set on 3,000 groups of software help in 11 languages, where they take few of people's translations
    for suspicious; ``benchmarks/translation_checks.py`` measures how few, and how many bad ones each check finds.

    Args:
        reasons: The checks to make, of :data:`REASONS`; by default all. Between close languages (Danish and Norwegian)
            leave out ``"copied"``: a right translation may be the same.
        copied: Share of a translation's letters, in [0, 1], that may stand in strings of 20 letters and spaces (8 of
            Han, Kana, Hangul and Ethiopic) which the source has too; and a short one must not be the source. Names and
            codes, which are the same in all languages, count on neither side: words with a digit, a capital or a full
            stop inside, as ``LibreOffice``, ``A1:B2`` and ``example.org``. A source of nothing else is never copied,
            nor is one without letters.
        script: Share of a translation's letters that must be of the language's script, in [0, 1]; words that the source
            has too do not count.
        ratio: How many times as long as the other of source and translation the longer one may be. Length is in
            letters of the Latin script, without white space: one of Han counts as 3, of Hangul as 2.3, of Kana as 1.8,
            of Ethiopic as 1.6. Ten are added to both, so that short texts may differ more.
        repeated: Share of a translation's strings of 10 characters (5 in the scripts that count more), in [0, 1], that
            may have occurred in it before, beyond the source's own such share. Apart from that no string of up to 60
            characters may stand four times on end and fill 16 characters unless one does in the source.

    Raises:
        ValueError: A check is not known, or a share is outside its range.

    Example:
        ::

            from st_hybrid.translation import REASONS, Checks

            checks = Checks(reasons=tuple(set(REASONS) - {"copied"}))
    """

    reasons: tuple[str, ...] = tuple(REASONS)
    copied: float = 0.2
    script: float = 0.5
    ratio: float = 2.0
    repeated: float = 0.3

    def __post_init__(self) -> None:
        if unknown := [name for name in self.reasons if name not in REASONS]:
            raise ValueError(f"There is no check {unknown[0]!r}; there are {', '.join(REASONS)}.")
        for name in ("copied", "script", "repeated"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share in [0, 1], got {getattr(self, name)}.")
        if self.ratio < 1:
            raise ValueError(f"ratio must be at least 1, got {self.ratio}.")

    def run(
        self,
        sources: Sequence[str],
        translations: Sequence[str],
        language: str,
        *,
        detector: LanguageDetector | None = None,
        known: Mapping[str, NDArray[np.bool_]] | None = None,
    ) -> Mask:
        """Check translations into one language.

        Args:
            sources: The texts.
            translations: Their translations, as many.
            language: The code of the language they should be in; one with a script asks for that script.
            detector: Tells languages apart; without it, or for a language that it does not know, that check is not
                made.
            known: Reasons that hold for texts whatever they look like, such as ``"truncated"``: an entry a text.

        Returns:
            For each translation the sum of ``1 << n`` over its reasons, ``n`` being their places in :data:`REASONS`;
            0 for one that is not suspicious. dtype uint8.

        Example:
            ::

                mask = Checks().run(["The cat sleeps."], ["The cat sleeps."], "de")
                reasons_of(mask[0])  # ["copied"]
        """
        scripts = language_scripts(language)
        objections: dict[str, Callable[[str, str], bool]] = {
            "copied": lambda source, text: copied_share(source, text) > self.copied,
            "script": lambda source, text: script_share(source, text, scripts) < self.script,
            "length": lambda source, text: length_ratio(source, text) > self.ratio,
            "repetition": lambda source, text: repeats(source, text, self.repeated),
        }
        made = {name: objects for name, objects in objections.items() if name in self.reasons}
        found = {name: np.zeros(len(sources), dtype=bool) for name in REASONS}
        for number, (source, text) in enumerate(zip(sources, translations, strict=True)):
            if not count_letters(source):
                continue
            if not count_letters(text) and not _CODE.search(text):
                found["emptied"][number] = True
                continue
            for name, objects in made.items():
                found[name][number] = objects(source, text)
        if detector is not None and "language" in self.reasons:
            found["language"] = detector.other(translations, language) & ~found["emptied"]
        for name, flags in (known or {}).items():
            found[name] |= flags
        mask = np.zeros(len(sources), dtype=np.uint8)
        for place, name in enumerate(REASONS):
            if name in self.reasons:
                mask |= found[name].astype(np.uint8) << place
        return mask


def reasons_of(mask: int) -> list[str]:
    """The names of the reasons in a number that :meth:`Checks.run` gave."""
    return [name for place, name in enumerate(REASONS) if mask >> place & 1]


def copied_share(source: str, text: str) -> float:
    """Share of a translation's letters in strings that the source has too; see :class:`Checks`."""
    before, after = _plain(source), _plain(text)
    if not before or not after:
        return 0.0
    if before == after:
        return 1.0
    covered = np.zeros(len(after), dtype=bool)
    for size in (20, 8) if _DENSE.search(after) else (20,):
        known = {before[start : start + size] for start in range(len(before) - size + 1)}
        for start in range(len(after) - size + 1):
            string = after[start : start + size]
            if string in known and (size == 20 or not _SPARSE.search(string)):
                covered[start : start + size] = True
    return float(np.average(covered, weights=_weights(after)))


def script_share(source: str, text: str, scripts: frozenset[str]) -> float:
    """Share of a translation's letters that are of some scripts, not counting words that the source has too."""
    if not scripts:
        return 1.0
    known = {word.casefold() for word in _WORD.findall(source)}
    rest = " ".join(word for word in _WORD.findall(_CODE.sub(" ", text)) if word.casefold() not in known)
    letters = count_letters(rest)
    return count_letters(rest, scripts) / letters if letters else 1.0


def length_ratio(source: str, text: str) -> float:
    """How many times as long as the shorter of two texts the longer one is; see :class:`Checks`."""
    first, second = (_length(part) + 10 for part in (source, text))
    return max(first, second) / min(first, second)


def repeats(source: str, text: str, allowed: float) -> bool:
    """Whether a translation says the same over and over, which its source does not; see :class:`Checks`."""
    before, after = (_repeated_share(part) for part in (source, text))
    # A run has strings that occur again, so most texts need not be searched for one.
    return after > before + allowed or (after > 0 and has_run(text) and not has_run(source))


def has_run(text: str) -> bool:
    """Whether a string of up to 60 characters stands four times on end, in 16 characters or more with a letter."""
    characters = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    for period in range(1, min(_LONGEST_PERIOD, len(characters) // 3) + 1):
        # Where a run of four is, three periods repeat the one before; white space may be missing after the last.
        needed = max(3 * period - 1, _SHORTEST_RUN - period)
        same = characters[period:] == characters[:-period]
        if np.count_nonzero(same) < needed:
            continue
        edges = np.flatnonzero(np.diff(same, prepend=False, append=False))
        starts, lengths = edges[::2], np.diff(edges)[::2]
        if any(count_letters(text[start : start + period]) for start in starts[lengths >= needed].tolist()):
            return True
    return False


def _plain(text: str) -> str:
    """Words in lower case, without what is the same in all languages."""
    capitals = not any(character.isalpha() and not character.isupper() for character in text)
    return _NOT_LETTERS.sub(" ", (_IN_CAPITALS if capitals else _CODE).sub(" ", text)).strip().casefold()


def _length(text: str) -> float:
    return float(_weights("".join(text.split())).sum())


def _weights(text: str) -> NDArray[np.float64]:
    """How much each character counts."""
    weights = np.ones(len(text))
    if _DENSE.search(text):
        for script, weight in _WEIGHTS.items():
            weights[[found.start() for found in _of_script(script).finditer(text)]] = weight
    return weights


@functools.cache
def _of_script(script: str) -> regex.Pattern[str]:
    return regex.compile(rf"\p{{Script={script}}}")


def _repeated_share(text: str) -> float:
    text = _NOT_LETTERS.sub(" ", text)
    size = 5 if _DENSE.search(text) else 10
    strings = [text[start : start + size] for start in range(len(text) - size + 1)]
    return 1 - len(set(strings)) / len(strings) if strings else 0.0
