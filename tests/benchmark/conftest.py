"""Evaluation data for the tests of benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

WORDS = {"en": ("Where is the {}?", "The {} is here."), "de": ("Wo ist {}?", "Hier ist {}.")}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks in two languages; the second lacks a question in one of them."""
    folder = tmp_path_factory.mktemp("data")
    for task, questions in (("xquad-r", {"en": 5, "de": 5}), ("mlqa-r", {"en": 4, "de": 3})):
        (folder / task).mkdir()
        for language, (query, answer) in WORDS.items():
            paragraphs = []
            for number in range(questions[language]):
                text = answer.format(f"thing {number}")
                question = query.format(f"thing {number}")
                entry = {"id": f"q{number}", "question": question, "answers": [{"answer_start": 0, "text": "x"}]}
                paragraphs.append({"context": text, "sentence_breaks": [[0, len(text)]], "qas": [entry]})
            content = {"data": [{"title": task, "paragraphs": paragraphs}]}
            (folder / task / f"{language}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
