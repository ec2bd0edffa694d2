from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.evaluation.metrics import measure_rankings
from st_hybrid.evaluation.results import MEASURES


def test_by_hand() -> None:
    """Three rankings: relevant passages in places 4 and 1, none, and in place 12."""
    measures = measure_rankings(np.array([4, 1, 12]), np.array([0, 0, 2]), 3)
    assert tuple(measures) == MEASURES
    expected = {
        "map": [(1 / 1 + 2 / 4) / 2, np.nan, 1 / 12],
        "recall_at_1": [0.5, np.nan, 0],
        "recall_at_10": [1, np.nan, 0],
        "ndcg_at_10": [(1 + 1 / np.log2(5)) / (1 + 1 / np.log2(3)), np.nan, 0],
        "mrr_at_10": [1, np.nan, 0],
    }
    for measure, values in expected.items():
        assert measures[measure] == pytest.approx(values, nan_ok=True), measure


def test_tied_relevant_passages_take_the_last_places_of_their_tie() -> None:
    # One passage above, then three relevant ones and one other tie in places 2 to 5.
    tied = measure_rankings(np.array([5, 5, 9, 5]), np.array([0, 0, 1, 0]), 2)
    apart = measure_rankings(np.array([3, 4, 5, 9]), np.array([0, 0, 0, 1]), 2)
    for measure in MEASURES:
        assert tied[measure].tolist() == apart[measure].tolist()
    assert tied["map"][0] == pytest.approx((1 / 3 + 2 / 4 + 3 / 5) / 3)


def test_nothing_relevant() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert all(np.isnan(values).tolist() == [True, True] for values in measure_rankings(none, none, 2).values())


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=40), min_size=1, max_size=8), st.integers(0, 99))
def test_all_agree_with_pytrec_eval(rankings: list[list[bool]], seed: int) -> None:
    found = [(r, place + 1) for r, row in enumerate(rankings) for place, hit in enumerate(row) if hit]
    pairs = np.random.default_rng(seed).permutation(np.array(found, dtype=np.int64).reshape(-1, 2))
    run = {f"{r}": {f"{place}": -float(place) for place in range(len(row))} for r, row in enumerate(rankings)}
    qrels = {f"{r}": {f"{place}": int(hit) for place, hit in enumerate(row)} for r, row in enumerate(rankings)}
    names = ("map", "recall_1", "recall_10", "ndcg_cut_10", "recip_rank")
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"map", "recall.1,10", "ndcg_cut.10", "recip_rank"}).evaluate(run)
    ours = measure_rankings(pairs[:, 1], pairs[:, 0], len(rankings))
    for r, row in enumerate(rankings):
        for name, measure in zip(names, MEASURES, strict=True):
            expected = theirs[str(r)][name]
            if name == "recip_rank" and not any(row[:10]):
                expected = 0.0  # trec_eval's has no cutoff
            assert ours[measure][r] == pytest.approx(expected if any(row) else np.nan, abs=1e-9, nan_ok=True), measure


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
