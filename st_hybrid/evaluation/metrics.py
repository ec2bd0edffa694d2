"""Retrieval measures from the ranks of the relevant passages: the one place that computes them.

The measures take the rank (1 is best) of each relevant passage, the number of the ranking that it belongs to, and the
number of rankings. They return one value per ranking, shape ``(total,)``, NaN where nothing is relevant. A ranking is
one query over one pool.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from st_hybrid.grouping import place_in_group

Integers = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]


def measure_rankings(
    at_or_above: Integers, rankings: Integers, total: int, grades: Floats | float = 1.0
) -> dict[str, Floats]:
    """Compute all measures of rankings in which every tie counts against the model.

    Args:
        at_or_above: For each relevant passage, the number of passages of the pool, itself included, that score at least
            as high, shape ``(pairs,)``.
        rankings: Number of the ranking of each relevant passage, shape ``(pairs,)``.
        total: Number of rankings.
        grades: Gain in nDCG of each relevant passage, shape ``(pairs,)``, or of all.

    Returns:
        Values of each of :data:`~st_hybrid.evaluation.results.MEASURES`, shape ``(total,)``.

    Example:
        ::

            import numpy as np
            from st_hybrid.evaluation.metrics import measure_rankings

            # Two queries: the first finds its passage in place 1, the second in place 4.
            print(measure_rankings(np.array([1, 4]), np.array([0, 1]), 2)["map"])  # [1.   0.25]
    """
    ranks = pessimistic_ranks(at_or_above, rankings, grades)
    return {
        "map": average_precision(ranks, rankings, total),
        "recall_at_1": recall_at(1, ranks, rankings, total),
        "recall_at_10": recall_at(10, ranks, rankings, total),
        "ndcg_at_10": ndcg_at(10, ranks, rankings, total, grades),
        "mrr_at_10": reciprocal_rank_at(10, ranks, rankings, total),
    }


def rank_distance(at_or_above: Integers, above_best: Integers, rankings: Integers, total: int) -> Floats:
    """Largest minus smallest rank among the relevant passages, NaN for fewer than two.

    The largest rank counts ties and the smallest does not: a tie must not make a language bias look small.

    ``above_best`` is the number of passages that score higher than a ranking's best relevant one, shape ``(total,)``.
    """
    largest = np.zeros(total, dtype=np.int64)
    np.maximum.at(largest, rankings, at_or_above)
    return np.where(np.bincount(rankings, minlength=total) > 1, largest - above_best - 1, np.nan)


def pessimistic_ranks(at_or_above: Integers, rankings: Integers, grades: Floats | float = 1.0) -> Integers:
    """Ranks of relevant passages; in a tie they take the last places, the highest grade the very last; ``(pairs,)``."""
    if not len(rankings):
        return at_or_above
    order = np.lexsort((np.broadcast_to(grades, rankings.shape), at_or_above, rankings))
    count, ranking = at_or_above[order], rankings[order]
    last_of_tie = np.append((count[1:] != count[:-1]) | (ranking[1:] != ranking[:-1]), True)
    tie = np.cumsum(last_of_tie) - last_of_tie
    ranks = np.empty_like(at_or_above)
    ranks[order] = count - (np.flatnonzero(last_of_tie)[tie] - np.arange(len(tie)))
    return ranks


def average_precision(ranks: Integers, rankings: Integers, total: int) -> Floats:
    """Average precision over the full ranking."""
    order = np.lexsort((ranks, rankings))
    relevant = np.bincount(rankings, minlength=total)
    first = np.cumsum(relevant) - relevant
    hits = np.arange(1, len(order) + 1) - first[rankings[order]]
    return _divide(np.bincount(rankings[order], weights=hits / ranks[order], minlength=total), relevant)


def recall_at(k: int, ranks: Integers, rankings: Integers, total: int) -> Floats:
    """Share of the relevant passages that are among the first ``k``."""
    return _divide(np.bincount(rankings[ranks <= k], minlength=total), np.bincount(rankings, minlength=total))


def ndcg_at(k: int, ranks: Integers, rankings: Integers, total: int, grades: Floats | float = 1.0) -> Floats:
    """Normalised discounted cumulative gain of the first ``k``: a passage at rank r gains its grade / log2(r + 1)."""
    best, grades = np.empty_like(ranks), np.broadcast_to(grades, rankings.shape)
    order = np.lexsort((-grades, rankings))
    best[order] = 1 + place_in_group(rankings[order])

    gained, most = (
        np.bincount(rankings, weights=np.where(order <= k, grades / np.log2(order + 1), 0.0), minlength=total)
        for order in (ranks, best)
    )
    return _divide(gained, most)


def reciprocal_rank_at(k: int, ranks: Integers, rankings: Integers, total: int) -> Floats:
    """One over the rank of the first relevant passage, 0 if it is not among the first ``k``."""
    best = np.full(total, np.inf)
    np.minimum.at(best, rankings, ranks)
    return np.where(best <= k, 1 / best, np.where(np.isinf(best), np.nan, 0.0))


def _divide(values: Floats | Integers, counts: Floats | Integers) -> Floats:
    return np.divide(values, counts, out=np.full(len(values), np.nan), where=counts > 0)
