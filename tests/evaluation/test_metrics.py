from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.evaluation.metrics import (
    average_precision,
    measure_rankings,
    ndcg_at,
    pessimistic_ranks,
    recall_at,
    reciprocal_rank_at,
)


def test_ranks_without_ties_are_the_counts() -> None:
    assert pessimistic_ranks(np.array([5, 1, 2]), np.array([0, 0, 1])).tolist() == [5, 1, 2]


def test_tied_relevant_passages_take_the_last_places_of_their_tie() -> None:
    # Ranking 0: one passage above, then three relevant ones and one other tie in places 2 to 5.
    assert pessimistic_ranks(np.array([5, 5, 5, 9]), np.array([0, 0, 0, 1])).tolist() == [3, 4, 5, 9]


def test_average_precision_and_recall() -> None:
    ranks, rankings = np.array([4, 1, 2]), np.array([0, 0, 2])
    assert average_precision(ranks, rankings, 3) == pytest.approx([(1 / 1 + 2 / 4) / 2, np.nan, 1 / 2], nan_ok=True)
    assert recall_at(1, ranks, rankings, 3) == pytest.approx([0.5, np.nan, 0.0], nan_ok=True)
    assert recall_at(4, ranks, rankings, 3) == pytest.approx([1.0, np.nan, 1.0], nan_ok=True)


def test_nothing_relevant() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert len(pessimistic_ranks(none, none)) == 0
    assert np.isnan(average_precision(none, none, 2)).all()
    assert np.isnan(ndcg_at(10, none, none, 2)).all()
    assert np.isnan(reciprocal_rank_at(10, none, none, 2)).all()


def test_ndcg_and_reciprocal_rank() -> None:
    ranks, rankings = np.array([3, 1, 5]), np.array([0, 0, 2])
    ideal = 1 + 1 / np.log2(3)
    assert ndcg_at(3, ranks, rankings, 3) == pytest.approx([(1 + 1 / 2) / ideal, np.nan, 0], nan_ok=True)
    assert ndcg_at(1, ranks, rankings, 3) == pytest.approx([1, np.nan, 0], nan_ok=True)  # the ideal is cut too
    assert reciprocal_rank_at(5, ranks, rankings, 3) == pytest.approx([1, np.nan, 1 / 5], nan_ok=True)
    assert reciprocal_rank_at(4, ranks, rankings, 3) == pytest.approx([1, np.nan, 0], nan_ok=True)


@given(
    rankings=st.lists(st.lists(st.booleans(), min_size=1, max_size=40), min_size=1, max_size=8),
    k=st.integers(1, 30),
)
def test_all_agree_with_pytrec_eval(rankings: list[list[bool]], k: int) -> None:
    found = [(r, place + 1) for r, row in enumerate(rankings) for place, hit in enumerate(row) if hit]
    pairs = np.random.default_rng(k).permutation(np.array(found, dtype=np.int64).reshape(-1, 2))
    run = {f"{r}": {f"{place}": -float(place) for place in range(len(row))} for r, row in enumerate(rankings)}
    qrels = {f"{r}": {f"{place}": int(hit) for place, hit in enumerate(row)} for r, row in enumerate(rankings)}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"map", f"recall.{k}", f"ndcg_cut.{k}", "recip_rank"}).evaluate(run)

    given_pairs = pairs[:, 1], pairs[:, 0], len(rankings)
    ours = {
        "map": average_precision(*given_pairs),
        f"recall_{k}": recall_at(k, *given_pairs),
        f"ndcg_cut_{k}": ndcg_at(k, *given_pairs),
        "recip_rank": reciprocal_rank_at(k, *given_pairs),
    }
    for r, row in enumerate(rankings):
        for measure, values in ours.items():
            expected = theirs[str(r)][measure]
            if measure == "recip_rank" and not any(row[:k]):
                expected = 0.0  # trec_eval's has no cutoff
            assert values[r] == pytest.approx(expected if any(row) else np.nan, abs=1e-9, nan_ok=True), measure


@given(rankings=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=30), min_size=1, max_size=6))
def test_grades_are_the_gains_of_ndcg(rankings: list[list[int]]) -> None:
    found = [(r, place + 1, grade) for r, row in enumerate(rankings) for place, grade in enumerate(row) if grade]
    ranking, rank, grade = np.array(found, dtype=np.int64).reshape(-1, 3).T
    run = {f"{r}": {f"{place}": -float(place) for place in range(len(row))} for r, row in enumerate(rankings)}
    qrels = {f"{r}": {f"{place}": grade for place, grade in enumerate(row)} for r, row in enumerate(rankings)}
    expected = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(run)
    values = measure_rankings(rank, ranking, len(rankings), grade.astype(float))["ndcg_at_10"]
    for r, row in enumerate(rankings):
        assert values[r] == pytest.approx(expected[f"{r}"]["ndcg_cut_10"] if any(row) else np.nan, nan_ok=True)


def test_in_a_tie_the_highest_grade_comes_last() -> None:
    values = measure_rankings(np.array([2, 2]), np.array([0, 0]), 1, np.array([3.0, 1.0]))
    worst, best = 1 + 3 / np.log2(3), 3 + 1 / np.log2(3)
    assert values["ndcg_at_10"] == pytest.approx([worst / best])
    assert values["map"] == pytest.approx([1.0])
