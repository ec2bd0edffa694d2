"""Sparse and multi-vector encoders: one pass over all settings, equal to brute force."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sentence_transformers import CrossEncoder, SparseEncoder

from st_hybrid.encoders import load_encoder
from st_hybrid.evaluation import (
    CrossLingualRetrievalEvaluator,
    RetrievalCollection,
    encode_collection,
    evaluate_retrieval,
    score_embeddings,
    score_queries,
)

from .random_collections import build, by_rank, collections, score_matrix


def tokens(rng: np.random.Generator, rows: int, *, kinds: int = 5) -> list[np.ndarray]:
    """Matrices of one to six tokens of whole numbers, some of them equal, of a few lengths."""
    made = [rng.integers(-2, 3, (rng.integers(1, 7), 4)).astype(np.float32) for _ in range(kinds)]
    return [made[number] for number in rng.integers(0, kinds, rows)]


def brute_force_maxsim(queries: list[np.ndarray], passages: list[np.ndarray]) -> np.ndarray:
    return np.array([[sum(max(q @ p for p in passage) for q in query) for passage in passages] for query in queries])


@settings(max_examples=40)
@given(collection=collections, seed=st.integers(0, 2**32 - 1), products=st.sampled_from([1, 50, 1 << 22]))
def test_maxsim_equals_brute_force_with_ties_and_in_any_blocks(
    collection: RetrievalCollection, seed: int, products: int
) -> None:
    rng = np.random.default_rng(seed)
    queries, passages = tokens(rng, len(collection.queries)), tokens(rng, len(collection.passages))
    expected = score_matrix(brute_force_maxsim(queries, passages), collection)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("st_hybrid.evaluation.ranking._BLOCK_PRODUCTS", products)
        patch.setattr("st_hybrid.evaluation.ranking._BLOCK_SCORES", products)
        for similarity in (None, "maxsim", "meanmaxsim"):
            assert score_embeddings(queries, passages, collection, similarity=similarity) == expected


@settings(max_examples=40)
@given(collection=collections, seed=st.integers(0, 2**32 - 1))
def test_sparse_dot_products_equal_brute_force_with_ties(collection: RetrievalCollection, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dense = [
        (rng.integers(0, 3, (rows, 6)) * (rng.random((rows, 6)) < 0.4)).astype(np.float32)
        for rows in (len(collection.queries), len(collection.passages))
    ]
    sparse = [csr_array(matrix) for matrix in dense]
    assert score_embeddings(*sparse, collection) == score_matrix(dense[0] @ dense[1].T, collection)
    ones = [(matrix > 0).astype(np.float32) for matrix in dense]
    lengths = np.maximum(np.sqrt(ones[1].sum(axis=1)), 1)
    cosine = score_embeddings(*map(csr_array, ones), collection, similarity="cosine")
    rounded = (ones[0] @ ones[1].T / lengths).round(5).astype(np.float32)
    assert by_rank(cosine) == by_rank(score_matrix(rounded, collection))


def test_a_passage_without_tokens_or_weights_ranks_last() -> None:
    collection = build(seed=3, languages=2, questions=3)
    rng = np.random.default_rng(0)
    queries, passages = tokens(rng, len(collection.queries)), tokens(rng, len(collection.passages))
    matrix = brute_force_maxsim(queries, passages)
    passages[0], matrix[:, 0] = np.zeros((0, 4), np.float32), -1000
    assert by_rank(score_embeddings(queries, passages, collection)) == by_rank(score_matrix(matrix, collection))


def similarities(model: Any, queries: list[str], passages: list[str]) -> np.ndarray:
    """Every score by the library's own function, one pair of texts at a time."""
    return np.array(
        [
            [float(model.similarity(model.encode_query([q]), model.encode_document([p]))[0, 0]) for p in passages]
            for q in queries
        ]
    )


@pytest.fixture(params=["sparse", "multi_vector"])
def model(request: pytest.FixtureRequest) -> Any:
    """A sparse and a multi-vector encoder."""
    torch.manual_seed(0)
    return load_encoder(request.getfixturevalue(f"{request.param}_model_path"), device="cpu")


@pytest.fixture
def collection() -> RetrievalCollection:
    """Questions and passages in three languages; some texts occur twice."""
    made = build(seed=7, languages=3, questions=4)
    passages = ["twice", "twice", *made.passages[2:]]
    return replace(made, queries=["both", *made.queries[1:-1], "both"], passages=passages)


def test_the_evaluator_equals_brute_force(model: Any, collection: RetrievalCollection) -> None:
    matrix = similarities(model, list(collection.queries), list(collection.passages))
    expected = score_matrix(np.round(matrix, 5), collection)
    metrics = CrossLingualRetrievalEvaluator(collection, name="small")(model)
    for kind, means in expected.by_setting.items():
        for measure, value in by_rank(means).items():
            assert metrics[f"small_{kind}_{measure}"] == pytest.approx(value, abs=1e-9)
    assert metrics["small_rank_distance"] == pytest.approx(expected.rank_distance)


def test_each_distinct_text_is_encoded_once(
    model: Any, collection: RetrievalCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for role in ("query", "document"):
        method = getattr(model, f"encode_{role}")

        def counted(texts: list[str], role: str = role, method: Any = method, **options: Any) -> Any:
            seen.update((role, text) for text in texts)
            return method(texts, **options)

        monkeypatch.setattr(model, f"encode_{role}", counted)
    evaluate_retrieval(model, collection, query_prompt="Q: ")
    wanted = {("query", text) for text in collection.queries} | {("document", text) for text in collection.passages}
    assert seen == Counter(wanted)


def test_prompts_reach_the_model(model: Any, collection: RetrievalCollection) -> None:
    given = score_queries(*encode_collection(model, collection, query_prompt="Q: ", document_prompt="D: "), collection)
    model.prompts = {"query": "Q: ", "document": "D: "}
    own = score_queries(*encode_collection(model, collection), collection)
    for measure, values in given.measures.items():
        np.testing.assert_array_equal(values, own.measures[measure])


def test_what_they_cannot_do_is_refused_before_encoding(model: Any, collection: RetrievalCollection) -> None:
    model.encode_query = model.encode_document = None
    kind = type(model).__name__
    with pytest.raises(
        TypeError, match=f"Centering needs one dense vector per text: a SentenceTransformer, not a {kind}"
    ):
        CrossLingualRetrievalEvaluator(collection, centering="evaluated")(model)


def test_similarities_that_do_not_fit(
    sparse_model_path: Path, tiny_model_path: Path, collection: RetrievalCollection
) -> None:
    sparse = SparseEncoder(str(sparse_model_path), similarity_fn_name="manhattan", device="cpu")
    with pytest.raises(ValueError, match="A SparseEncoder ranks by dot or cosine, not manhattan"):
        evaluate_retrieval(sparse, collection)
    rows = len(collection.queries), len(collection.passages)
    with pytest.raises(ValueError, match="ranked by maxsim or meanmaxsim, not by 'dot'"):
        score_embeddings(*(tokens(np.random.default_rng(0), n) for n in rows), collection, similarity="dot")
    with pytest.raises(ValueError, match="ranked by dot or cosine, not by 'euclidean'"):
        score_embeddings(*(csr_array(np.eye(n, 3)) for n in rows), collection, similarity="euclidean")
    with pytest.raises(TypeError, match="centering needs one dense vector"):
        score_embeddings(*(csr_array(np.eye(n, 3)) for n in rows), collection, centering="evaluated")
    cross = CrossEncoder(str(tiny_model_path), num_labels=1, device="cpu")
    with pytest.raises(TypeError, match="CrossEncoder gives no embeddings"):
        CrossLingualRetrievalEvaluator(collection)(cross)


@pytest.mark.parametrize("kind", ["sparse", "tokens"])
def test_values_that_are_not_finite(kind: str) -> None:
    collection = build(seed=0, languages=2, questions=3)
    passages: Any = np.ones((len(collection.passages), 4), dtype=np.float32)
    queries: Any = np.ones((len(collection.queries), 4), dtype=np.float32)
    queries[2, 1] = np.nan
    if kind == "sparse":
        queries, passages = csr_array(queries), csr_array(passages)
    else:
        queries, passages = [row[None] for row in queries], [row[None] for row in passages]
    with pytest.raises(ValueError, match=r"1 of \d texts are not finite: query 2, "):
        score_embeddings(queries, passages, collection)
    with pytest.raises(ValueError, match="the collection needs"):
        score_embeddings(queries[:1], passages, collection)
