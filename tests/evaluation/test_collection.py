from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from st_hybrid.evaluation import RetrievalCollection, score_queries
from st_hybrid.evaluation.scoring import encode_collection


@pytest.fixture
def collection() -> RetrievalCollection:
    """40 questions in two languages over 20 passages of three sentences; question q is answered in passage q // 2."""
    query = np.arange(80)
    sentence = (query % 40) // 2 * 3 + query % 2
    return RetrievalCollection(
        name="numbers",
        languages=("en", "de"),
        query_ids=[f"q{k % 40}" for k in query],
        queries=[f"question {k}" for k in query],
        query_languages=query // 40,
        passage_ids=[f"c{k}" for k in range(120)],
        passages=[f"sentence {k}" for k in range(120)],
        passage_languages=np.arange(120) // 60,
        relevant_queries=np.concatenate([query, query]),
        relevant_passages=np.concatenate([sentence, sentence + 60]),
        passage_contexts=np.arange(120) // 3,
    )


def texts_of_pairs(collection: RetrievalCollection) -> set[tuple[str, str]]:
    pairs = zip(collection.relevant_queries, collection.relevant_passages, strict=True)
    return {(collection.queries[q], collection.passages[c]) for q, c in pairs}


def test_sample_takes_questions_in_all_their_languages(collection: RetrievalCollection) -> None:
    sample = collection.sample(7, seed=3)
    assert sample.query_counts == {"en": 7, "de": 7}
    assert sample.query_ids[:7] == sample.query_ids[7:]
    assert texts_of_pairs(sample) == {pair for pair in texts_of_pairs(collection) if pair[0] in sample.queries}
    passages = {int(identifier[1:]) // 2 for identifier in sample.query_ids}
    assert len(sample.passages) == 2 * 3 * len(passages)


def test_sample_is_seeded_and_nested(collection: RetrievalCollection) -> None:
    assert collection.sample(7, seed=1).query_ids == collection.sample(7, seed=1).query_ids
    assert collection.sample(7, seed=1).query_ids != collection.sample(7, seed=2).query_ids
    assert set(collection.sample(7, seed=1).query_ids) < set(collection.sample(9, seed=1).query_ids)
    assert collection.sample(40) is collection
    with pytest.raises(ValueError, match="at least 1"):
        collection.sample(0)


def test_sample_without_passages_keeps_the_relevant_passages(collection: RetrievalCollection) -> None:
    sample = replace(collection, passage_contexts=None).sample(5)
    assert len(sample.passages) == len(set(sample.relevant_passages.tolist()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": ["one"]}, "query columns have different lengths"),
        ({"passage_contexts": np.zeros(3, int)}, "passage columns have different lengths"),
        ({"relevant_queries": [], "relevant_passages": []}, "relevance columns are empty"),
        ({"languages": ("en",)}, r"query_languages must lie in \[0, 1\)"),
        ({"relevant_passages": np.full(160, 120)}, r"relevant_passages must lie in \[0, 120\)"),
        ({"languages": ("en", "en")}, "language is named twice"),
        ({"passage_ids": ["c"] * 120}, "passage id is repeated"),
        ({"query_ids": ["q"] * 80}, "query id is repeated"),
        ({"relevant_queries": np.zeros(160, int), "relevant_passages": np.zeros(160, int)}, "relevant twice"),
    ],
)
def test_inconsistent_columns(collection: RetrievalCollection, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^numbers: .*{message}"):
        replace(collection, **change)


def test_some_languages_of_queries_and_passages(collection: RetrievalCollection) -> None:
    part = collection.in_languages(["de"], ["en"])
    assert part.query_counts == {"en": 0, "de": 40}
    assert part.passage_counts == {"en": 60, "de": 0}
    chosen = {f"sentence {k}" for k in range(60)}
    german = {f"question {k}" for k in range(40, 80)}
    expected = {(query, text) for query, text in texts_of_pairs(collection) if query in german and text in chosen}
    assert texts_of_pairs(part) == expected
    assert len(expected) == 40
    assert texts_of_pairs(collection.in_languages(["en", "de"], ["en", "de"])) == texts_of_pairs(collection)
    with pytest.raises(ValueError, match="numbers is not in fr, only in en, de"):
        collection.in_languages(["fr"], ["en"])


DICTS: dict[str, Any] = {
    "queries": {"q1": "What is red?", "q2": "Was ist rot?", "q3": "Was ist blau?"},
    "corpus": {"p1": "Tomatoes are red.", "p2": "Tomaten sind rot.", "p3": "Pflaumen sind blau."},
    "relevant_docs": {"q3": {"p3"}, "q1": {"p2", "p1"}, "q2": ["p1", "p2", "p2"]},
    "query_languages": {"q1": "en", "q2": "de", "q3": "de", "q9": "fr"},
    "passage_languages": {"p1": "en", "p2": "de", "p3": "de"},
}


def test_the_dictionaries_of_sentence_transformers(tiny_model: SentenceTransformer) -> None:
    collection = RetrievalCollection.from_dicts(**DICTS, name="fruit")
    assert (collection.name, collection.languages) == ("fruit", ["de", "en"])
    assert collection.query_counts == {"de": 2, "en": 1}
    assert collection.passage_counts == {"de": 2, "en": 1}
    assert texts_of_pairs(collection) == {
        (DICTS["queries"][query], DICTS["corpus"][passage])
        for query, passages in DICTS["relevant_docs"].items()
        for passage in passages
    }
    assert len(collection.relevant_queries) == 5
    evaluator = InformationRetrievalEvaluator(
        DICTS["queries"], DICTS["corpus"], {query: set(found) for query, found in DICTS["relevant_docs"].items()}
    )
    scores = score_queries(*encode_collection(tiny_model, collection), collection)
    assert scores.measures["ndcg_at_10"][:, -1].mean() == pytest.approx(evaluator(tiny_model)["cosine_ndcg@10"])


def test_dictionaries_may_hold_grades() -> None:
    """As qrels do: 0 is not relevant, and what is above is the gain."""
    graded = {"q1": {"p1": 2, "p2": 0}, "q2": {"p2": 1, "p3": 3}, "q3": {"p1": -1}}
    collection = RetrievalCollection.from_dicts(**{**DICTS, "relevant_docs": graded})
    assert collection.relevant_queries.tolist() == [0, 1, 1]
    assert collection.relevant_passages.tolist() == [0, 1, 2]
    assert collection.grades.tolist() == [2, 1, 3]
    assert collection.sample(1, seed=1).grades.tolist() in ([2], [1, 3])
    with pytest.raises(ValueError, match="relevance columns have different lengths"):
        replace(collection, grades=np.ones(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_languages": {"q1": "en", "q2": "de"}}, "query_languages has no language for query 'q3'"),
        ({"passage_languages": {"p1": "en"}}, "passage_languages has no language for passage 'p2'"),
        ({"relevant_docs": {"q7": ["p1"]}}, "relevant_docs names the unknown query 'q7'"),
        ({"relevant_docs": {"q1": ["p8"]}}, "relevant_docs names the unknown passage 'p8'"),
        ({"relevant_docs": {}}, "relevance columns are empty"),
    ],
)
def test_dictionaries_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^fruit: .*{message}"):
        RetrievalCollection.from_dicts(**{**DICTS, **change}, name="fruit")


@pytest.mark.parametrize("form", [None, "numpy", "torch", "arrow", "pandas"])
@pytest.mark.parametrize(
    "texts", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())], ids=str
)
def test_any_format_and_any_type_of_text(form: str | None, texts: pa.DataType) -> None:
    """Rows in any form make the same collection, by themselves and as dictionaries."""
    content = {
        "language": ["en", "de", "de"],
        "query": ["What is red?", "Was ist rot?", "Was ist blau?"],
        "positive": ["Tomatoes are red.", "Tomaten sind rot.", "Pflaumen sind blau."],
    }
    table = pa.table({"id": [7, 7, 8], **{name: pa.array(column).cast(texts) for name, column in content.items()}})
    rows = Dataset(table).with_format(form)
    collection = RetrievalCollection.from_rows(rows)
    assert (collection.queries, collection.languages) == (content["query"], ["de", "en"])
    assert sorted(collection.passages) == sorted(content["positive"])
    numbers, languages = range(3), rows["language"][:]
    if form in ("arrow", "numpy"):  # values of Arrow and numpy, also as ids
        numbers = (pa.array if form == "arrow" else np.array)([0, 1, 2])
    made = RetrievalCollection.from_dicts(
        dict(zip(numbers, rows["query"][:], strict=True)),
        dict(zip(numbers, rows["positive"][:], strict=True)),
        {numbers[0]: [numbers[1], numbers[0]], numbers[1]: set(numbers[:2]), numbers[2]: numbers[2:]},
        dict(zip(numbers, languages, strict=True)),
        dict(zip(numbers, languages, strict=True)),
    )
    assert made.query_ids == made.passage_ids == ["0", "1", "2"]
    assert (made.queries, made.passages, made.languages) == (content["query"], content["positive"], ["de", "en"])
    assert all(type(text) is str for text in (*made.queries, *made.passages, *made.languages))
    assert texts_of_pairs(made) == texts_of_pairs(collection)
    scores = score_queries(np.eye(3), np.eye(3), made)
    assert scores.table()["query_id"].to_pylist()[0] == "0"


def test_what_is_not_text_is_named() -> None:
    with pytest.raises(ValueError, match=r"^fruit: the passage 'p2' has no text but None"):
        RetrievalCollection.from_dicts(**{**DICTS, "corpus": {**DICTS["corpus"], "p2": None}}, name="fruit")


def test_of_bitext_a_sentence_asks_or_answers() -> None:
    """A sentence in the pool of its own query would find itself."""
    words = {"en": ["a plum", "a pear"], "de": ["eine Pflaume", "eine Birne"], "fr": ["une prune", "une poire"]}
    texts = [(group, language, words[language][group]) for language in words for group in (0, 1)]
    rows = Dataset.from_list(
        [{"id": group, "language": language, "query": text, "positive": text} for group, language, text in texts]
        + [{"id": 2, "language": "de", "query": "Was ist blau?", "positive": "Eine Pflaume."}]
    )
    collection = RetrievalCollection.from_rows(rows)
    assert sorted(collection.queries) == sorted(["a plum", "une prune", "eine Birne", "Was ist blau?"])
    assert sorted(collection.passages) == sorted(["eine Pflaume", "a pear", "une poire", "Eine Pflaume."])
    assert texts_of_pairs(collection) == {
        ("a plum", "eine Pflaume"),
        ("une prune", "eine Pflaume"),
        ("eine Birne", "a pear"),
        ("eine Birne", "une poire"),
        ("Was ist blau?", "Eine Pflaume."),
    }
    for alone in ([0], [0, 1]):
        with pytest.raises(ValueError, match="sentences without translations"):
            RetrievalCollection.from_rows(rows.select(alone))


def test_rows_of_a_group_are_relevant_in_all_languages_and_equal_passages_are_one() -> None:
    rows = Dataset.from_list(
        [
            {"id": 7, "language": "en", "ask": "What is red?", "positive": "Tomatoes and cherries are red."},
            {"id": 7, "language": "de", "ask": "Was ist rot?", "positive": "Tomaten und Kirschen sind rot."},
            {"id": 8, "language": "en", "ask": "Which fruit is red?", "positive": "Tomatoes and cherries are red."},
            {"id": 9, "language": "de", "ask": "Was ist blau?", "positive": "Pflaumen sind blau."},
            {"id": 9, "language": "en", "ask": "Tomaten?", "positive": "Tomaten und Kirschen sind rot."},
        ]
    )
    collection = RetrievalCollection.from_rows(rows, columns={"query": "ask"}, name="fruit")
    assert collection.name == "fruit"
    assert collection.queries == rows["ask"][:]
    assert collection.query_counts == {"de": 2, "en": 3}
    assert collection.passage_counts == {"de": 2, "en": 2}
    relevant: dict[str, list[str]] = {query: [] for query in rows["ask"]}
    for query, passage in zip(collection.relevant_queries, collection.relevant_passages, strict=True):
        language = collection.languages[collection.passage_languages[passage]]
        relevant[collection.queries[query]].append(f"{language} {collection.passages[passage]}")
    red = {"en Tomatoes and cherries are red.", "de Tomaten und Kirschen sind rot."}
    blue = {"de Pflaumen sind blau.", "en Tomaten und Kirschen sind rot."}
    assert {query: set(passages) for query, passages in relevant.items()} == {
        "What is red?": red,
        "Was ist rot?": red,
        "Which fruit is red?": {"en Tomatoes and cherries are red."},
        "Was ist blau?": blue,
        "Tomaten?": blue,
    }
    with pytest.raises(ValueError, match="no column 'query'"):
        RetrievalCollection.from_rows(rows)
