"""The texts of evaluation sets and of files."""

from __future__ import annotations

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
    with pytest.raises(FileNotFoundError, match="--data-dir"):
        read_evaluation_texts("MIRACL", tmp_path)
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
