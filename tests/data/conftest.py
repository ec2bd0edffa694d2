"""Parallel rows and an evaluation set for the checks of data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset

SENTENCES = {
    "en": (
        "Who repairs the {0} behind the town hall of {1}?",
        "The {0} behind the town hall of {1} is repaired by {2}.",
    ),
    "de": ("Wer repariert {0} hinter dem Rathaus von {1}?", "Hinter dem Rathaus von {1} repariert {2} regelmäßig {0}."),
    "zh": ("谁在{1}市政厅后面修理{0}？", "{2}负责定期修理{1}市政厅后面的{0}，每年两次。"),
}
THINGS = ["clock", "fountain", "bicycle", "lantern", "bridge", "gate", "oven", "mill"]
PLACES = ["Quelltal", "Ostwick", "Brennau", "Lindholm", "Varnitz", "Tolmark", "Esperholt", "Grunau"]
PEOPLE = ["Ruta Malin", "Jonas Beck", "Ada Orsini", "Piet Kolk", "Zoe Frang", "Lev Sorin", "Mia Tann", "Ole Brugge"]


@pytest.fixture
def rows() -> Dataset:
    """Eight groups in three languages, each with a passage of its own."""
    return Dataset.from_list(
        [
            {
                "id": f"g{number}",
                "language": code,
                **{
                    column: text.format(THINGS[number], PLACES[number], PEOPLE[number])
                    for column, text in zip(("query", "positive"), texts, strict=True)
                },
            }
            for number in range(8)
            for code, texts in SENTENCES.items()
        ]
    )


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """A folder with data in XQuAD-R's format: the text of group g3 in English, edited, and another paragraph."""
    texts = {
        "en": [
            "The old lantern behind the town hall of Lindholm is repaird by Piet Kolk.",
            "Nobody else may touch it.",
        ],
        "de": ["Über Eulen weiß man in dieser Gegend wenig.", "Sie jagen nachts und schlafen am Tag."],
    }
    (tmp_path / "xquad-r").mkdir()
    for code, sentences in texts.items():
        start = len(sentences[0]) + 1
        paragraph = {
            "context": " ".join(sentences),
            "sentence_breaks": [[0, start - 1], [start, start + len(sentences[1])]],
            "qas": [{"id": "q0", "question": f"{code}: ?", "answers": [{"answer_start": 0, "text": "x"}]}],
        }
        content = {"data": [{"title": "t", "paragraphs": [paragraph]}]}
        (tmp_path / "xquad-r" / f"{code}.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path
