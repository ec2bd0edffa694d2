"""Retrieval measures from the ranks of the relevant candidates.

Every measure takes the same three arguments: the rank (1 is best) of each relevant candidate, the number of the ranking
that it belongs to, and how many rankings there are. It returns one value a ranking, NaN where nothing is relevant.
A ranking is one query over one pool.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]


def pessimistic_ranks(at_or_above: Integers, rankings: Integers) -> Integers:
    """Ranks of relevant candidates where every tie with a candidate that is not relevant counts against the model.

    Args:
        at_or_above: For each relevant candidate, how many candidates of the pool, itself included, score at least as
            high, shape ``(pairs,)``.
        rankings: Number of the ranking of each relevant candidate, shape ``(pairs,)``.

    Returns:
        The rank of each relevant candidate, shape ``(pairs,)``. Relevant candidates that tie share the last places of
        their tie.

    Example:
        ::

            # Two relevant candidates tie with a third one that is not relevant: they take places 2 and 3.
            pessimistic_ranks(np.array([3, 3]), np.array([0, 0]))  # [2, 3]
    """
    if not len(rankings):
        return at_or_above
    order = np.lexsort((at_or_above, rankings))
    count, ranking = at_or_above[order], rankings[order]
    last_of_tie = np.append((count[1:] != count[:-1]) | (ranking[1:] != ranking[:-1]), True)
    tie = np.cumsum(last_of_tie) - last_of_tie
    ranks = np.empty_like(at_or_above)
    ranks[order] = count - (np.flatnonzero(last_of_tie)[tie] - np.arange(len(tie)))
    return ranks


def average_precision(ranks: Integers, rankings: Integers, total: int) -> Floats:
    """Average precision over the full ranking, shape ``(total,)``."""
    order = np.lexsort((ranks, rankings))
    relevant = np.bincount(rankings, minlength=total)
    first = np.cumsum(relevant) - relevant
    hits = np.arange(1, len(order) + 1) - first[rankings[order]]
    return _divide(np.bincount(rankings[order], weights=hits / ranks[order], minlength=total), relevant)


def recall_at(k: int, ranks: Integers, rankings: Integers, total: int) -> Floats:
    """Share of the relevant candidates that are among the first ``k``, shape ``(total,)``."""
    return _divide(np.bincount(rankings[ranks <= k], minlength=total), np.bincount(rankings, minlength=total))


def ndcg_at(k: int, ranks: Integers, rankings: Integers, total: int) -> Floats:
    """Normalised discounted cumulative gain of the first ``k``, shape ``(total,)``.

    A relevant candidate at rank r gains 1 / log2(r + 1); the sum is divided by that of a ranking with all relevant
    candidates first, cut at ``k`` too.
    """
    gains = 1 / np.log2(np.arange(2, k + 2))
    among = ranks <= k
    gained = np.bincount(rankings[among], weights=gains[ranks[among] - 1], minlength=total)
    relevant = np.bincount(rankings, minlength=total)
    return _divide(gained, np.append(0.0, np.cumsum(gains))[np.minimum(relevant, k)])


def reciprocal_rank_at(k: int, ranks: Integers, rankings: Integers, total: int) -> Floats:
    """One over the rank of the first relevant candidate, 0 if it is not among the first ``k``, shape ``(total,)``."""
    best = np.full(total, np.inf)
    np.minimum.at(best, rankings, ranks)
    return np.where(best <= k, 1 / best, np.where(np.isinf(best), np.nan, 0.0))


def _divide(values: Floats | Integers, counts: Floats | Integers) -> Floats:
    return np.divide(values, counts, out=np.full(len(values), np.nan), where=counts > 0)
