"""How well decontamination finds XQuAD-R in training rows: planted, verbatim and edited, and what it flags in error.

    python benchmarks/decontamination.py --data ROWS.jsonl.gz --evaluation-data DIR

plants rows made of XQuAD-R's questions and the sentences that answer them among the given rows, edited in the ways
that ``EDITS`` names, and searches for them with several settings. Recall is the share of planted rows that are found.
Rows of the data that are found are false positives, provided that the data have nothing to do with XQuAD-R; the first
are printed beside the evaluation text, to be judged by eye. Everything is drawn with seed 0. Writes
``benchmarks/results/decontamination.json``.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import string
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets

from st_hybrid.data import open_rows
from st_hybrid.data.decontamination import OverlapSettings, decontaminate
from st_hybrid.data.evaluation_texts import read_evaluation_texts
from st_hybrid.evaluation import read_lareqa
from st_hybrid.files import write_json
from st_hybrid.provenance import provenance

RESULT = Path(__file__).parent / "results" / "decontamination.json"
DEFAULT = OverlapSettings()
SETTINGS = [
    DEFAULT,
    *(OverlapSettings(ngram=n, threshold=t) for n, t in ((5, 0.6), (6, 0.6), (7, 0.4), (7, 0.6), (9, 0.5))),
]
UNSPACED = {"ja", "th", "zh"}
SHOWN = 25

Edit = Callable[[str, str, random.Random, Callable[[str], str]], str]


def pieces(text: str, language: str) -> list[str]:
    """Words, or pairs of characters in a script without spaces."""
    return [text[i : i + 2] for i in range(0, len(text), 2)] if language in UNSPACED else text.split()


def joined(parts: list[str], language: str) -> str:
    """The opposite of pieces."""
    return ("" if language in UNSPACED else " ").join(parts)


def verbatim(text: str, language: str, draw: random.Random, other: Callable[[str], str]) -> str:
    """Unchanged."""
    return text


def typography(text: str, language: str, draw: random.Random, other: Callable[[str], str]) -> str:
    """In capitals, ASCII punctuation taken out, spaces doubled."""
    return text.upper().translate(dict.fromkeys(map(ord, string.punctuation))).replace(" ", "  ")


def typos(text: str, language: str, draw: random.Random, other: Callable[[str], str]) -> str:
    """A character in 20, at least one, replaced, dropped or swapped with the next."""
    characters = list(text)
    for place in draw.sample(range(len(characters) - 1), max(1, len(characters) // 20)):
        kind = draw.choice(("replace", "drop", "swap"))
        if kind == "swap":
            characters[place], characters[place + 1] = characters[place + 1], characters[place]
        else:
            characters[place] = draw.choice(text) if kind == "replace" else ""
    return "".join(characters)


def dropped(text: str, language: str, draw: random.Random, other: Callable[[str], str]) -> str:
    """A word in seven, at least one, dropped; pairs of characters in Chinese and Thai."""
    parts = pieces(text, language)
    gone = set(draw.sample(range(len(parts)), max(1, len(parts) // 7)))
    return joined([part for i, part in enumerate(parts) if i not in gone], language)


def added(text: str, language: str, draw: random.Random, other: Callable[[str], str]) -> str:
    """A word in seven, at least one, added, of the language's letters at random; pairs in Chinese and Thai."""
    parts, more = pieces(text, language), pieces(other(language), language)
    for _ in range(max(1, len(parts) // 7)):
        parts.insert(draw.randrange(len(parts) + 1), draw.choice(more))
    return joined(parts, language)


def cut(text: str, language: str, draw: random.Random, other: Callable[[str], str]) -> str:
    """Only the first or the last 60% of the words."""
    parts = pieces(text, language)
    kept = max(1, round(len(parts) * 0.6))
    return joined(parts[:kept] if draw.random() < 0.5 else parts[-kept:], language)


def embedded(text: str, language: str, draw: random.Random, other: Callable[[str], str]) -> str:
    """Between two texts of 30 such words each."""
    return f"{other(language)} {text} {other(language)}"


def several(text: str, language: str, draw: random.Random, other: Callable[[str], str]) -> str:
    """Cut to 60%, words added, and typos."""
    for edit in (cut, added, typos):
        text = edit(text, language, draw, other)
    return text


EDITS: dict[str, Edit] = {
    edit.__name__: edit for edit in (verbatim, typography, typos, dropped, added, cut, embedded, several)
}


def planted_rows(folder: Path, per_edit: int) -> Dataset:
    """Rows of XQuAD-R, ``per_edit`` of each kind over all languages; no question twice."""
    draw = random.Random(0)
    collection = read_lareqa(folder)
    languages = [collection.languages[number] for number in collection.query_languages]
    first = np.unique(collection.relevant_queries, return_index=True)[1]
    answer = dict(zip(collection.relevant_queries[first].tolist(), collection.relevant_passages[first], strict=True))
    # What is added must not be XQuAD-R's own words, so words are made up of the language's letters.
    letters = {
        code: [
            c
            for q, spoken in zip(collection.queries, languages, strict=True)
            if spoken == code
            for c in q
            if c.isalpha()
        ]
        for code in collection.languages
    }

    def other(code: str) -> str:
        words = ["".join(draw.choices(letters[code], k=draw.randint(2, 9))) for _ in range(30)]
        return joined(words, code)

    rows = []
    numbers = draw.sample(sorted(answer), per_edit * len(EDITS))
    for place, number in enumerate(numbers):
        name = list(EDITS)[place % len(EDITS)]
        code, edit = languages[number], EDITS[name]
        question, sentence = collection.queries[number], collection.passages[answer[number]]
        texts = {
            column: edit(text, code, draw, other) for column, text in (("query", question), ("positive", sentence))
        }
        rows.append({"id": f"planted {name} {place}", "language": code, **texts})
    return Dataset.from_list(rows)


def measure(rows: Dataset, plants: Dataset, sets: Any, settings: OverlapSettings) -> dict[str, Any]:
    """Recall of each edit and language, and false positives."""
    together = concatenate_datasets([rows, plants.cast(rows.features)])
    wall, cpu = time.perf_counter(), time.process_time()
    found = decontaminate(together, sets, settings)
    seconds = {"wall": round(time.perf_counter() - wall, 1), "cpu": round(time.process_time() - cpu, 1)}
    matches = found.matches.to_pylist()
    hits: dict[str, set[int]] = {
        column: {m["row"] - 1 for m in matches if m["column"] == column} for column in ("query", "positive")
    }
    flagged = hits["query"] | hits["positive"]
    planted = range(len(rows), len(together))
    of_edit = {name: [row for row in planted if f" {name} " in plants[row - len(rows)]["id"]] for name in EDITS}
    codes = plants["language"][:]
    of_language = {code: [row for row in planted if codes[row - len(rows)] == code] for code in sorted(set(codes))}

    def share(hit: set[int], among: Any) -> float:
        return round(sum(row in hit for row in among) / len(among), 4)

    wrong = sorted(row for row in flagged if row < len(rows))
    right = sum(row in flagged for row in planted)
    return {
        "ngram": settings.ngram,
        "threshold": settings.threshold,
        "min_letters": settings.min_letters,
        "seconds": seconds,
        "recall": share(flagged, planted),
        "precision": round(right / max(1, right + len(wrong)), 4),
        "false_positives": {"rows": len(wrong), "share": round(len(wrong) / len(rows), 6)},
        "recall_by_edit": {
            name: {"row": share(flagged, among), **{column: share(hit, among) for column, hit in hits.items()}}
            for name, among in of_edit.items()
        },
        "recall_by_language": {code: share(flagged, among) for code, among in of_language.items()},
        "wrong": [match for match in matches if match["row"] <= len(rows)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="parallel rows to plant among")
    parser.add_argument("--evaluation-data", type=Path, required=True, help="folder that holds xquad-r/<lang>.json")
    parser.add_argument("--planted", type=int, default=275, help="rows of each edit")
    given = parser.parse_args()
    rows = open_rows(given.data).rows.select_columns(["id", "language", "query", "positive"])
    plants = planted_rows(given.evaluation_data / "xquad-r", given.planted)
    sets = [read_evaluation_texts("XQuAD-R", given.evaluation_data)]
    texts = dict(zip(sets[0].ids.to_pylist(), sets[0].texts.to_pylist(), strict=True))
    results = []
    for settings in SETTINGS:
        result = measure(rows, plants, sets, settings)
        wrong = sorted(result.pop("wrong"), key=lambda match: -match["overlap"])
        results.append(result)
        print(json.dumps(result, indent=1), flush=True)
        if settings is DEFAULT:
            listed = wrong[:SHOWN]
            for match in listed:
                print(
                    match["overlap"], rows[match["row"] - 1][match["column"]], texts[match["evaluation_id"]], sep=" | "
                )
    content = {
        **provenance(),
        "seed": 0,
        "data": {"rows": len(rows), "evaluation_texts": len(texts)},
        "planted": {"rows": len(plants), "edits": {name: edit.__doc__ for name, edit in EDITS.items()}},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "results": results,
        "false_positives_by_default": listed,
    }
    write_json(RESULT, content)


if __name__ == "__main__":
    main()
