"""How many good translations do the checks mark, and how many bad ones do they find?

    python benchmarks/translation_checks.py --rows data/help-parallel.jsonl.gz \
        --output benchmarks/results/translation_checks.json

Good translations are by people: pairs of rows that share an id, in two random languages. Bad translations are made
from them: the source copied whole or by half, a translation into another language, half a translation, a translation
that repeats itself, or another text. ``found`` is the share that fails any check, ``by`` the share that fails each
check. The groups on which the defaults of the checks were set (the first ``--tuned`` of a seeded shuffle) are left out.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from st_hybrid.data import open_rows
from st_hybrid.files import write_json
from st_hybrid.languages import LanguageDetector, language_scripts
from st_hybrid.provenance import provenance
from st_hybrid.translation import REASONS, Checks

WITHOUT_SPACES = ("ja", "th", "zh")


class Pair(NamedTuple):
    """A source and its translation, with what a bad translation can be made of."""

    source: str
    text: str
    language: str
    others: dict[str, str]  # the group's texts in further languages
    foreign: str  # a text in the same language of another group


def draw(groups: list[dict[str, dict[str, str]]], column: str, number: int, seed: int) -> list[Pair]:
    """Pairs of languages of a group, at random."""
    drawn = np.random.default_rng(seed)
    pairs = []
    while len(pairs) < number:
        group, other = (groups[place] for place in drawn.integers(len(groups), size=2))
        if len(group) < 2:
            continue
        source, target = drawn.choice(sorted(group), size=2, replace=False).tolist()
        if target not in other or other is group or not group[source][column] or not group[target][column]:
            continue
        texts = {code: row[column] for code, row in group.items() if code not in (source, target)}
        pairs.append(Pair(group[source][column], group[target][column], target, texts, other[target][column]))
    return pairs


def halves(text: str, language: str) -> tuple[str, str]:
    """A text in two, between words where words are apart."""
    parts = list(text) if language in WITHOUT_SPACES else text.split()
    glue = "" if language in WITHOUT_SPACES else " "
    return glue.join(parts[: len(parts) // 2]), glue.join(parts[len(parts) // 2 :])


def half_copied(pair: Pair) -> str | None:
    """The first half of the source, the second half of the translation."""
    begun, rest = pair.source[: len(pair.source) // 2], halves(pair.text, pair.language)[1]
    return f"{begun} {rest}" if begun and rest else None


def in_another(pair: Pair, *, same_script: bool) -> str | None:
    """The group's text in another language, of the same script or of another one."""
    scripts = language_scripts(pair.language)
    found = [text for code, text in pair.others.items() if bool(scripts & language_scripts(code)) is same_script]
    return found[0] if found else None


def circling(pair: Pair) -> str:
    """A translation whose last words come eight times more."""
    parts = list(pair.text) if pair.language in WITHOUT_SPACES else pair.text.split()
    glue = "" if pair.language in WITHOUT_SPACES else " "
    return glue.join([*parts, *parts[-3:] * 8])


KINDS: dict[str, Callable[[Pair], str | None]] = {
    "good": lambda pair: pair.text,
    "nothing": lambda pair: "…",
    "the source": lambda pair: pair.source if pair.source != pair.text else None,
    "half the source": half_copied,
    "another script": lambda pair: in_another(pair, same_script=False),
    "another language, same script": lambda pair: in_another(pair, same_script=True),
    "the first half": lambda pair: halves(pair.text, pair.language)[0] or None,
    "round in circles": circling,
    "another text": lambda pair: pair.foreign,
}


def measure(pairs: list[Pair], kind: Callable[[Pair], str | None], detector: LanguageDetector) -> dict[str, Any]:
    """What the checks say of translations of one kind."""
    checks = Checks()
    made = [(pair, text) for pair in pairs if (text := kind(pair)) is not None]
    parts = []
    for language in sorted({pair.language for pair, _ in made}):
        chosen = [(pair.source, text) for pair, text in made if pair.language == language]
        parts.append(checks.run(*map(list, zip(*chosen, strict=True)), language, detector=detector))
    failed = np.concatenate(parts)
    by = dict(zip(REASONS, failed.mean(axis=0).tolist(), strict=True))
    return {
        "texts": len(failed),
        "found": round(float(failed.any(axis=1).mean()), 4),
        "by": {name: round(share, 4) for name, share in by.items() if share},
    }


def main() -> None:
    """Measure all kinds, of queries and of positives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", required=True, help="parallel rows in several languages")
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--tuned", type=int, default=3000, help="groups to leave out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    groups: dict[Any, dict[str, dict[str, str]]] = {}
    for row in open_rows(given.rows).rows:
        groups.setdefault(row["id"], {})[row["language"]] = row
    names = sorted(groups)
    random.Random(given.seed).shuffle(names)
    kept = [groups[name] for name in names[given.tuned :]]
    languages = sorted({code for group in kept for code in group})
    detector = LanguageDetector(languages)
    results: dict[str, Any] = {}
    began = time.perf_counter()
    for column in ("query", "positive"):
        pairs = draw(kept, column, given.pairs, given.seed)
        results[column] = {}
        for name, kind in KINDS.items():
            results[column][name] = measure(pairs, kind, detector)
            print(column, name, results[column][name], flush=True)
    checked = sum(kind["texts"] for part in results.values() for kind in part.values())
    if given.output:
        about = provenance()
        about["versions"]["lingua-language-detector"] = version("lingua-language-detector")
        report = {
            "what": "share of translations that fail a check; all kinds but 'good' are bad translations",
            **about,
            "rows": Path(given.rows).name,
            "groups": len(kept),
            "languages": languages,
            "seed": given.seed,
            "milliseconds per text": round(1000 * (time.perf_counter() - began) / checked, 2),
            "results": results,
        }
        write_json(given.output, report)


if __name__ == "__main__":
    main()
