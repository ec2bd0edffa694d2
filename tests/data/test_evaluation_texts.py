"""The texts of evaluation sets and of files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from st_hybrid.data.evaluation_texts import read_evaluation_texts


def test_lareqa_gives_questions_and_sentences(evaluation: Path) -> None:
    read = read_evaluation_texts("xquad-r", evaluation, verify=False)
    assert read.name == "XQuAD-R"
    by_id = dict(zip(read.ids.to_pylist(), read.texts.to_pylist(), strict=True))
    assert len(by_id) == 2 + 4
    assert by_id["de question q0"] == "de: ?"
    assert "Nobody else may touch it." in by_id.values()


def test_only_the_published_files_count_as_published(evaluation: Path) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match="XQuAD-R"):
        read_evaluation_texts("XQuAD-R", evaluation)


def test_miracl_gives_queries_and_judged_passages(write_miracl: Callable[..., Path]) -> None:
    folder = write_miracl(["sw", "yo"], passages=9, queries=3)
    read = read_evaluation_texts("MIRACL", folder)
    assert len(read.texts) == 2 * (3 + 4)  # passages 0 to 3 are judged
    by_id = dict(zip(read.ids.to_pylist(), read.texts.to_pylist(), strict=True))
    assert by_id["yo query q1"] == 'Where is "word1"?'
    assert by_id["sw passage 3#0"] == "Passage sw 3 about word3."
    assert "sw passage 5#0" not in by_id


def test_belebele_gives_questions_and_passages(tmp_path: Path) -> None:
    """As on the hub: a file of JSON lines per language, in which two questions share a passage."""
    for code in ("deu_Latn", "eng_Latn"):
        rows = [
            {
                "link": "https://example.org/harbour",
                "question_number": number,
                "flores_passage": f"{code}: The harbour froze.",
                "question": f"{code}: What froze {number}?",
                **{f"mc_answer{answer}": f"{code}: answer {answer}" for answer in range(1, 5)},
                "correct_answer_num": "1",
                "dialect": code,
                "ds": "2023-05-03",
            }
            for number in (1, 2)
        ]
        path = tmp_path / "belebele" / "data" / f"{code}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    read = read_evaluation_texts("belebele", tmp_path)
    by_id = dict(zip(read.ids.to_pylist(), read.texts.to_pylist(), strict=True))
    assert (read.name, len(by_id)) == ("Belebele", 2 * (1 + 2))
    assert by_id["flores_passage at deu_Latn.jsonl:1"] == "deu_Latn: The harbour froze."
    assert by_id["question at eng_Latn.jsonl:2"] == "eng_Latn: What froze 2?"


def test_multieup_gives_topics_and_speeches(tmp_path: Path) -> None:
    """As published: a table of speeches, each in one language, with its topic in all; some topics are missing."""
    columns = ["did", "TEXT", "DATE", "LANGUAGE", "MEPID", "title_EN", "title_DE", "title_GA", "qid_EN"]
    rows = [
        ["1", "Madam President,\nthe nets are empty.", "2020-01-01", "EN", "7", "Fisheries", "Fischerei", "", "q1"],
        ["2", "Die Netze sind leer.", "2020-01-01", "DE", "8", "Fisheries", "Fischerei", "null", "q1"],
    ]
    (tmp_path / "multi-eup").mkdir()
    with (tmp_path / "multi-eup" / "MultiEuP.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    read = read_evaluation_texts("MultiEuP", tmp_path)
    texts = {"Madam President,\nthe nets are empty.", "Die Netze sind leer.", "Fisheries", "Fischerei", "null"}
    assert set(read.texts.to_pylist()) == texts
    assert "title_DE at MultiEuP.csv:2" in read.ids.to_pylist()


def test_files_of_texts(tmp_path: Path) -> None:
    lines = tmp_path / "held-out.txt"
    lines.write_text("First text.\n\n  \nSecond text.\n", encoding="utf-8")
    read = read_evaluation_texts(str(lines))
    assert read.texts.to_pylist() == ["First text.", "Second text."]
    assert read.ids.to_pylist() == ["line 1", "line 4"]

    table = tmp_path / "table.jsonl"
    rows = [{"id": "a", "language": "en", "question": "Who?", "answer": "Ada."}, {"id": "b", "question": "Why?"}]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    read = read_evaluation_texts(str(table))
    assert sorted(read.texts.to_pylist()) == ["Ada.", "Who?", "Why?"]
    assert "question 2" in read.ids.to_pylist()


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match="neither a file nor one of the evaluation sets XQuAD-R, MLQA-R, MIRACL"
    ):
        read_evaluation_texts(str(tmp_path / "missing.txt"))
    for name in ("MIRACL", "Belebele", "MultiEuP"):
        with pytest.raises(FileNotFoundError, match=f"{name}: .* holds no .*--data-dir"):
            read_evaluation_texts(name, tmp_path)
    empty = tmp_path / "empty.txt"
    empty.write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no texts"):
        read_evaluation_texts(str(empty))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("latin.txt", "Müller\n".encode("latin-1"), "not a file of txt in UTF-8"),
        ("broken.jsonl", b"{", "not a file of jsonl"),
        ("text.docx", b"", "Convert the file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_evaluation_texts(str(tmp_path / name))
