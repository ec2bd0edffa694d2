"""The rows that the recipe trains on, as one file: questions of people in four languages, and human translations.

    python benchmarks/recipe_data.py --data-dir data --output data/recipe.jsonl.gz

``--data-dir`` holds ``xquad-r``, ``qa`` and ``bitext``. Monolingual pairs are questions that people asked in Arabic,
Chinese, Japanese and Thai; cross-lingual pairs are human translations of news and of messages of programs, in the nine
languages of the hybrid batch training paper and ten others, without Greek and Vietnamese. Rows that share text with
XQuAD-R are left out, with their translations.
"""

import argparse
from pathlib import Path

import numpy as np
from datasets import Dataset

from st_hybrid import join_rows
from st_hybrid.data import decontaminate, open_rows, read_evaluation_texts, read_squad, write_rows
from st_hybrid.data.squad import Positive

QUESTION_SETS: tuple[tuple[str, str, str, Positive], ...] = (
    ("ar", "arcd", "ar-arcd.json", "sentence"),
    ("zh", "cmrc", "zh-cmrc2018.json", "sentence"),
    ("zh", "drcd", "zh-drcd.json", "sentence"),
    ("ja", "jaquad", "ja-jaquad.json.gz", "sentence"),
    ("th", "iapp", "th-iapp.jsonl", "paragraph"),  # whose sentences no splitter finds
)
UNSEEN = ("el", "vi")  # as in the paper
MESSAGES, SHORTEST = 3000, 40  # letters; of dense scripts a third
DOCUMENT = {"document": "document"}  # the column that says which news lie side by side


def read_sets(folder: Path, messages: int | None = MESSAGES) -> dict[str, Dataset]:
    """The sets of questions, the news and some or all messages of programs, without texts of XQuAD-R."""
    sets = {
        f"{language} {name}": read_squad({language: folder / "qa" / file}, positive=positive).rows
        for language, name, file, positive in QUESTION_SETS
    }
    for name in ("ntrex", "software"):
        rows = open_rows(folder / "bitext" / f"{name}.jsonl.gz", columns=DOCUMENT).rows
        sets[name] = rows.select(np.flatnonzero(~np.isin(rows["language"][:], UNSEEN)))
    software = sets["software"]
    long = [
        len(text) >= SHORTEST / (3 if language in ("ja", "ko", "zh") else 1)
        for language, text in zip(software["language"][:], software["query"][:], strict=True)
    ]
    software = software.select(np.flatnonzero(long))
    ids = np.array(software["id"][:])
    drawn = np.random.default_rng(0).permutation(np.unique(ids))[:messages]
    sets["software"] = software.select(np.flatnonzero(np.isin(ids, drawn)))
    evaluated = [read_evaluation_texts("XQuAD-R", folder)]
    return {name: decontaminate(rows, evaluated).clean for name, rows in sets.items()}


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="file of rows, such as recipe.jsonl.gz")
    given = parser.parse_args()
    sets = read_sets(given.data_dir)
    write_rows(join_rows(sets, columns=DOCUMENT), given.output)
    print(", ".join(f"{name} {len(rows):,}" for name, rows in sets.items()))


if __name__ == "__main__":
    main()
