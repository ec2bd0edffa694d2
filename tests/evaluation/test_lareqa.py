from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from st_hybrid.evaluation import PUBLISHED_COUNTS, RetrievalCollection, read_lareqa


def paragraph(language: str, number: int, sentences: int, questions: list[str]) -> dict[str, Any]:
    """A paragraph of numbered sentences; question k is answered in sentence k modulo their number."""
    texts = [f"{language} sentence {number}.{k} ends here." for k in range(sentences)]
    breaks, position = [], 0
    for text in texts:
        breaks.append([position, position + len(text)])
        position += len(text) + 1
    return {
        "context": " ".join(texts),
        "sentence_breaks": breaks,
        "qas": [
            {
                "id": identifier,
                "question": f"{language} question {identifier}?",
                "answers": [{"answer_start": breaks[k % sentences][0] + 3, "text": "sentence"}],
            }
            for k, identifier in enumerate(questions)
        ],
    }


def write(folder: Path, language: str, paragraphs: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{language}.json"
    articles = [{"title": "A", "paragraphs": paragraphs[:1]}, {"title": "B", "paragraphs": paragraphs[1:]}]
    path.write_text(json.dumps({"version": "1", "data": articles}), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two parallel languages with a different number of sentences."""
    for language, sentences in (("en", 3), ("th", 2)):
        paragraphs = [
            paragraph(language, 0, sentences, ["q0", "q1", "q2"]),
            paragraph(language, 1, sentences, ["q3"]),
        ]
        write(tmp_path / "xquad-r", language, paragraphs)
    return tmp_path / "xquad-r"


def counts(collection: RetrievalCollection) -> dict[str, tuple[int, int]]:
    queries, passages = collection.query_counts, collection.passage_counts
    return {language: (queries[language], passages[language]) for language in collection.languages}


def relevant_texts(collection: RetrievalCollection, query: str) -> set[str]:
    number = collection.queries.index(query)
    return {collection.passages[c] for c in collection.relevant_passages[collection.relevant_queries == number]}


def test_reads_sentences_questions_and_relevance(folder: Path) -> None:
    collection = read_lareqa(folder, ["en", "th"])
    assert collection.name == "XQuAD-R"
    assert collection.query_counts == {"en": 4, "th": 4}
    assert collection.passage_counts == {"en": 6, "th": 4}
    assert relevant_texts(collection, "en question q2?") == {"en sentence 0.2 ends here.", "th sentence 0.0 ends here."}
    assert relevant_texts(collection, "th question q3?") == {"en sentence 1.0 ends here.", "th sentence 1.0 ends here."}
    assert collection.passage_contexts is not None
    assert collection.passage_contexts.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3]
    assert len(set(collection.passage_ids)) == 10


def test_equal_sentences_are_separate_passages(tmp_path: Path) -> None:
    part = paragraph("en", 0, 2, ["q0"])
    part["context"] = "Same. Same."
    part["sentence_breaks"] = [[0, 5], [6, 11]]
    part["qas"][0]["answers"] = [{"answer_start": 6, "text": "Same"}]
    write(tmp_path, "en", [part])
    collection = read_lareqa(tmp_path)
    assert list(collection.passages) == ["Same.", "Same."]
    assert collection.relevant_passages.tolist() == [1]


def test_several_answers_make_several_sentences_relevant(tmp_path: Path) -> None:
    part = paragraph("en", 0, 3, ["q0"])
    starts = [start for start, _ in part["sentence_breaks"]]
    part["qas"][0]["answers"] = [{"answer_start": s, "text": "sentence"} for s in (starts[2], starts[0], starts[2] + 1)]
    write(tmp_path, "en", [part])
    assert read_lareqa(tmp_path).relevant_passages.tolist() == [0, 2]


def test_mlqa_questions_need_not_exist_in_every_language(tmp_path: Path) -> None:
    folder = tmp_path / "mlqa-r"
    write(folder, "en", [paragraph("en", 0, 2, ["q0", "q1"]), paragraph("en", 1, 2, ["q2"])])
    write(folder, "de", [paragraph("de", 0, 2, ["q1"])])
    write(folder, "es", [paragraph("es", 0, 2, ["q2", "q0"])])
    collection = read_lareqa(folder, ["de", "en", "es"])
    assert collection.query_counts == {"de": 1, "en": 3, "es": 2}
    assert relevant_texts(collection, "de question q1?") == {"de sentence 0.0 ends here.", "en sentence 0.1 ends here."}
    assert relevant_texts(collection, "en question q0?") == {"en sentence 0.0 ends here.", "es sentence 0.1 ends here."}


def test_published_counts_of_mlqa(tmp_path: Path) -> None:
    for language, (questions, sentences) in PUBLISHED_COUNTS["MLQA-R"].items():
        write(tmp_path / "mlqa-r", language, [paragraph(language, 0, sentences, [f"q{k}" for k in range(questions)])])
    collection = read_lareqa(tmp_path / "mlqa-r")
    assert counts(collection) == PUBLISHED_COUNTS["MLQA-R"]
    assert len(collection.passages) == 20534


def test_missing_language_file(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"XQuAD-R: .*xquad-r lacks de\.json, el\.json"):
        read_lareqa(folder, ["de", "el", "en"])
    assert read_lareqa(folder).languages == ("en", "th")  # by default all that are there
    with pytest.raises(FileNotFoundError, match=r"lacks <language>\.json files"):
        read_lareqa(folder / "none")


def overlap(part: dict[str, Any]) -> None:
    part["sentence_breaks"][1][0] -= 5


def leave(part: dict[str, Any]) -> None:
    part["sentence_breaks"][1][1] += 1


def shift(part: dict[str, Any]) -> None:
    part["qas"][0]["answers"][0]["answer_start"] = part["sentence_breaks"][0][1]


def repeat(part: dict[str, Any]) -> None:
    part["qas"].append(part["qas"][0])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (overlap, r"sentence break \(\d+, \d+\) overlaps"),
        (leave, r"sentence break \(\d+, \d+\) leaves the text of \d+ characters"),
        (shift, "answer to question 'q3' starts at character 26, outside every sentence"),
        (repeat, "question id 'q3' occurs twice"),
        (lambda part: part["qas"][0]["answers"].clear(), "question 'q3' has no answer"),
        (lambda part: part.pop("sentence_breaks"), "not in the LAReQA format .*sentence_breaks"),
        (lambda part: part["sentence_breaks"].append([3]), "not in the SQuAD format"),
        (lambda part: part["sentence_breaks"].append(["a", "b"]), "not in the SQuAD format"),
    ],
)
def test_damaged_paragraph(folder: Path, damage: Callable[[dict[str, Any]], Any], message: str) -> None:
    part = paragraph("th", 1, 2, ["q3"])
    damage(part)
    write(folder, "th", [paragraph("th", 0, 2, ["q0", "q1", "q2"]), part])
    with pytest.raises(ValueError, match=rf"th\.json \(language th\), article 1, paragraph 0: .*{message}"):
        read_lareqa(folder, ["en", "th"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"data": [', "is not valid JSON"),
        (b'{"data": "\xff"}', "is not UTF-8"),
        (b"[]", "has no 'data' list"),
        (b'{"data": 1}', "has no 'data' list"),
        (b'{"data": [{"title": "A"}]}', "article 0: it has no 'paragraphs' list"),
    ],
)
def test_malformed_file(folder: Path, content: bytes, message: str) -> None:
    (folder / "th.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"th\.json \(language th\).*{message}"):
        read_lareqa(folder, ["en", "th"])


@pytest.mark.skipif("ST_HYBRID_DATA" not in os.environ, reason="ST_HYBRID_DATA names no folder with xquad-r")
def test_published_counts_of_xquad() -> None:
    collection = read_lareqa(Path(os.environ["ST_HYBRID_DATA"]) / "xquad-r")
    assert counts(collection) == PUBLISHED_COUNTS["XQuAD-R"]
    assert np.bincount(collection.relevant_queries).tolist() == [11] * 13090
