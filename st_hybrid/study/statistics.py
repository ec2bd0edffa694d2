"""Differences between methods, with intervals over questions and seeds at once."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["Estimate", "adjusted", "difference", "mixed_slope", "slope"]

Doubles = npt.NDArray[np.float64]

LEVEL, POWER = 0.95, 0.8


@dataclass(frozen=True)
class Estimate:
    """A difference or slope, and what the design says of it.

    Args:
        value: The estimate.
        error: Its standard error.
        freedom: Degrees of freedom of the error.
    """

    value: float
    error: float
    freedom: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval."""
        reach = float(stats.t.ppf((1 + LEVEL) / 2, self.freedom)) * self.error
        return self.value - reach, self.value + reach

    @property
    def detectable(self) -> float:
        """The smallest effect that a design with this error finds with 80% power at the 5% level."""
        return float(stats.t.ppf((1 + LEVEL) / 2, self.freedom) + stats.t.ppf(POWER, self.freedom)) * self.error

    def p_superior(self) -> float:
        """Two-sided p of no difference."""
        return float(2 * stats.t.sf(abs(self._t(0.0)), self.freedom))

    def p_non_inferior(self, margin: float) -> float:
        """One-sided p of a loss of at least ``margin``, where more is better."""
        return float(stats.t.sf(self._t(-margin), self.freedom))

    def _t(self, null: float) -> float:
        return (self.value - null) / self.error if self.error else np.copysign(np.inf, self.value - null)


def difference(scores: npt.ArrayLike, against: npt.ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> Estimate:
    """Estimate the mean difference of two methods over the questions and the seeds.

    The multi-bootstrap draws seeds and questions, the same for both methods, and the standard error is that of the
    resamples. With few seeds its intervals would be too short. Two corrections mend this: the deviations of seeds, of
    questions and of both are scaled to unbiased estimates of their variances, and the interval takes the quantiles of
    t. Its degrees of freedom are Satterthwaite's. With one seed, the error is that of the questions alone.

    Args:
        scores: Score of each question, the mean of all its languages, shape ``(seeds, questions)``.
        against: Those of the other method, with the same seeds and questions.
        resamples: Number of resamples.
        seed: Seed of the resamples.

    Raises:
        ValueError: The shapes differ, or there are fewer than two questions.

    Example:
        ::

            from st_hybrid.study.statistics import difference

            found = difference([[0.7, 0.8, 0.9], [0.6, 0.8, 0.8]], [[0.6, 0.8, 0.7], [0.6, 0.7, 0.8]])
            print(found.value, found.interval, found.p_superior(), found.detectable)

    References:
        Sellam et al. 2022, The MultiBERTs, https://arxiv.org/abs/2106.16163; Satterthwaite 1946.
    """
    first, second = np.asarray(scores, dtype=np.float64), np.asarray(against, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 2 or first.shape[1] < 2:
        raise ValueError(
            f"scores must have the shape (seeds, questions) of both methods, got {first.shape} and {second.shape}."
        )
    found = first - second
    drawn = _Resamples(found.shape[1], resamples, seed)
    return _estimate(float(found.mean()), [drawn.means(found)], [found])


def slope(
    sizes: Sequence[float], differences: Sequence[npt.ArrayLike], *, resamples: int = 10_000, seed: int = 0
) -> Estimate:
    """Estimate by how much a difference of two methods changes when the encoder's size doubles.

    The slope of the least-squares line of the differences on log2 of the sizes. A resample draws the questions once for
    all sizes, and the seeds of each size on their own: equal seeds of two sizes start with unlike weights.

    Args:
        sizes: Active parameters of each encoder, without embeddings.
        differences: For each encoder the differences, shape ``(seeds, questions)``, with the same questions.
        resamples: Number of resamples.
        seed: Seed of the resamples.

    Raises:
        ValueError: There are fewer than three sizes, or the questions differ.

    Example:
        ::

            from st_hybrid.study.statistics import slope

            gains = [[[0.1, 0.2, 0.1], [0.2, 0.1, 0.1]], [[0.2, 0.2, 0.3], [0.2, 0.3, 0.3]], [[0.4, 0.3, 0.3]] * 2]
            print(slope([3e5, 1e6, 3e6], gains).interval)
    """
    parts = [np.asarray(part, dtype=np.float64) for part in differences]
    if len(sizes) != len(parts) or len(set(sizes)) < 3:
        raise ValueError(f"A slope needs differences at three sizes or more, got {len(set(sizes))}.")
    if len({part.shape[1] for part in parts}) != 1:
        raise ValueError("The sizes were measured on different questions.")
    steps = np.log2(np.asarray(sizes, dtype=np.float64))
    weights = (steps - steps.mean()) / ((steps - steps.mean()) ** 2).sum()
    drawn = _Resamples(parts[0].shape[1], resamples, seed)
    value = float(sum(weight * part.mean() for weight, part in zip(weights, parts, strict=True)))
    resampled = [weight * drawn.means(part) for weight, part in zip(weights, parts, strict=True)]
    return _estimate(value, resampled, [weight * part for weight, part in zip(weights, parts, strict=True)])


def mixed_slope(sizes: Sequence[float], differences: Sequence[npt.ArrayLike]) -> tuple[float, float]:
    """The slope of :func:`slope` and its standard error by a mixed model with an intercept per training.

    A check by another road: restricted maximum likelihood. Needs statsmodels (``pip install "st-hybrid[study]"``).
    """
    try:
        from statsmodels.regression.mixed_linear_model import MixedLM
    except ImportError as error:
        raise ImportError('A mixed model needs statsmodels: pip install "st-hybrid[study]".') from error

    parts = [np.asarray(part, dtype=np.float64) for part in differences]
    steps = np.concatenate([np.full(part.size, np.log2(size)) for size, part in zip(sizes, parts, strict=True)])
    trainings = np.repeat(np.arange(sum(map(len, parts))), parts[0].shape[1])
    design = np.column_stack([np.ones_like(steps), steps])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of variances near 0, where the slope is that of least squares
        fitted = MixedLM(np.concatenate([part.ravel() for part in parts]), design, groups=trainings).fit()
    return float(fitted.params[1]), float(fitted.bse[1])


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment of the p-values of a family of tests.

    References:
        Holm 1979, A simple sequentially rejective multiple test procedure
    """
    given = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    raised = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    found = np.empty_like(given)
    found[order] = np.minimum(raised, 1.0)
    return found.tolist()


class _Resamples:
    """Means over drawn seeds and questions; all draw the same questions."""

    def __init__(self, questions: int, resamples: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.questions = self.rng.multinomial(questions, np.full(questions, 1 / questions), resamples) / questions

    def means(self, found: Doubles) -> Doubles:
        """The mean of each resample of an array of shape ``(seeds, questions)``."""
        parts = _parts(found)
        scaled = found.mean() + sum(_scaled(part, variance) for part, variance in parts)
        drawn = self.rng.multinomial(len(found), np.full(len(found), 1 / len(found)), len(self.questions)) / len(found)
        return np.asarray(((drawn @ scaled) * self.questions).sum(axis=1))


def _parts(found: Doubles) -> list[tuple[Doubles, float]]:
    """The deviations of seeds, of questions and of both, and unbiased estimates of their variances (two-way ANOVA)."""
    seeds, questions = found.shape
    of_seed = found.mean(axis=1, keepdims=True) - found.mean()
    of_question = found.mean(axis=0, keepdims=True) - found.mean()
    rest = found - found.mean() - of_seed - of_question
    noise = float((rest**2).sum()) / max(1, (seeds - 1) * (questions - 1))
    raw = [float((part**2).sum()) / max(1, part.size - 1) for part in (of_seed, of_question)]
    return [
        (of_seed, max(0.0, raw[0] - noise / questions)),
        (of_question, max(0.0, raw[1] - noise / seeds)),
        (rest, noise),
    ]


def _scaled(part: Doubles, variance: float) -> Doubles:
    """Deviations that have a given variance: as they are, those of few seeds or questions are too small."""
    found = float((part**2).mean())
    return part * np.sqrt(variance / found) if found else part


def _estimate(value: float, resampled: Sequence[Doubles], parts: Sequence[Doubles]) -> Estimate:
    """The estimate, from its resamples and from the parts that add up to it."""
    error = float(np.std(np.sum(resampled, axis=0), ddof=1))
    # Satterthwaite: the variance of the mean by each source, and its degrees of freedom.
    sources = [(_parts(part)[0][1] / len(part), len(part) - 1) for part in parts if len(part) > 1]
    of_questions = np.sum([part.mean(axis=0) for part in parts], axis=0)
    sources.append((float(of_questions.var(ddof=1)) / len(of_questions), len(of_questions) - 1))
    total = sum(variance for variance, _ in sources)
    spread = sum(variance**2 / freedom for variance, freedom in sources)
    return Estimate(value, error, float(total**2 / spread) if spread else float(len(of_questions) - 1))
