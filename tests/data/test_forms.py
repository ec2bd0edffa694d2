"""Layouts of other tools: lists of passages, two languages per row, passages in a language of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from st_hybrid import parallel_pairs
from st_hybrid.data import Dropped, open_rows, write_rows
from st_hybrid.evaluation import RetrievalCollection


@pytest.fixture(params=["jsonl", "jsonl, by Python", "parquet", "folder"])
def write(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes rows to a file or folder and names it."""
    if "Python" in request.param:
        monkeypatch.setattr("st_hybrid.data.tables._json_by_arrow", lambda *_: None)

    written: list[Path] = []

    def write(rows: list[dict[str, Any]]) -> Path:
        written.append(tmp_path / str(len(written)))
        path = written[-1] / ("rows" if request.param == "folder" else f"rows.{request.param[:7].split(',')[0]}")
        path.parent.mkdir()
        if path.suffix == ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        else:
            write_rows(Dataset.from_list(rows), path)
        return path

    return write


def test_flag_embedding(write: Any) -> None:
    rows = [
        {"query": "Wer?", "pos": ["Ich.", "Er."], "neg": ["Nie.", "Nun."], "prompt": "x", "pos_scores": [0.5, 1]},
        {"query": "Wo?", "pos": ["Hier."], "neg": ["Nein."], "prompt": "x", "pos_scores": [1.0]},
        {"query": "Wann?", "pos": [], "neg": ["Nie.", "Nun."], "prompt": "x", "pos_scores": []},
    ]
    path = write(rows)
    found, report = open_rows(path, language="de", negatives=1)
    name = path.name
    assert [tuple(row.values()) for row in found] == [
        (f"{name}-1", "de", "Wer?", "Ich.", "Nie."),
        (f"{name}-1", "de", "Wer?", "Er.", "Nie."),
        (f"{name}-2", "de", "Wo?", "Hier.", "Nein."),
    ]
    assert found.column_names[-1] == "negative_1"
    assert (report.read, report.groups, report.dropped["no positive"].rows) == (4, 2, 1)
    assert report.dropped["no positive"].first in (f"{path}:3", f"{path}, row 3")
    assert open_rows(path, language="de", negatives=2).report.dropped["no negative_2"].rows == 1
    assert open_rows(path, language="de", negatives=0).rows.column_names == ["id", "language", "query", "positive"]
    with pytest.raises(ValueError, match=r"up to 2 negatives in a row\. Say how many to read: negatives=1, or data"):
        open_rows(path, language="de")
    with pytest.raises(ValueError, match=r"has no column 'language'; its columns are 'query', 'pos', 'neg'"):
        open_rows(path)


def test_tevatron(write: Any) -> None:
    rows = [
        {
            "query_id": "q1",
            "query": "Wer?",
            "positive_passages": [
                {"docid": "1", "title": "Ich", "text": "bin es."},
                {"docid": "2", "title": "", "text": "Er."},
            ],
            "negative_passages": [{"docid": "3", "title": "Nie", "text": "mals."}],
        }
    ]
    path = write(rows)
    found, report = open_rows(path, language="de", negatives=1)
    assert [tuple(row.values()) for row in found] == [
        ("q1", "de", "Wer?", "Ich bin es.", "Nie mals."),
        ("q1", "de", "Wer?", "Er.", "Nie mals."),
    ]
    assert (report.groups, report.sources) == (1, {str(path): 1})


def test_two_languages_in_a_row(write: Any) -> None:
    rows = [
        {
            "language1": "deu",
            "language2": other,
            "question1": "Wer?",
            "question2": f"{other}?",
            "answer1": "Ich.",
            "answer2": answer,
            "labse_similarity": 0.9,
        }
        for other, answer in (("eng", "I."), ("fra", "Moi."), ("ita", ""))
    ]
    path = write(rows)
    found, report = open_rows(path)
    assert [tuple(row.values()) for row in found] == [
        (f"{path.name}-1", "deu", "Wer?", "Ich."),
        (f"{path.name}-1", "eng", "eng?", "I."),
        (f"{path.name}-2", "deu", "Wer?", "Ich."),
        (f"{path.name}-2", "fra", "fra?", "Moi."),
        (f"{path.name}-3", "deu", "Wer?", "Ich."),
    ]
    assert report.dropped["no positive"].rows == 1
    assert open_rows(path, languages=["deu", "fra"]).report.languages == {"deu": 3, "fra": 1}
    with pytest.raises(ValueError, match="has columns for this, so language='de' has no effect"):
        open_rows(path, language="de")


def test_several_positives_of_a_query_stay_in_one_group(write: Any) -> None:
    rows = [
        {"id": 1, "language": "de", "query": "Wer?", "positive": "Ich."},
        {"id": 1, "language": "de", "query": "Wer?", "positive": "Er."},
        {"id": 1, "language": "en", "query": "Who?", "positive": "I."},
        {"id": 2, "language": "en", "query": "Where?", "positive": "Here."},
    ]
    found, report = open_rows(write(rows))
    assert found.to_list() == rows
    assert report.groups == 2
    pairs = parallel_pairs(found)
    assert sorted((pair["query"], pair["positive"]) for pair in pairs) == [
        ("Wer?", "Er."),
        ("Wer?", "I."),
        ("Wer?", "I."),
        ("Wer?", "Ich."),
        ("Where?", "Here."),
        ("Who?", "Er."),
        ("Who?", "I."),
        ("Who?", "Ich."),
    ]
    assert len({pair["label"][0] for pair in pairs}) == 2  # no batch holds two pairs of a group
    held_out = RetrievalCollection.from_rows(found)
    assert held_out.queries == ["Wer?", "Who?", "Where?"]
    relevant = zip(held_out.relevant_queries, held_out.relevant_passages, strict=True)
    # Each question once, with the same answers.
    answers = {(held_out.queries[query], held_out.passages[passage]) for query, passage in relevant}
    assert answers == {(pair["query"], pair["positive"]) for pair in pairs}
    assert len(held_out.relevant_queries) == len(answers)


@pytest.mark.parametrize("other", [{"query": "Wo?"}, {"positive": "Ich."}])
def test_an_id_with_two_queries_or_a_row_again(other: dict[str, str], write: Any) -> None:
    row = {"id": 1, "language": "de", "query": "Wer?", "positive": "Ich."}
    with pytest.raises(ValueError, match=r"one query per language and each positive once, but .* repeats \(1, 'de'\)"):
        open_rows(write([row, {**row, "positive": "Er.", **other}]))


def test_passages_in_a_language_of_their_own(write: Any, tmp_path: Path) -> None:
    rows = [{"_id": f"s{n}", "code": "bn", "query": f"{n}?", "title": "t", "text": f"{n}."} for n in range(3)]
    columns = {"id": "_id", "language": "code", "positive": "text"}
    found, report = open_rows(write(rows), columns=columns, passage_language="en")
    assert found[1] == {"id": "s1", "language": "bn", "query": "1?", "positive": "1.", "passage_language": "en"}
    assert report.languages == {"bn": 3}
    write_rows(found, tmp_path / "again.jsonl.gz")
    again = open_rows(tmp_path / "again.jsonl.gz").rows
    assert again.to_list() == found.to_list()
    pairs = parallel_pairs(again)
    assert [pair["label"][1:] for pair in pairs] == [[0, 1]] * 3  # asked in Bengali, answered in English
    same = again.map(lambda row: {"passage_language": row["language"]})
    assert [pair["label"][1:] for pair in parallel_pairs(same)] == [[0, 0]] * 3


def test_sentences_and_their_documents(write: Any, tmp_path: Path) -> None:
    rows = [
        {"id": number, "language": code, "page": f"d{number}" if number else None, "text": f"{number} {code}"}
        for number in range(2)
        for code in ("de", "en")
    ]
    sentences = write(rows)
    found = open_rows(sentences).rows
    assert found.column_names == ["id", "language", "query", "positive"]
    assert found["query"][:] == found["positive"][:] == ["0 de", "0 en", "1 de", "1 en"]
    found = open_rows(sentences, columns={"document": "page"}).rows
    assert found["document"][:] == [None, None, "d1", "d1"]
    write_rows(found, tmp_path / "again.jsonl.gz")
    again = open_rows(tmp_path / "again.jsonl.gz", columns={"document": "document"}).rows
    assert again.to_list() == found.to_list()
    assert open_rows(sentences, columns={"document": "chapter"}).rows.column_names == found.column_names[:4]
    questions = write([{"id": 1, "language": "de", "query": "Wo?", "positive": "Da.", "text": "other"}])
    assert open_rows(questions).rows[0]["positive"] == "Da."


def test_unknown_passage_languages(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    row = {"language": "bn", "passage_language": "english", "query": "?", "positive": "."}
    path.write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.jsonl:1: 'english' is not the code of a language"):
        open_rows(path)
    with pytest.raises(ValueError, match="has the column 'passage_language', so passage_language='en' cannot hold"):
        open_rows(path, passage_language="en")
    with pytest.raises(ValueError, match="passage_language: 'english' is not"):
        open_rows(path, passage_language="english")


def test_scores_and_ids_beside_negatives_are_left_alone(write: Any) -> None:
    row = {"id": 0, "language": "de", "query": "Wer?", "positive": "Ich.", "negative": "Nie.", "negative_2": "Nun."}
    extra = {"negative_score": 0.3, "negative_id": 7, "negative_2_score": 0.2, "negative_docid": "d7"}
    found = open_rows(write([{**row, **extra}])).rows
    assert found.to_list() == [row]
    assert len(parallel_pairs(Dataset.from_list([{**row, **extra}]))) == 1


def test_the_error_for_an_unknown_layout_names_those_that_are_known(write: Any) -> None:
    with pytest.raises(
        ValueError, match=r"Known layouts: id, language, query, positive; .* query_de.*query, pos, neg;.*"
    ):
        open_rows(write([{"anchor": "Wer?", "answer": "Ich."}]))
    with pytest.raises(ValueError, match="are read with read_squad"):
        open_rows(write([{"context": "c", "question": "Wer?", "answers": {"text": ["c"], "answer_start": [0]}}]))
    rows = [{"id": 1, "language": "de", "query": "Wer?", "positive": "Ich."}]
    with pytest.raises(ValueError, match=r"has columns for this, so negatives=2 has no effect"):
        open_rows(write(rows), negatives=2)


def test_dropped_lists_are_placed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"query": "Wer?", "pos": ["Ich.", "Er."]}, {"query": " ", "pos": ["Hier."]}, {"query": "Wo?", "pos": None}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    report = open_rows(path, language="de").report
    assert report.dropped == {"no query": Dropped(1, f"{path}:2"), "no positive": Dropped(1, f"{path}:3")}
