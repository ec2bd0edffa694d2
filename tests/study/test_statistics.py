"""Intervals over questions and seeds: against scipy and statsmodels where they overlap, and by simulation."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from st_hybrid.study.statistics import Estimate, adjusted, difference, mixed_slope, slope

RNG = np.random.default_rng


def two_way(
    seed: int, seeds: int, questions: int, of_seed: float, of_question: float, rest: float, mean: float = 0.0
) -> np.ndarray:
    """Differences with effects of the seed, of the question and of both."""
    rng = RNG(seed)
    effects = rng.normal(0, of_seed, (seeds, 1)) + rng.normal(0, of_question, (1, questions))
    return mean + effects + rng.normal(0, rest, (seeds, questions))


def test_with_one_seed_it_is_the_paired_t_test() -> None:
    rng = RNG(0)
    first, second = rng.random((2, 1, 300))
    found = difference(first, second)
    peer = stats.ttest_rel(first[0], second[0])
    assert found.value == pytest.approx(np.mean(first - second))
    assert found.interval == pytest.approx(peer.confidence_interval(), abs=0.02 * found.error * 2)
    assert found.p_superior() == pytest.approx(peer.pvalue, rel=0.05)
    one_sided = stats.ttest_1samp((first - second)[0], -0.01, alternative="greater")
    assert found.p_non_inferior(0.01) == pytest.approx(one_sided.pvalue, rel=0.05)


def test_where_only_the_seed_matters_it_is_the_t_test_over_seeds() -> None:
    scores = two_way(1, 6, 50, 0.1, 0.0, 1e-9)
    found = difference(scores, np.zeros_like(scores))
    peer = stats.ttest_1samp(scores.mean(axis=1), 0.0)
    assert found.freedom == pytest.approx(5)
    assert found.interval == pytest.approx(peer.confidence_interval(), rel=0.05, abs=0.002)
    assert found.p_superior() == pytest.approx(peer.pvalue, rel=0.1)


@given(seeds=st.integers(1, 4), questions=st.integers(2, 30), seed=st.integers(0, 99))
def test_exchanging_the_methods_turns_the_sign_and_the_order_of_questions_means_nothing(
    seeds: int, questions: int, seed: int
) -> None:
    first, second = RNG(seed).random((2, seeds, questions))
    found, turned = difference(first, second, resamples=200), difference(second, first, resamples=200)
    assert turned.value == pytest.approx(-found.value)
    assert turned.interval == pytest.approx([-bound for bound in found.interval[::-1]])
    order = RNG(seed).permutation(questions)
    other = difference(first[:, order], second[:, order], resamples=200)
    assert (other.value, other.freedom) == pytest.approx((found.value, found.freedom))
    moved = difference(first + 0.5, second, resamples=200)
    assert moved.interval == pytest.approx([bound + 0.5 for bound in found.interval])


def test_equal_methods_differ_by_nothing() -> None:
    scores = RNG(0).random((3, 20))
    found = difference(scores, scores)
    assert (found.value, found.error, found.interval) == (0, 0, (0, 0))


@pytest.mark.parametrize(
    "effects",
    [(5, 200, 0.01, 0.1, 0.1), (5, 200, 0.02, 0.05, 0.05), (1, 100, 0, 0.1, 0.1), (3, 100, 0, 0.1, 0.3)],
    ids=str,
)
def test_without_an_effect_five_percent_of_the_intervals_miss_zero(
    effects: tuple[int, int, float, float, float],
) -> None:
    """Of 1,000: 5% with a standard error of 0.7%; where seeds decide, Satterthwaite's approximation allows up to 8%."""
    missed = 0
    for number in range(1000):
        low, high = difference(two_way(number, *effects), np.zeros(effects[:2]), resamples=300).interval
        missed += not low <= 0 <= high
    assert 0.025 <= missed / 1000 <= 0.08


def test_the_detectable_effect_is_detected_four_times_of_five() -> None:
    effects = (5, 100, 0.01, 0.1, 0.1)
    size = difference(two_way(0, *effects), np.zeros(effects[:2])).detectable
    estimates = [difference(two_way(n, *effects, mean=size), np.zeros(effects[:2]), resamples=300) for n in range(300)]
    assert 0.7 <= np.mean([one.p_superior() < 0.05 for one in estimates]) <= 0.9


def test_the_slope_is_that_of_least_squares_and_of_a_mixed_model() -> None:
    sizes, rng = [1e5, 4e5, 2e6, 1e7], RNG(3)
    shared = rng.normal(0, 0.1, (1, 60))
    parts = [two_way(n, 4, 60, 0.02, 0, 0.1, mean=0.01 * np.log2(size)) + shared for n, size in enumerate(sizes)]
    found = slope(sizes, parts)
    trainings = [(np.log2(size), mean) for size, part in zip(sizes, parts, strict=True) for mean in part.mean(axis=1)]
    assert found.value == pytest.approx(stats.linregress(*zip(*trainings, strict=True)).slope)
    value, error = mixed_slope(sizes, parts)
    assert found.value == pytest.approx(value, rel=1e-3)
    assert found.error == pytest.approx(error, rel=0.25)
    with pytest.raises(ValueError, match="three sizes or more, got 2"):
        slope(sizes[:2], parts[:2])
    with pytest.raises(ValueError, match="different questions"):
        slope(sizes[:3], [parts[0], parts[1], parts[2][:, :9]])


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    assert adjusted(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_holm_does_not_depend_on_the_order() -> None:
    for order in permutations([0.01, 0.02, 0.04]):
        assert dict(zip(order, adjusted(order), strict=True)) == pytest.approx({0.01: 0.03, 0.02: 0.04, 0.04: 0.04})


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(2, 4\)"):
        difference(np.zeros((2, 3)), np.zeros((2, 4)))
    assert Estimate(0.1, 0.0, 3).p_superior() == 0
