"""Rankings with a quota per language equal those that are merged by hand, with any ties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.evaluation import RetrievalCollection

from .random_collections import build, collections, score_matrix, score_matrix_queries


def gains(collection: RetrievalCollection) -> np.ndarray:
    """The grade of each passage for each query, 0 if it is not relevant."""
    grades = np.zeros((len(collection.queries), len(collection.passages)))
    given_grades = np.ones(len(collection.relevant_queries)) if collection.grades is None else collection.grades
    grades[collection.relevant_queries, collection.relevant_passages] = given_grades
    return grades


def merged_by_hand(scores: np.ndarray, last: np.ndarray, languages: np.ndarray) -> np.ndarray:
    """Minus the place of each passage, the same for those that tie; of a language's equal scores, ``last`` decides."""
    rank, seen = np.empty(len(scores), dtype=int), dict.fromkeys(languages.tolist(), 0)
    for passage in sorted(range(len(scores)), key=lambda c: (-scores[c], last[c])):
        seen[languages[passage]] += 1
        rank[passage] = seen[languages[passage]]
    keys = list(zip(rank.tolist(), (-scores).tolist(), strict=True))
    place = {key: number for number, key in enumerate(sorted(set(keys)))}
    return -np.array([place[key] for key in keys], dtype=np.float32)


@given(collection=collections, distinct=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), graded=st.booleans())
def test_equals_a_ranking_merged_by_hand(
    collection: RetrievalCollection, distinct: int, seed: int, graded: bool
) -> None:
    rng = np.random.default_rng(seed)
    if graded:
        grades = rng.integers(1, 4, len(collection.relevant_queries)).astype(np.float64)
        collection = replace(collection, grades=grades)
    gain = gains(collection)
    matrix = rng.integers(0, distinct, gain.shape).astype(np.float32)
    worst, best = (
        np.stack([merged_by_hand(*row, collection.passage_languages) for row in zip(matrix, order, strict=True)])
        for order in (gain, -gain)
    )
    found, plain = score_matrix(matrix, collection, quotas=True), score_matrix(matrix, collection)
    expected = score_matrix(worst, collection)
    for setting, scores in found.per_pair.items():
        values = scores.to_dict()
        by_hand = (expected if setting.endswith("multi") else plain).per_pair[setting].to_dict()
        # The first is below; merged rankings are not correlated, and their places are no similarities.
        for name in ("rank_distance", "rank_correlation", "contrastive_entropy"):
            values.pop(name, None)
            by_hand.pop(name, None)
        assert values == pytest.approx(by_hand, abs=1e-9)
    for language, shares in found.top_10_languages.items():
        assert shares == pytest.approx(expected.top_10_languages[language])

    distances = []
    for row, low, high in zip(gain > 0, worst, best, strict=True):
        if len(set(collection.passage_languages[row])) > 1:
            distances.append((low >= low[row].min()).sum() - (high > high[row].max()).sum() - 1)
    known = score_matrix_queries(matrix, collection, quotas=True).rank_distance
    assert known[~np.isnan(known)].tolist() == distances


def test_the_first_passages_take_turns() -> None:
    collection = build(seed=3, languages=4, questions=9, filler=60)
    matrix = np.random.default_rng(0).standard_normal((len(collection.queries), len(collection.passages)))
    matrix = matrix.astype(np.float32)
    found = score_matrix_queries(matrix, collection, quotas=True)
    for query, row in enumerate(matrix):
        by_hand = merged_by_hand(row, row, collection.passage_languages)
        assert found.first_10[query].tolist() == np.argsort(-by_hand)[:10].tolist()
        for turn in (found.first_10[query, :4], found.first_10[query, 4:8]):
            assert sorted(collection.passage_languages[turn]) == [0, 1, 2, 3]
