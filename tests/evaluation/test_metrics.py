from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from st_hybrid.evaluation.metrics import measure_rankings, rank_correlation, recall_at
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


def test_recall_by_hand() -> None:
    """Of four passages in question two tie in places 3 to 5, of which they take the last two."""
    counts, rankings = np.array([5, 1, 5, 9, 2]), np.array([0, 0, 0, 0, 2])
    expected = {1: 1 / 4, 3: 1 / 4, 4: 2 / 4, 5: 3 / 4, 9: 1}
    for k, share in expected.items():
        assert recall_at(k, counts, rankings, 3) == pytest.approx([share, np.nan, float(k >= 2)], nan_ok=True)


def orders(scores: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All rankings of the passages in which a higher score has the higher rank."""
    rising = sorted(scores)
    return [ranks for ranks in permutations(range(len(scores))) if [rising[rank] for rank in ranks] == list(scores)]


def tuples(size: int) -> st.SearchStrategy[list[tuple[int, ...]]]:
    return st.lists(st.tuples(*[st.integers(0, 3)] * size), min_size=2, max_size=3)


@given(scores=st.integers(2, 4).flatmap(tuples))
def test_rank_correlation_is_the_mean_over_all_orders_of_ties(scores: list[tuple[int, ...]]) -> None:
    found = rank_correlation(rankdata(scores, axis=1), np.zeros(len(scores), dtype=np.int64))
    for number, own in enumerate(scores):
        expected = [
            np.mean([spearmanr(*pair).statistic for pair in product(orders(own), orders(other))])
            for other in scores[:number] + scores[number + 1 :]
        ]
        assert found[number] == pytest.approx(np.mean(expected), abs=1e-12)


def test_rank_correlation_is_that_of_a_group() -> None:
    ranks = np.array([[1, 2, 3, 4], [4, 3, 2, 1], [1, 2, 3, 4], [1, 2, 3, 4], [2, 1, 3, 4]], dtype=float)
    assert rank_correlation(ranks, np.array([7, 7, 3, 9, 9])) == pytest.approx([-1, -1, np.nan, 0.8, 0.8], nan_ok=True)
    assert np.isnan(rank_correlation(np.ones((2, 1)), np.array([0, 0]))).all()  # one passage has no order
