"""The walk over SQuAD's JSON; what it refuses is tested with its readers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.evaluation.squad import Answer, Question, sentence_at, squad_paragraphs


def test_a_file_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "de.json"
    content = {
        "data": [
            {"paragraphs": []},
            {
                "paragraphs": [
                    {"context": "Ja. Nein.", "sentence_breaks": [[0, 3], [4, 9]], "qas": []},
                    {
                        "context": "Ja.",
                        "qas": [
                            {"id": 5, "question": "Wie?", "answers": [{"answer_start": 0}], "is_impossible": False}
                        ],
                    },
                ]
            },
        ]
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    first, second = squad_paragraphs(path, "de")
    assert (first.article, first.number, first.text, first.breaks) == (1, 0, "Ja. Nein.", [(0, 3), (4, 9)])
    assert second.where == f"{path} (language de), article 1, paragraph 1"
    assert second.breaks is None
    assert second.questions == [Question("5", "Wie?", [Answer(0, None)])]


@pytest.mark.parametrize("value", [None, 3, ["Wer?"]])
def test_texts_are_text(value: object, tmp_path: Path) -> None:
    path = tmp_path / "de.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": value, "qas": []}]}]}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"article 0, paragraph 0: not in the SQuAD format .*is not text"):
        list(squad_paragraphs(path, "de"))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5))), st.integers(-1, 40))
def test_the_sentence_at_a_place(parts: list[tuple[int, int]], position: int) -> None:
    breaks, end = [], 0
    for gap, length in parts:
        breaks.append((end + gap, end := end + gap + length))
    holding = [number for number, (start, stop) in enumerate(breaks) if start <= position < stop]
    assert sentence_at(breaks, position) == (holding[0] if holding else None)
