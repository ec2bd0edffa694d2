from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from st_hybrid.evaluation import RetrievalCollection


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
        candidate_ids=[f"c{k}" for k in range(120)],
        candidates=[f"sentence {k}" for k in range(120)],
        candidate_languages=np.arange(120) // 60,
        relevant_queries=np.concatenate([query, query]),
        relevant_candidates=np.concatenate([sentence, sentence + 60]),
        candidate_passages=np.arange(120) // 3,
    )


def texts_of_pairs(collection: RetrievalCollection) -> set[tuple[str, str]]:
    pairs = zip(collection.relevant_queries, collection.relevant_candidates, strict=True)
    return {(collection.queries[q], collection.candidates[c]) for q, c in pairs}


@pytest.mark.parametrize("whole_pool", [False, True])
def test_sample_takes_questions_in_all_their_languages(collection: RetrievalCollection, whole_pool: bool) -> None:
    sample = collection.sample(7, seed=3, whole_pool=whole_pool)
    assert sample.query_counts == {"en": 7, "de": 7}
    assert sample.query_ids[:7] == sample.query_ids[7:]
    assert texts_of_pairs(sample) == {pair for pair in texts_of_pairs(collection) if pair[0] in sample.queries}
    passages = {int(identifier[1:]) // 2 for identifier in sample.query_ids}
    kept = 120 if whole_pool else 2 * 3 * len(passages)
    assert len(sample.candidates) == kept


def test_sample_is_seeded_and_nested(collection: RetrievalCollection) -> None:
    assert collection.sample(7, seed=1).query_ids == collection.sample(7, seed=1).query_ids
    assert collection.sample(7, seed=1).query_ids != collection.sample(7, seed=2).query_ids
    assert set(collection.sample(7, seed=1).query_ids) < set(collection.sample(9, seed=1).query_ids)
    assert collection.sample(40) is collection
    with pytest.raises(ValueError, match="at least 1"):
        collection.sample(0)


def test_sample_without_passages_keeps_the_relevant_candidates(collection: RetrievalCollection) -> None:
    sample = replace(collection, candidate_passages=None).sample(5)
    assert len(sample.candidates) == len(set(sample.relevant_candidates.tolist()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": ["one"]}, "query columns have different lengths"),
        ({"candidate_passages": np.zeros(3, int)}, "candidate columns have different lengths"),
        ({"relevant_queries": [], "relevant_candidates": []}, "relevance columns are empty"),
        ({"languages": ("en",)}, r"query_languages must lie in \[0, 1\)"),
        ({"relevant_candidates": np.full(160, 120)}, r"relevant_candidates must lie in \[0, 120\)"),
        ({"languages": ("en", "en")}, "language is named twice"),
        ({"candidate_ids": ["c"] * 120}, "candidate id is repeated"),
        ({"query_ids": ["q"] * 80}, "query id is repeated"),
        ({"relevant_queries": np.zeros(160, int), "relevant_candidates": np.zeros(160, int)}, "relevant twice"),
    ],
)
def test_inconsistent_columns(collection: RetrievalCollection, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^numbers: .*{message}"):
        replace(collection, **change)


def test_some_languages_of_queries_and_candidates(collection: RetrievalCollection) -> None:
    part = collection.in_languages(["de"], ["en"])
    assert part.query_counts == {"en": 0, "de": 40}
    assert part.candidate_counts == {"en": 60, "de": 0}
    chosen = {f"sentence {k}" for k in range(60)}
    german = {f"question {k}" for k in range(40, 80)}
    expected = {(query, text) for query, text in texts_of_pairs(collection) if query in german and text in chosen}
    assert texts_of_pairs(part) == expected
    assert len(expected) == 40
    assert texts_of_pairs(collection.in_languages(["en", "de"], ["en", "de"])) == texts_of_pairs(collection)
    with pytest.raises(ValueError, match="numbers is not in fr, only in en, de"):
        collection.in_languages(["fr"], ["en"])
