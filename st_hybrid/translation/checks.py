"""Which translations are suspicious, by their form."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from types import MappingProxyType
from typing import Literal

import numpy as np
import regex
from numpy.typing import NDArray

from st_hybrid.languages import LanguageDetector, count_letters, language_scripts

Flags = NDArray[np.bool_]
Check = Literal["emptied", "copied", "script", "language", "length", "repetition", "truncated"]

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "emptied": "a text with letters became empty",
        "copied": "not translated",
        "script": "wrong script",
        "language": "another language",
        "length": "much shorter or longer than the source",
        "repetition": "repeats itself",
        "truncated": "the source was too long for the model",
    }
)
"""The checks and what a translation that fails one looks like. A row counts for the first check that it fails."""

# How many Latin letters a character of these scripts is worth: medians over translations into and from English, of
# 3,000 groups of software help (Han, Kana, Hangul) and of the names of Unicode CLDR (Ethiopic).
_WEIGHTS = {"Hani": 3.0, "Hira": 1.8, "Kana": 1.8, "Hang": 2.3, "Ethi": 1.6}

# Names and codes are the same in all languages: Latin words with a digit, a capital or a full stop inside, two capitals
# in a row, or a sign of paths, options and formulas.
_IN_CODE = r"[\p{Script=Latn}\p{N}_./\\@=<>{}#:+-]*"
_MARKS = r"\p{N}|\p{Ll}\p{Lu}|\p{Ll}\.\p{L}|[_/\\@=<>{}#]"
_IN_CAPITALS = regex.compile(rf"{_IN_CODE}(?:{_MARKS}){_IN_CODE}")
_CODE = regex.compile(rf"{_IN_CODE}(?:{_MARKS}|\p{{Lu}}{{2}}){_IN_CODE}")
_WORD = regex.compile(r"(?V1)[\p{Script=Latn}\p{M}\p{N}]+|[[\p{L}\p{M}]--[\p{Script=Latn}]]+")
_NOT_LETTERS = regex.compile(r"[^\p{L}\p{M}]+")
_DENSE = regex.compile("[" + "".join(rf"\p{{Script={script}}}" for script in _WEIGHTS) + "]")
_SPARSE = regex.compile("[^" + "".join(rf"\p{{Script={script}}}" for script in _WEIGHTS) + r"\s]")
_RUN = regex.compile(r"(?s)(.)\1{15}|(..)\2{7}|(...)\3{5}|(.{4,60}?)\4{3}")


@dataclass(frozen=True)
class Checks:
    """What makes a translation suspicious.

    The checks see form only: 70% of unrelated translations pass. The defaults were set on 3,000 groups of software help
    in 11 languages; ``benchmarks/translation_checks.py`` measures how many good and bad translations each check marks.

    Args:
        skip: Checks to leave out: ``copied`` between close languages, where a translation may equal its source.
        copied: Largest allowed share, in [0, 1], of a translation's letters in strings of 20 letters and spaces (8 of
            Han, Kana, Hangul and Ethiopic) that the source contains too. Names and codes such as ``LibreOffice``,
            ``A1:B2`` and ``example.org`` do not count. A shorter translation must differ from its source.
        script: Smallest allowed share, in [0, 1], of letters in the language's script, apart from words of the source.
        ratio: Largest allowed ratio of the lengths of source and translation, in Latin letters without white space. A
            Han character counts as 3, Hangul 2.3, Kana 1.8 and Ethiopic 1.6. Both get 10 more, for short texts.
        repeated: Largest allowed share, in [0, 1], of a translation's strings of 10 characters (5 in Han, Kana, Hangul
            and Ethiopic) that occurred in it before, in excess of the source's share. No string of up to 60 characters
            may follow itself three times over 16 characters, unless one does in the source.

    Example:
        ::

            from st_hybrid.translation import Checks, reasons_of

            checks = Checks(skip=("length",))
            print(reasons_of(checks.run(["The cat sleeps."], ["The cat sleeps."], "de")[0]))  # ['copied']
    """

    skip: tuple[Check, ...] = ()
    copied: float = 0.2
    script: float = 0.5
    ratio: float = 2.0
    repeated: float = 0.3

    def __post_init__(self) -> None:
        if unknown := [name for name in self.skip if name not in REASONS]:
            raise ValueError(f"There is no check {unknown[0]!r}. The checks are {', '.join(REASONS)}.")
        for name in ("copied", "script", "repeated"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}.")
        numbers = {"copied": "copied", "script": "script", "ratio": "length", "repeated": "repetition"}
        for name, check in numbers.items():
            if check in self.skip and getattr(self, name) != getattr(type(self), name):
                raise ValueError(f"{name} has no effect: the check {check!r} is skipped. Leave one of them out.")
        if self.ratio < 1:
            raise ValueError(f"ratio must be at least 1, got {self.ratio}.")

    def run(
        self,
        sources: Sequence[str],
        translations: Sequence[str],
        language: str,
        *,
        detector: LanguageDetector | None = None,
        known: Mapping[str, Flags] = MappingProxyType({}),
    ) -> Flags:
        """Check translations into one language.

        Args:
            sources: The source texts.
            translations: Their translations.
            language: Code of the language that they should be in. A script in it is the required script.
            detector: Detects the language of the translations.
            known: Which texts fail a check for reasons outside them, such as ``"truncated"``, shape ``(texts,)``.

        Returns:
            Which checks each translation fails, shape ``(texts, checks)``, the checks in the order of :data:`REASONS`.
        """
        scripts = language_scripts(language)
        fails: dict[str, Callable[[str, str], bool]] = {
            "copied": lambda source, text: copied_share(source, text) > self.copied,
            "script": lambda source, text: script_share(source, text, scripts) < self.script,
            "length": lambda source, text: length_ratio(source, text) > self.ratio,
            "repetition": lambda source, text: repeats(source, text, self.repeated),
        }
        failed = np.zeros((len(sources), len(REASONS)), dtype=bool)
        column = dict(zip(REASONS, failed.T, strict=True))
        for number, (source, text) in enumerate(zip(sources, translations, strict=True)):
            if not count_letters(source):
                continue
            if not count_letters(text) and not _CODE.search(text):
                column["emptied"][number] = True
                continue
            for name in fails.keys() - self.skip:
                column[name][number] = fails[name](source, text)
        if detector is not None and "language" not in self.skip:
            column["language"][:] = detector.other(translations, language) & ~column["emptied"]
        for name, flags in known.items():
            column[name] |= flags
        failed[:, [name in self.skip for name in REASONS]] = False
        return failed


def reasons_of(failed: Flags) -> list[str]:
    """The names of the checks that a translation fails: of a row of what :meth:`Checks.run` returns."""
    return list(compress(REASONS, failed))


def copied_share(source: str, text: str) -> float:
    """Share of a translation's letters in strings that the source contains too."""
    before, after = _plain(source), _plain(text)
    if not before or not after or before == after:
        return float(before == after != "")
    covered = np.zeros(len(after), dtype=bool)
    for size in (20, 8) if _DENSE.search(after) else (20,):
        known = {before[start : start + size] for start in range(len(before) - size + 1)}
        for start in range(len(after) - size + 1):
            string = after[start : start + size]
            if string in known and (size == 20 or not _SPARSE.search(string)):
                covered[start : start + size] = True
    return float(np.average(covered, weights=_weights(after)))


def script_share(source: str, text: str, scripts: frozenset[str]) -> float:
    """Share of a translation's letters in the given scripts, apart from words of the source."""
    known = {word.casefold() for word in _WORD.findall(source)}
    rest = " ".join(word for word in _WORD.findall(_CODE.sub(" ", text)) if word.casefold() not in known)
    letters = count_letters(rest)
    return count_letters(rest, scripts) / letters if letters and scripts else 1.0


def length_ratio(source: str, text: str) -> float:
    """The longer one's length divided by the shorter one's; see :class:`Checks`."""
    first, second = (_weights("".join(part.split())).sum() + 10 for part in (source, text))
    return float(max(first, second) / min(first, second))


def repeats(source: str, text: str, allowed: float) -> bool:
    """Whether a translation repeats itself more than its source does; see :class:`Checks`."""
    before, after = _repeated_share(source), _repeated_share(text)
    # A run contains repeated strings, so most texts need not be searched for one.
    return after > before + allowed or (after > 0 and has_run(text) and not has_run(source))


def has_run(text: str) -> bool:
    """Whether a string of up to 60 characters with a letter occurs four times in a row, over 16 characters or more."""
    # White space may be missing before the first and after the last.
    return any(count_letters(found[0]) for found in _RUN.finditer(f" {text} ", overlapped=True))


def _plain(text: str) -> str:
    """The words in lower case without names and codes."""
    code = _CODE if any(character.isalpha() and not character.isupper() for character in text) else _IN_CAPITALS
    return _NOT_LETTERS.sub(" ", code.sub(" ", text)).strip().casefold()


def _weights(text: str) -> NDArray[np.float64]:
    """How many Latin letters each character counts as."""
    weights = np.ones(len(text))
    if _DENSE.search(text):
        for script, weight in _WEIGHTS.items():
            weights[[found.start() for found in regex.finditer(rf"\p{{Script={script}}}", text)]] = weight
    return weights


def _repeated_share(text: str) -> float:
    text = _NOT_LETTERS.sub(" ", text)
    size = 5 if _DENSE.search(text) else 10
    strings = [text[start : start + size] for start in range(len(text) - size + 1)]
    return 1 - len(set(strings)) / len(strings) if strings else 0.0
