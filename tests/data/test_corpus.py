"""Collections of one's own, from each layout that they come in."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from st_hybrid.data import open_collection
from st_hybrid.evaluation import RetrievalCollection

PASSAGES = {
    "p1": {"title": "Nests", "text": "They nest on chimneys.", "language": "en"},
    "p2": {"title": "", "text": "Sie nisten auf Kaminen.", "metadata": {"language": "de"}},
    "p3": {"text": "Es regnet selten.", "lang": "de"},
}
QUERIES = {
    "q1": {"text": "Where do storks nest?", "language": "en"},
    "q2": {"text": "Wo nisten Störche?", "language": "de"},
    "q3": {"text": "Why?", "language": "en"},
}
QRELS = "query-id\tcorpus-id\tscore\nq1\tp1\t2\nq1\tp2\t1\nq1\tp3\t0\nq2\tp2\t1\n"


def lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return folder


def beir(**changes: str | None) -> dict[str, str]:
    files: dict[str, str | None] = {
        "corpus.jsonl": lines([{"_id": key, **passage} for key, passage in PASSAGES.items()]),
        "queries.jsonl": lines([{"_id": key, **query} for key, query in QUERIES.items()]),
        "qrels/test.tsv": QRELS,
    }
    return {name: text for name, text in {**files, **changes}.items() if text is not None}


def pairs(collection: RetrievalCollection) -> dict[tuple[str, str], float]:
    """The grade of each relevant pair."""
    assert collection.grades is not None
    found = zip(collection.relevant_queries, collection.relevant_passages, collection.grades, strict=True)
    return {(collection.query_ids[query], collection.passage_ids[passage]): grade for query, passage, grade in found}


def test_the_layout_of_beir(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    collection = open_collection(write(tmp_path / "storks", beir()))
    assert collection.name == "storks"
    assert list(collection.queries) == ["Where do storks nest?", "Wo nisten Störche?"]
    assert list(collection.passages) == [
        "Nests They nest on chimneys.",
        "Sie nisten auf Kaminen.",
        "Es regnet selten.",
    ]
    assert collection.query_counts == {"de": 1, "en": 1}
    assert collection.passage_counts == {"de": 2, "en": 1}
    assert pairs(collection) == {("q1", "p1"): 2, ("q1", "p2"): 1, ("q2", "p2"): 1}
    assert "1 queries without a relevant passage are left out" in caplog.text


@pytest.mark.parametrize(
    "files",
    [
        {"corpus.jsonl": None, "corpus.jsonl.gz": beir()["corpus.jsonl"]},
        {"qrels/test.tsv": None, "qrels/dev.tsv": QRELS},  # the only split
        {"qrels/train.tsv": "query-id\tcorpus-id\tscore\nq3\tp1\t1\n"},
        {"qrels/test.tsv": QRELS.partition("\n")[2]},  # no header
        {
            "qrels/test.tsv": None,
            "qrels/test.jsonl": lines(
                [
                    {"query-id": q, "corpus-id": p, "score": s}
                    for q, p, s in (("q1", "p1", 2), ("q1", "p2", 1), ("q2", "p2", 1))
                ]
            ),
        },
        {"corpus.jsonl": beir()["corpus.jsonl"].replace('"_id"', '"id"')},
    ],
)
def test_its_variants(files: dict[str, str | None], tmp_path: Path) -> None:
    collection = open_collection(write(tmp_path, beir(**files)))
    assert pairs(collection) == {("q1", "p1"): 2, ("q1", "p2"): 1, ("q2", "p2"): 1}


def test_the_layout_of_mlir_benchmarks(tmp_path: Path) -> None:
    """A passage or a judged query is one key of a line; in MLIR-en, English questions have no language."""
    corpus = lines([{"d1": {"text": "On roofs.", "lang": "en"}}, {"d2": {"text": "Op daken.", "lang": "dt"}}])
    qrels = lines([{"q1": {"d1": 1, "d2": 1}}])
    one = {"corpus.jsonl": corpus, "qrels.jsonl": qrels, "queries.jsonl": lines([{"_id": "q1", "text": "Where?"}])}
    collection = open_collection(write(tmp_path / "MLIR-en" / "Roofs_test", one))
    assert collection.name == "Roofs_test"
    assert collection.query_counts == {"en": 1, "nl": 0}
    assert collection.passage_counts == {"en": 1, "nl": 1}
    assert pairs(collection) == {("q1", "d1"): 1, ("q1", "d2"): 1}

    several = {**one, "queries.jsonl": lines([{"_id": "q1", "text": "Waar?", "lang": "dt"}])}
    assert open_collection(write(tmp_path / "MMLIR" / "Roofs_test", several)).query_counts == {"en": 0, "nl": 1}
    plain = {**one, "queries.jsonl": lines([{"q1": "Waar?"}])}
    assert open_collection(write(tmp_path / "MLIR-dt" / "other", plain)).query_counts == {"en": 0, "nl": 1}


def test_parallel_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        {"id": 1, "language": "en", "question": "Where?", "positive": "Here."},
        {"id": 1, "language": "de", "question": "Wo?", "positive": "Hier."},
        {"id": 2, "language": "de", "question": "", "positive": "Dort."},
    ]
    path = write(tmp_path, {"faq.jsonl": lines(rows)}) / "faq.jsonl"
    collection = open_collection(path, columns={"query": "question"})
    assert (collection.name, collection.query_counts) == ("faq", {"de": 1, "en": 1})
    assert len(collection.relevant_queries) == 4
    assert "no query" in caplog.text
    assert open_collection(path, columns={"query": "question"}, name="questions").name == "questions"


def test_codes_of_one_language_are_one_language(tmp_path: Path) -> None:
    files = beir()
    files["corpus.jsonl"] = files["corpus.jsonl"].replace('"de"', '"deu_Latn"')
    assert open_collection(write(tmp_path, files)).languages == ["de", "en"]


def test_languages_are_detected_where_no_text_has_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("lingua")
    sentences = {
        "de": "Der Bäcker Nummer {} öffnet seinen Laden jeden Morgen um sechs Uhr und verkauft frisches Brot.",
        "en": "Baker number {} opens the shop every morning at six o'clock and sells fresh bread to everyone.",
        "el": "Ο αρτοποιός με αριθμό {} ανοίγει το κατάστημα κάθε πρωί στις έξι και πουλάει φρέσκο ψωμί.",
    }
    corpus = [{"_id": f"{code}{n}", "text": text.format(n)} for n in range(20) for code, text in sentences.items()]
    queries = [{"_id": "q", "text": "When does the baker with number seven open the shop in the morning?"}]
    files = {
        "corpus.jsonl": lines(corpus),
        "queries.jsonl": lines(queries),
        "qrels/test.tsv": "q\ten7\t1\nq\tde7\t1\n",
    }
    with caplog.at_level(logging.WARNING):
        collection = open_collection(write(tmp_path / "bakers", files))
    assert collection.passage_counts == {"de": 20, "el": 20, "en": 20}
    assert collection.query_counts == {"de": 0, "el": 0, "en": 1}
    assert all(
        passage.startswith(collection.languages[code])
        for passage, code in zip(collection.passage_ids, collection.passage_languages, strict=True)
    )
    assert "has no field 'language'. Detected:" in caplog.text
    given = open_collection(tmp_path / "bakers", language="en")
    assert given.passage_counts == {"en": 60}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"queries.jsonl": None}, "has no queries.jsonl"),
        ({"qrels/test.tsv": None}, "has no judgements"),
        ({"qrels/test.tsv": None, "qrels/a.tsv": QRELS, "qrels/b.tsv": QRELS}, "has the splits a, b, not 'test'"),
        ({"qrels/test.tsv": QRELS + "q9\tp1\t1\n"}, r"test.tsv:6: queries.jsonl has no id 'q9'"),
        ({"qrels/test.tsv": QRELS + "q1\tp9\t1\n"}, r"test.tsv:6: corpus.jsonl has no id 'p9'"),
        ({"qrels/test.tsv": QRELS + "q1 p1 1\n"}, r"test.tsv:6: 1 columns"),
        ({"qrels/test.tsv": QRELS + "q2\tp1\tyes\n"}, r"test.tsv:6: the score 'yes' is not a number"),
        ({"qrels/test.tsv": QRELS + "q1\tp1\t1\n"}, r"test.tsv:6: another score for query 'q1' and passage 'p1'"),
        ({"qrels/test.tsv": "q1\tp1\t0\n"}, "no judgement is above 0"),
        ({"corpus.jsonl": beir()["corpus.jsonl"] + '{"_id": "p1", "text": "x"}\n'}, r"corpus.jsonl:4: the id 'p1' occ"),
        ({"corpus.jsonl": beir()["corpus.jsonl"] + '{"_id": "p4", "text": 5}\n'}, r"corpus.jsonl:4: 'p4' has no text"),
        (
            {"corpus.jsonl": beir()["corpus.jsonl"] + '{"_id": "p4", "text": "x"}\n'},
            r"corpus.jsonl:4: no language, tho",
        ),
        ({"corpus.jsonl": beir()["corpus.jsonl"] + "[1]\n"}, r"corpus.jsonl:4: not an object"),
        ({"corpus.jsonl": beir()["corpus.jsonl"] + "{\n"}, r"corpus.jsonl:4: not valid JSON"),
        (
            {"queries.jsonl": '{"_id": "q1", "text": "\\ud800", "lang": "de"}\n'},
            r"queries.jsonl:1: half of a surrogate",
        ),
        (
            {"queries.jsonl": '{"_id": "q1", "text": "x", "lang": "german"}\n'},
            r"queries.jsonl:1: 'german' .* mean 'de'",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(files: dict[str, str | None], message: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_collection(write(tmp_path, beir(**files)))


def test_some_languages(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    collection = open_collection(write(tmp_path, beir()), languages=["de"])
    assert (collection.languages, collection.query_counts, collection.passage_counts) == (["de"], {"de": 1}, {"de": 2})
    assert pairs(collection) == {("q2", "p2"): 1}
    assert "2 queries without a relevant passage are left out" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"query": "question"}}, "columns has no effect"),
        ({"language": "de"}, "language='de' has no effect"),
        ({"language": "german"}, "'german' is not the code of a language"),
        ({"split": "dev"}, "has the splits test, not 'dev'"),
        ({"languages": ["fr"]}, "has no text in fr, only in de, en"),
    ],
)
def test_options_without_effect_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        open_collection(write(tmp_path, beir()), **options)


def test_the_command_evaluates_on_it(st_hybrid: Callable[..., str], tiny_model_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores.json"
    folder = write(tmp_path / "storks", beir())
    told = st_hybrid("evaluate", "--model", tiny_model_path, "--data", folder, "--output", output)
    assert "storks in 2 languages: 2 queries, 3 passages" in told
    assert "1 queries have relevant passages in one language only" in " ".join(told.split())
    scores = json.loads(output.read_text(encoding="utf-8"))["tasks"]["storks"]
    assert set(scores["per_pair"]) == {"de-de", "de-multi", "en-de", "en-en", "en-multi"}
    assert scores["counts"]["empty_settings"] == scores["counts"]["one_language"] == 1
    message = st_hybrid("evaluate", "--model", tiny_model_path, "--split", "dev", "--output", output, status=1)
    assert message == "split has no effect without data. Leave it out, or give both."
