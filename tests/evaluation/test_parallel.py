"""A collection of held-out rows."""

from __future__ import annotations

import pytest
from datasets import Dataset

from st_hybrid.evaluation import parallel_collection


def test_answers_of_a_group_are_relevant_in_all_languages_and_equal_passages_are_one_candidate() -> None:
    rows = Dataset.from_list(
        [
            {"id": 7, "language": "en", "query": "What is red?", "positive": "Tomatoes and cherries are red."},
            {"id": 7, "language": "de", "query": "Was ist rot?", "positive": "Tomaten und Kirschen sind rot."},
            {"id": 8, "language": "en", "query": "Which fruit is red?", "positive": "Tomatoes and cherries are red."},
            {"id": 9, "language": "de", "query": "Was ist blau?", "positive": "Pflaumen sind blau."},
        ]
    )
    collection = parallel_collection(rows, name="fruit")
    assert collection.query_counts == {"de": 2, "en": 2}
    assert collection.candidate_counts == {"de": 2, "en": 1}
    relevant: dict[str, set[str]] = {query: set() for query in rows["query"]}
    for query, candidate in zip(collection.relevant_queries, collection.relevant_candidates, strict=True):
        relevant[collection.queries[query]].add(collection.candidates[candidate])
    both = {"Tomatoes and cherries are red.", "Tomaten und Kirschen sind rot."}
    assert relevant == {
        "What is red?": both,
        "Was ist rot?": both,
        "Which fruit is red?": {"Tomatoes and cherries are red."},
        "Was ist blau?": {"Pflaumen sind blau."},
    }


def test_rows_are_checked() -> None:
    with pytest.raises(ValueError, match="no column 'positive'"):
        parallel_collection(Dataset.from_list([{"id": 1, "language": "en", "query": "What?"}]))
