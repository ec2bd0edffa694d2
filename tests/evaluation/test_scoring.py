from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pytrec_eval
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sentence_transformers import SentenceTransformer

from st_hybrid.evaluation import (
    RetrievalCollection,
    RetrievalScores,
    SettingScores,
    evaluate_retrieval,
    score_embeddings,
    score_queries,
)
from st_hybrid.evaluation.results import MIXED_MEASURES
from st_hybrid.evaluation.scoring import score_search

from .random_collections import build, collections, score_matrix, score_matrix_queries, shuffled

KINDS = ("monolingual", "cross_lingual", "multilingual")
MEASURES = ("map", "recall_at_1", "recall_at_10", "ndcg_at_10", "mrr_at_10")
NOT_BY_HAND = (
    "contrastive_entropy",
    "peer_at_20",
    "foreign_recall_at_20",
    "language_preference_rate",
    "rank_correlation",
)


def rankings(
    matrix: np.ndarray, collection: RetrievalCollection
) -> dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """For each setting with something relevant: (query number, scores, relevance) of each query, by brute force."""
    relevant = np.zeros(matrix.shape, dtype=bool)
    relevant[collection.relevant_queries, collection.relevant_passages] = True
    result = defaultdict(list)
    for q, a in enumerate(collection.query_languages):
        for b, name in [*enumerate(collection.languages), (None, "multi")]:
            pool = np.full(matrix.shape[1], True) if b is None else collection.passage_languages == b
            if relevant[q, pool].any():
                result[f"{collection.languages[a]}-{name}"].append((q, matrix[q, pool], relevant[q, pool]))
    return result


def brute_force(matrix: np.ndarray, collection: RetrievalCollection) -> dict[str, dict[str, float]]:
    """Each setting's scores with ties sorted against the model."""
    result = {}
    for setting, queries in rankings(matrix, collection).items():
        values = defaultdict(list)
        for _, scores, relevance in queries:
            ranked = relevance[np.lexsort((relevance, -scores))]
            places = np.flatnonzero(ranked) + 1
            values["map"].append(np.mean(np.arange(1, len(places) + 1) / places))
            values["recall_at_1"].append(ranked[:1].sum() / len(places))
            values["recall_at_10"].append(ranked[:10].sum() / len(places))
            gains = 1 / np.log2(np.arange(2, 12))
            best_gain = gains[: len(places)].sum()
            values["ndcg_at_10"].append(gains[: len(ranked)][ranked[:10]].sum() / best_gain)
            values["mrr_at_10"].append(1 / places[0] if places[0] <= 10 else 0)
            if setting.endswith("multi") and len(set(collection.passage_languages[relevance])) > 1:
                best = 1 + (scores > scores[relevance].max()).sum()
                values["rank_distance"].append(places[-1] - best)
        result[setting] = {measure: float(np.mean(found)) for measure, found in values.items()}
    return result


def without_fairness(scores: SettingScores) -> dict[str, float]:
    """The scores but for those that test_fairness.py checks."""
    return {measure: value for measure, value in scores.to_dict().items() if measure not in NOT_BY_HAND}


def kind_of(setting: str) -> str:
    query, pool = setting.split("-")
    return "multilingual" if pool == "multi" else "monolingual" if query == pool else "cross_lingual"


@settings(max_examples=150, deadline=None)
@given(collection=collections, distinct=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_equals_brute_force_with_any_ties(collection: RetrievalCollection, distinct: int, seed: int) -> None:
    shape = len(collection.queries), len(collection.passages)
    matrix = np.random.default_rng(seed).integers(0, distinct, shape).astype(np.float32)
    scores, expected = score_matrix(matrix, collection), brute_force(matrix, collection)

    assert scores.per_pair.keys() == expected.keys()
    for setting, values in expected.items():
        assert without_fairness(scores.per_pair[setting]) == pytest.approx(values, abs=1e-12)
    for kind in KINDS:  # macro average: over queries of a setting, then over settings
        own = [values for setting, values in expected.items() if kind_of(setting) == kind]
        assert scores.counts.settings[kind] == len(own)
        assert (kind in scores.by_setting) == bool(own)
        for measure in MEASURES if own else ():
            found = getattr(scores.by_setting[kind], measure)
            assert found == pytest.approx(np.mean([values[measure] for values in own]))
    distances = [values["rank_distance"] for values in expected.values() if "rank_distance" in values]
    assert scores.rank_distance == (pytest.approx(np.mean(distances)) if distances else None)


@settings(max_examples=30, deadline=None)
@given(collection=collections, seed=st.integers(0, 2**32 - 1), temperature=st.sampled_from([None, 0.01, 0.3]))
def test_contrastive_entropy_by_brute_force(
    collection: RetrievalCollection, seed: int, temperature: float | None
) -> None:
    rng = np.random.default_rng(seed)
    queries, passages = (
        rng.normal(size=(len(texts), 4)).astype(np.float32) for texts in (collection.queries, collection.passages)
    )
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (queries, passages)]
    scores = score_queries(queries, passages, collection, temperature=temperature).summary()
    for setting, found in rankings((unit[0] @ unit[1].T).astype(np.float64), collection).items():
        expected = []
        for _, similarity, relevance in found:
            logits = similarity / (temperature or 0.05)
            losses = [-log_softmax([logit, *logits[~relevance]])[0] for logit in logits[relevance]]
            expected.append(np.mean(losses))
        assert scores.per_pair[setting].contrastive_entropy == pytest.approx(np.mean(expected), rel=1e-3, abs=1e-4)
    merged = score_queries(queries, passages, collection, quotas=True).summary()
    assert merged.multilingual.contrastive_entropy is None


@settings(max_examples=30, deadline=None)
@given(collection=collections, seed=st.integers(0, 2**32 - 1))
def test_agrees_with_pytrec_eval_on_full_rankings(collection: RetrievalCollection, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = len(collection.queries), len(collection.passages)
    matrix = rng.permuted(np.tile(np.arange(shape[1], dtype=np.float32), (shape[0], 1)), axis=1)
    scores = score_matrix(matrix, collection)
    measures = {"map": "map", "recall_1": "recall_at_1", "recall_10": "recall_at_10", "ndcg_cut_10": "ndcg_at_10"}
    for setting, queries in rankings(matrix, collection).items():
        run = {str(q): {str(c): float(s) for c, s in enumerate(row)} for q, row, _ in queries}
        qrels = {str(q): {str(c): int(r) for c, r in enumerate(relevance)} for q, _, relevance in queries}
        results = pytrec_eval.RelevanceEvaluator(qrels, {"map", "recall.1,10", "ndcg_cut.10"}).evaluate(run)
        for theirs, ours in measures.items():
            expected = np.mean([result[theirs] for result in results.values()])
            assert getattr(scores.per_pair[setting], ours) == pytest.approx(expected, abs=1e-6)


def test_agrees_with_pytrec_eval_on_embeddings() -> None:
    collection = build(seed=5, languages=5, questions=60, filler=400)
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((len(collection.queries), 24), dtype=np.float32)
    passages = rng.standard_normal((len(collection.passages), 24), dtype=np.float32)
    scores = score_embeddings(queries, passages, collection)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries.astype(float), passages.astype(float))]
    for setting, found in rankings(unit[0] @ unit[1].T, collection).items():
        run = {str(q): {str(c): float(s) for c, s in enumerate(row)} for q, row, _ in found}
        qrels = {str(q): {str(c): int(r) for c, r in enumerate(relevance)} for q, _, relevance in found}
        results = pytrec_eval.RelevanceEvaluator(qrels, {"map"}).evaluate(run)
        expected = np.mean([result["map"] for result in results.values()])
        assert scores.per_pair[setting].map == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("languages", "settings_of_a_kind"), [(11, (11, 110, 11)), (7, (7, 42, 7))])
def test_number_of_settings(languages: int, settings_of_a_kind: tuple[int, ...]) -> None:
    size = languages * 5
    language, question = np.arange(size) // 5, np.arange(size) % 5
    pairs = np.argwhere(question[:, None] == question)
    codes = [f"l{number}" for number in range(languages)]
    collection = RetrievalCollection(
        name="shape",
        languages=codes,
        query_ids=[f"q{number}" for number in question],
        queries=["?"] * size,
        query_languages=language,
        passage_ids=[f"c{number}" for number in range(size)],
        passages=["."] * size,
        passage_languages=language,
        relevant_queries=pairs[:, 0],
        relevant_passages=pairs[:, 1],
    )
    scores = score_matrix(np.random.default_rng(0).random((size, size), dtype=np.float32), collection)
    assert tuple(scores.counts.settings[kind] for kind in KINDS) == settings_of_a_kind
    assert len(scores.per_pair) == sum(settings_of_a_kind)


@settings(max_examples=60, deadline=None)
@given(
    collection=collections,
    query=st.lists(st.floats(-1e3, 1e3, width=32), min_size=7, max_size=7),
    document=st.lists(st.floats(-1e3, 1e3, width=32), min_size=7, max_size=7),
    similarity=st.sampled_from(["cosine", "dot", "euclidean", "manhattan"]),
    centering=st.sampled_from([None, "evaluated"]),
)
def test_one_vector_for_every_text_is_the_worst_ranking(
    collection: RetrievalCollection, query: list[float], document: list[float], similarity: str, centering: Any
) -> None:
    queries = np.tile(np.float32(query), (len(collection.queries), 1))
    passages = np.tile(np.float32(document), (len(collection.passages), 1))
    scores = score_embeddings(queries, passages, collection, similarity=similarity, centering=centering)
    tied = np.zeros((len(queries), len(passages)))
    for setting, worst in brute_force(tied, collection).items():
        assert without_fairness(scores.per_pair[setting]) == pytest.approx(worst, abs=1e-12)
    if scores.rank_distance is not None:
        assert scores.rank_distance == len(passages) - 1


@pytest.mark.parametrize("filler", [*range(12), *range(60, 64)])
@pytest.mark.parametrize("kinds", [1, 3])
def test_equal_vectors_tie_wherever_they_stand(filler: int, kinds: int) -> None:
    """A matrix product rounds columns differently where their number is no multiple of its block."""
    collection = build(seed=1, languages=2, questions=2, filler=filler)
    rng = np.random.default_rng(filler)
    queries = rng.standard_normal((len(collection.queries), 37), dtype=np.float32)
    kind = np.append(np.arange(kinds), rng.integers(0, kinds, len(collection.passages) - kinds))
    vectors = rng.standard_normal((kinds, 37), dtype=np.float32)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries.astype(float), vectors.astype(float))]
    exact = (unit[0] @ unit[1].T)[:, kind]
    scores = score_embeddings(queries, vectors[kind], collection)
    for setting, values in brute_force(exact, collection).items():
        assert without_fairness(scores.per_pair[setting]) == pytest.approx(values, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(collection=collections, seed=st.integers(0, 2**32 - 1))
def test_order_of_the_columns_is_of_no_consequence(collection: RetrievalCollection, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.integers(0, 9, (len(collection.queries), len(collection.passages))).astype(np.float32)
    other, q, c = shuffled(collection, rng)
    first, second = score_matrix(matrix, collection), score_matrix(matrix[q][:, c], other)
    assert first.per_pair.keys() == second.per_pair.keys()
    for setting, values in first.per_pair.items():
        assert second.per_pair[setting].to_dict() == pytest.approx(values.to_dict())
    for language, shares in first.top_10_languages.items():
        assert second.top_10_languages[language] == pytest.approx(shares)


def test_blocks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    collection = build(seed=3, languages=3, questions=20)
    matrix = np.random.default_rng(0).integers(0, 5, (len(collection.queries), len(collection.passages)))
    matrix = matrix.astype(np.float32)
    whole = score_matrix(matrix, collection)
    monkeypatch.setattr("st_hybrid.evaluation.ranking._BLOCK_SCORES", 1)
    assert score_matrix(matrix, collection) == whole


def test_queries_without_relevant_passages_do_not_count() -> None:
    collection = build(seed=4, languages=2, questions=5)
    lonely = replace(
        collection,
        query_ids=[*collection.query_ids, "none"],
        queries=[*collection.queries, "none"],
        query_languages=np.append(collection.query_languages, 0),
    )
    matrix = np.random.default_rng(0).random((len(lonely.queries), len(lonely.passages)), dtype=np.float32)
    with_it, without = score_matrix(matrix, lonely), score_matrix(matrix[:-1], collection)
    for part in ("per_pair", "top_10_languages", *KINDS, "rank_distance"):
        assert getattr(with_it, part) == getattr(without, part)


def test_a_distance_needs_relevant_passages_in_two_languages() -> None:
    """Two passages of one language say nothing about a preference among languages; settings without any are counted."""
    languages = {"p1": "de", "p2": "de", "p3": "en", "p4": "fr"}
    collection = RetrievalCollection.from_dicts(
        queries={"q1": "one", "q2": "both"},
        corpus=dict.fromkeys(languages, "text"),
        relevant_docs={"q1": {"p1", "p2"}, "q2": {"p1", "p3"}},
        query_languages={"q1": "de", "q2": "de"},
        passage_languages=languages,
    )
    matrix = np.array([[4, 1, 3, 2], [4, 3, 2, 1]], dtype=np.float32)
    scores = score_matrix(matrix, collection)
    assert scores.rank_distance == 2  # of q2 alone; the passages of q1 are in places 1 and 4
    assert scores.counts.one_language == 1
    assert scores.counts.empty_settings == 1  # de-fr; nothing is asked in English or French
    assert scores.counts.settings == {"monolingual": 1, "cross_lingual": 1, "multilingual": 1}
    distances = score_matrix_queries(matrix, collection).table()["rank_distance"].to_pylist()
    assert [distance for distance in distances if distance is not None] == [2]


def test_what_queries_find_first() -> None:
    languages = {f"p{number}": "de" if number % 2 else "en" for number in range(14)}
    collection = RetrievalCollection.from_dicts(
        queries={"q1": "one", "q2": "none"},
        corpus={passage: f"text of {passage}" for passage in languages},
        relevant_docs={"q1": {"p1", "p12", "p13"}},
        query_languages={"q1": "de", "q2": "de"},
        passage_languages=languages,
    )
    matrix = np.tile(np.arange(14, 0, -1, dtype=np.float32), (2, 1))
    found = score_matrix_queries(matrix, collection).first_passages().to_pylist()
    assert [row["passage_id"] for row in found] == [*(f"p{number}" for number in range(10)), "p12", "p13"]
    assert [row["rank"] for row in found] == [*range(1, 11), 13, 14]
    assert [row["passage_id"] for row in found if row["relevant"]] == ["p1", "p12", "p13"]
    assert found[1] == {
        "query_id": "q1", "query_language": "de", "query": "one", "rank": 2, "relevant": True,
        "passage_id": "p1", "passage_language": "de", "passage": "text of p1",
    }  # fmt: skip


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite(value: float) -> None:
    collection = build(seed=0, languages=2, questions=3)
    matrix = np.ones((len(collection.queries), len(collection.passages)), dtype=np.float32)
    matrix[2, 1] = value
    with pytest.raises(ValueError, match=r"1 of \d texts are not finite: query 2, "):
        score_matrix(matrix, collection)
    with pytest.raises(ValueError, match="collection needs"):
        score_matrix(matrix[:1], collection)


@settings(max_examples=60, deadline=None)
@given(collection=collections, distinct=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_the_table_holds_what_the_averages_are_taken_from(
    collection: RetrievalCollection, distinct: int, seed: int
) -> None:
    shape = len(collection.queries), len(collection.passages)
    matrix = np.random.default_rng(seed).integers(0, distinct, shape).astype(np.float32)
    scores = score_matrix_queries(matrix, collection)
    table = scores.table()
    expected = {f"{a}-{b}" for a, b in zip(*(table[c].to_pylist() for c in ("query_language", "pool")), strict=True)}
    per_pair = scores.summary().per_pair
    assert per_pair.keys() == expected
    assert table.num_rows == sum(len(queries) for queries in rankings(matrix, collection).values())
    asked = set(zip(collection.query_ids, (collection.languages[c] for c in collection.query_languages), strict=True))
    assert set(zip(*(table[c].to_pylist() for c in ("query_id", "query_language")), strict=True)) <= asked

    measures = [*MEASURES, "contrastive_entropy", *MIXED_MEASURES, "peer_at_20"]
    assert table.column_names == ["query_id", "query_language", "pool", *measures]
    means = table.group_by(["query_language", "pool"]).aggregate([(measure, "mean") for measure in measures])
    for row in means.to_pylist():
        found = {measure: row[f"{measure}_mean"] for measure in measures if row[f"{measure}_mean"] is not None}
        assert found == pytest.approx(per_pair[f"{row['query_language']}-{row['pool']}"].to_dict(), abs=1e-9)


def test_a_similarity_function_of_ones_own() -> None:
    collection = build(seed=6, languages=3, questions=9)
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((len(collection.queries), 8), dtype=np.float32)
    passages = rng.standard_normal((len(collection.passages), 8), dtype=np.float32)
    expected = score_embeddings(queries, passages, collection, similarity="euclidean")
    distance = score_embeddings(queries, passages, collection, similarity=lambda q, c: -torch.cdist(q, c))
    assert distance == expected
    coarse = score_embeddings(queries, passages, collection, similarity=lambda q, c: (q @ c.T).to(torch.bfloat16))
    assert coarse.multilingual.map == pytest.approx(
        score_embeddings(queries, passages, collection, similarity="dot").multilingual.map, abs=0.05
    )

    given_scores = torch.from_numpy(queries @ passages.T)
    before = given_scores.clone()
    twice = np.concatenate([passages[:1], passages[:1], passages[2:]])  # equal vectors get equal scores
    score_embeddings(queries, twice, collection, similarity=lambda q, c: given_scores)
    assert torch.equal(given_scores, before)


@pytest.mark.parametrize(
    ("similarity", "message"),
    [
        (lambda q, c: (q @ c.T).T, r"returned scores of shape \(\d+, \d+\); for \d+ queries"),
        (lambda q, c: (q @ c.T).log(), "a score that is not finite"),
    ],
)
def test_a_similarity_function_that_gives_nonsense(similarity: Any, message: str) -> None:
    collection = build(seed=6, languages=3, questions=9, filler=1)
    matrix = -np.ones((len(collection.queries), len(collection.passages)), dtype=np.float32)
    with pytest.raises(ValueError, match=message):
        score_queries(matrix, np.eye(matrix.shape[1], dtype=np.float32), collection, similarity=similarity)


class CountingEncoder:
    """Passes texts on to a model and counts them."""

    def __init__(self, model: SentenceTransformer) -> None:
        self.model, self.similarity_fn_name = model, model.similarity_fn_name
        self.queries: Counter[str] = Counter()
        self.documents: Counter[str] = Counter()

    def encode_query(self, texts: list[str], **arguments: Any) -> np.ndarray:
        self.queries.update(texts)
        return self.model.encode_query(texts, **arguments)

    def encode_document(self, texts: list[str], **arguments: Any) -> np.ndarray:
        self.documents.update(texts)
        return self.model.encode_document(texts, **arguments)


def test_each_distinct_text_is_encoded_once_and_with_its_prompt(tiny_model: SentenceTransformer) -> None:
    collection = build(seed=7, languages=3, questions=4)
    queries = ["both", *collection.queries[1:-1], "both"]
    passages = ["both", "twice", "twice", *collection.passages[3:]]
    collection = replace(collection, queries=queries, passages=passages)
    encoder = CountingEncoder(tiny_model)
    scores = evaluate_retrieval(encoder, collection)  # type: ignore[arg-type]
    assert encoder.queries == Counter(set(queries))
    assert encoder.documents == Counter(set(passages))
    expected = score_embeddings(
        tiny_model.encode(queries, prompt="query: "), tiny_model.encode(passages, prompt="passage: "), collection
    )
    assert scores.multilingual.map == pytest.approx(expected.multilingual.map, abs=1e-3)


def test_given_prompts_replace_those_of_the_model(tiny_model: SentenceTransformer) -> None:
    collection = build(seed=8, languages=2, questions=5)
    given_prompts = evaluate_retrieval(tiny_model, collection, query_prompt="Q: ", document_prompt="D: ")
    tiny_model.prompts = {"query": "Q: ", "document": "D: "}
    assert evaluate_retrieval(tiny_model, collection) == given_prompts


@settings(max_examples=60, deadline=None)
@given(collection=collections, distinct=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_scores_of_a_search_are_those_of_the_matrix(collection: RetrievalCollection, distinct: int, seed: int) -> None:
    shape = len(collection.queries), len(collection.passages)
    matrix = np.random.default_rng(seed).integers(0, distinct, shape).astype(np.float32)
    for setting, queries in rankings(matrix, collection).items():
        found = {str(q): {str(p): float(score) for p, score in enumerate(row)} for q, row, _ in queries}
        relevant = {str(q): {str(p): 1 for p in np.flatnonzero(hits)} for q, _, hits in queries}
        scores = score_search(found, relevant, len(queries[0][1])).to_dict()
        expected = brute_force(matrix, collection)[setting]
        expected.pop("rank_distance", None)  # a search does not know the languages of passages
        assert {measure: scores[measure] for measure in expected} == pytest.approx(expected, abs=1e-12)


def test_scores_go_to_json_and_back() -> None:
    for languages in (3, 1):
        collection = build(seed=9, languages=languages, questions=5)
        matrix = np.random.default_rng(0).random((len(collection.queries), len(collection.passages)), dtype=np.float32)
        scores = score_matrix(matrix, collection)
        content = json.loads(json.dumps(scores.to_dict()))
        assert RetrievalScores.from_dict(content) == scores
        assert set(content) >= {"monolingual", "multilingual", "per_pair", "top_10_languages", "counts"}
        assert content["per_pair"]["a-multi"]["map"] == scores.per_pair["a-multi"].map
    assert "cross_lingual" not in content
    with pytest.raises(ValueError, match="map"):
        RetrievalScores.from_dict({**content, "multilingual": {}})


def test_import_stays_light() -> None:
    code = "import sys, st_hybrid.evaluation; print([m for m in ('mteb', 'faiss', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
