from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from st_hybrid.retrieval import RetrievalCollection, evaluate_retrieval, score_embeddings

KINDS = ("monolingual", "cross_lingual", "multilingual")
MEASURES = ("map", "recall_at_1", "recall_at_10")


def build(seed: int, languages: int, questions: int, filler: int = 3, whole: bool = False) -> RetrievalCollection:
    """Random questions in a random subset of the languages, with one or two relevant sentences in each."""
    rng = np.random.default_rng(seed)
    queries, candidates, answers = [], [], defaultdict(list)
    for question in range(questions):
        present = rng.permutation(languages)[: languages if whole else rng.integers(1, languages + 1)]
        for language in sorted(present.tolist()):
            queries.append((question, language))
            for _ in range(rng.integers(1, 3)):
                answers[question].append(len(candidates))
                candidates.append(language)
    candidates += rng.integers(0, languages, filler).tolist()
    pairs = [(q, c) for q, (question, _) in enumerate(queries) for c in answers[question]]
    collection = RetrievalCollection(
        name="random",
        languages=tuple("abcdef"[:languages]),
        query_ids=[f"q{question}" for question, _ in queries],
        queries=[f"query {question} in {language}" for question, language in queries],
        query_languages=np.array([language for _, language in queries]),
        candidate_ids=[f"c{c}" for c in range(len(candidates))],
        candidates=[f"candidate {c}" for c in range(len(candidates))],
        candidate_languages=np.array(candidates),
        relevant_queries=np.array([q for q, _ in pairs]),
        relevant_candidates=np.array([c for _, c in pairs]),
    )
    return shuffled(collection, rng)[0]


def shuffled(
    collection: RetrievalCollection, rng: np.random.Generator
) -> tuple[RetrievalCollection, np.ndarray, np.ndarray]:
    """The same collection in another order of queries, candidates and pairs."""
    q, c = rng.permutation(len(collection.queries)), rng.permutation(len(collection.candidates))
    p = rng.permutation(len(collection.relevant_queries))
    other = replace(
        collection,
        query_ids=[collection.query_ids[i] for i in q],
        queries=[collection.queries[i] for i in q],
        query_languages=collection.query_languages[q],
        candidate_ids=[collection.candidate_ids[i] for i in c],
        candidates=[collection.candidates[i] for i in c],
        candidate_languages=collection.candidate_languages[c],
        relevant_queries=np.argsort(q)[collection.relevant_queries[p]],
        relevant_candidates=np.argsort(c)[collection.relevant_candidates[p]],
    )
    return other, q, c


def score_matrix(matrix: np.ndarray, collection: RetrievalCollection) -> dict[str, Any]:
    """Evaluate given scores: the dot product of row q with unit vector c is the score of candidate c."""
    return score_embeddings(matrix, np.eye(matrix.shape[1], dtype=np.float32), collection, similarity="dot")


def rankings(
    matrix: np.ndarray, collection: RetrievalCollection
) -> dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """For each setting with something relevant: (query number, scores, relevance) of each query, by brute force."""
    relevant = np.zeros(matrix.shape, dtype=bool)
    relevant[collection.relevant_queries, collection.relevant_candidates] = True
    result = defaultdict(list)
    for q, a in enumerate(collection.query_languages):
        for b, name in [*enumerate(collection.languages), (None, "multi")]:
            pool = np.full(matrix.shape[1], True) if b is None else collection.candidate_languages == b
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
            if setting.endswith("multi") and len(places) > 1:
                best = 1 + (scores > scores[relevance].max()).sum()
                values["rank_distance"].append(places[-1] - best)
        result[setting] = {measure: float(np.mean(found)) for measure, found in values.items()}
    return result


def kind_of(setting: str) -> str:
    query, pool = setting.split("-")
    return "multilingual" if pool == "multi" else "monolingual" if query == pool else "cross_lingual"


collections = st.builds(
    build,
    seed=st.integers(0, 2**32 - 1),
    languages=st.integers(1, 4),
    questions=st.integers(1, 6),
    filler=st.integers(0, 30),
)


@settings(max_examples=150, deadline=None)
@given(collection=collections, distinct=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_equals_brute_force_with_any_ties(collection: RetrievalCollection, distinct: int, seed: int) -> None:
    shape = len(collection.queries), len(collection.candidates)
    matrix = np.random.default_rng(seed).integers(0, distinct, shape).astype(np.float32)
    scores, expected = score_matrix(matrix, collection), brute_force(matrix, collection)

    assert scores["per_pair"].keys() == expected.keys()
    for setting, values in expected.items():
        assert scores["per_pair"][setting] == pytest.approx(values, abs=1e-12)
    for kind in KINDS:  # macro average: over queries of a setting, then over settings
        own = [values for setting, values in expected.items() if kind_of(setting) == kind]
        assert scores["counts"]["settings"][kind] == len(own)
        assert (kind in scores) == bool(own)
        for measure in MEASURES if own else ():
            assert scores[kind][measure] == pytest.approx(np.mean([values[measure] for values in own]))
    distances = [values["rank_distance"] for values in expected.values() if "rank_distance" in values]
    assert ("rank_distance" in scores) == bool(distances)
    if distances:
        assert scores["rank_distance"] == pytest.approx(np.mean(distances))


@settings(max_examples=30, deadline=None)
@given(collection=collections, seed=st.integers(0, 2**32 - 1))
def test_agrees_with_pytrec_eval_on_full_rankings(collection: RetrievalCollection, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = len(collection.queries), len(collection.candidates)
    matrix = rng.permuted(np.tile(np.arange(shape[1], dtype=np.float32), (shape[0], 1)), axis=1)
    scores = score_matrix(matrix, collection)
    measures = {"map": "map", "recall_1": "recall_at_1", "recall_10": "recall_at_10"}
    for setting, queries in rankings(matrix, collection).items():
        run = {str(q): {str(c): float(s) for c, s in enumerate(row)} for q, row, _ in queries}
        qrels = {str(q): {str(c): int(r) for c, r in enumerate(relevance)} for q, _, relevance in queries}
        results = pytrec_eval.RelevanceEvaluator(qrels, {"map", "recall.1,10"}).evaluate(run)
        for theirs, ours in measures.items():
            expected = np.mean([result[theirs] for result in results.values()])
            assert scores["per_pair"][setting][ours] == pytest.approx(expected, abs=1e-6)


def test_agrees_with_pytrec_eval_on_embeddings() -> None:
    collection = build(seed=5, languages=5, questions=60, filler=400)
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((len(collection.queries), 24), dtype=np.float32)
    candidates = rng.standard_normal((len(collection.candidates), 24), dtype=np.float32)
    scores = score_embeddings(queries, candidates, collection)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries.astype(float), candidates.astype(float))]
    for setting, found in rankings(unit[0] @ unit[1].T, collection).items():
        run = {str(q): {str(c): float(s) for c, s in enumerate(row)} for q, row, _ in found}
        qrels = {str(q): {str(c): int(r) for c, r in enumerate(relevance)} for q, _, relevance in found}
        results = pytrec_eval.RelevanceEvaluator(qrels, {"map"}).evaluate(run)
        expected = np.mean([result["map"] for result in results.values()])
        assert scores["per_pair"][setting]["map"] == pytest.approx(expected, abs=1e-6)


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
        candidate_ids=[f"c{number}" for number in range(size)],
        candidates=["."] * size,
        candidate_languages=language,
        relevant_queries=pairs[:, 0],
        relevant_candidates=pairs[:, 1],
    )
    scores = score_matrix(np.random.default_rng(0).random((size, size), dtype=np.float32), collection)
    assert tuple(scores["counts"]["settings"][kind] for kind in KINDS) == settings_of_a_kind
    assert len(scores["per_pair"]) == sum(settings_of_a_kind)


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
    candidates = np.tile(np.float32(document), (len(collection.candidates), 1))
    scores = score_embeddings(queries, candidates, collection, similarity=similarity, centering=centering)
    tied = np.zeros((len(queries), len(candidates)))
    for setting, worst in brute_force(tied, collection).items():
        assert scores["per_pair"][setting] == pytest.approx(worst, abs=1e-12)
    if "rank_distance" in scores:
        assert scores["rank_distance"] == len(candidates) - 1


@pytest.mark.parametrize("filler", [*range(12), *range(60, 64)])
@pytest.mark.parametrize("kinds", [1, 3])
def test_equal_vectors_tie_wherever_they_stand(filler: int, kinds: int) -> None:
    """A matrix product rounds columns differently where their number is no multiple of its block."""
    collection = build(seed=1, languages=2, questions=2, filler=filler)
    rng = np.random.default_rng(filler)
    queries = rng.standard_normal((len(collection.queries), 37), dtype=np.float32)
    kind = np.append(np.arange(kinds), rng.integers(0, kinds, len(collection.candidates) - kinds))
    vectors = rng.standard_normal((kinds, 37), dtype=np.float32)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries.astype(float), vectors.astype(float))]
    exact = (unit[0] @ unit[1].T)[:, kind]
    scores = score_embeddings(queries, vectors[kind], collection)
    for setting, values in brute_force(exact, collection).items():
        assert scores["per_pair"][setting] == pytest.approx(values, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(collection=collections, seed=st.integers(0, 2**32 - 1))
def test_order_of_the_columns_is_of_no_consequence(collection: RetrievalCollection, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.integers(0, 9, (len(collection.queries), len(collection.candidates))).astype(np.float32)
    other, q, c = shuffled(collection, rng)
    first, second = score_matrix(matrix, collection), score_matrix(matrix[q][:, c], other)
    assert first["per_pair"].keys() == second["per_pair"].keys()
    for setting, values in first["per_pair"].items():
        assert second["per_pair"][setting] == pytest.approx(values)


def test_blocks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    collection = build(seed=3, languages=3, questions=20)
    matrix = np.random.default_rng(0).integers(0, 5, (len(collection.queries), len(collection.candidates)))
    matrix = matrix.astype(np.float32)
    whole = score_matrix(matrix, collection)
    monkeypatch.setattr("st_hybrid.retrieval.evaluation._BLOCK_SCORES", 1)
    assert score_matrix(matrix, collection) == whole


def test_queries_without_relevant_candidates_do_not_count() -> None:
    collection = build(seed=4, languages=2, questions=5)
    lonely = replace(
        collection,
        query_ids=[*collection.query_ids, "none"],
        queries=[*collection.queries, "none"],
        query_languages=np.append(collection.query_languages, 0),
    )
    matrix = np.random.default_rng(0).random((len(lonely.queries), len(lonely.candidates)), dtype=np.float32)
    assert score_matrix(matrix, lonely)["per_pair"] == score_matrix(matrix[:-1], collection)["per_pair"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite(value: float) -> None:
    collection = build(seed=0, languages=2, questions=3)
    matrix = np.ones((len(collection.queries), len(collection.candidates)), dtype=np.float32)
    matrix[2, 1] = value
    with pytest.raises(ValueError, match="vector of query 2 is not finite"):
        score_matrix(matrix, collection)
    with pytest.raises(ValueError, match="collection needs"):
        score_matrix(matrix[:1], collection)


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
    candidates = ["both", "twice", "twice", *collection.candidates[3:]]
    collection = replace(collection, queries=queries, candidates=candidates)
    encoder = CountingEncoder(tiny_model)
    scores = evaluate_retrieval(encoder, collection)  # type: ignore[arg-type]
    assert encoder.queries == Counter(set(queries))
    assert encoder.documents == Counter(set(candidates))
    expected = score_embeddings(
        tiny_model.encode(queries, prompt="query: "), tiny_model.encode(candidates, prompt="passage: "), collection
    )
    assert scores["multilingual"]["map"] == pytest.approx(expected["multilingual"]["map"], abs=1e-3)


def test_given_prompts_replace_those_of_the_model(tiny_model: SentenceTransformer) -> None:
    collection = build(seed=8, languages=2, questions=5)
    given_prompts = evaluate_retrieval(tiny_model, collection, query_prompt="Q: ", document_prompt="D: ")
    tiny_model.prompts = {"query": "Q: ", "document": "D: "}
    assert evaluate_retrieval(tiny_model, collection) == given_prompts


def test_import_stays_light() -> None:
    code = "import sys, st_hybrid.retrieval; print([m for m in ('mteb', 'faiss', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
