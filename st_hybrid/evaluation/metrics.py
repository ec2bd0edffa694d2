"""Retrieval measures from the ranks of the relevant passages. A ranking is one query over one pool."""

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]


def measure_rankings(
    at_or_above: Integers, rankings: Integers, total: int, grades: Floats | None = None
) -> dict[str, Floats]:
    """Compute all measures of rankings in which every tie counts against the model.

    Args:
        at_or_above: Per relevant passage, passages of the pool and itself that score as high, shape ``(pairs,)``.
        rankings: Number of the ranking of each relevant passage, shape ``(pairs,)``.
        total: Number of rankings; a measure has a value for each, NaN where nothing is relevant.
        grades: Gain in nDCG of each relevant passage, 1 by default, shape ``(pairs,)``.
    """
    grades = np.ones(len(rankings)) if grades is None else grades
    order, best = np.lexsort((grades, at_or_above, rankings)), np.lexsort((-grades, rankings))
    count, ranking, place = at_or_above[order], rankings[order], np.arange(len(order))
    relevant = np.bincount(ranking, minlength=total)
    hit = place + 1 - (np.cumsum(relevant) - relevant)[ranking]  # 1 for the first relevant passage of a ranking
    rank = _ranks(count, ranking)  # in a tie, the one with the highest grade comes last

    def shares(values: npt.NDArray[np.generic], of: npt.NDArray[np.generic] = relevant) -> Floats:
        sums = np.bincount(ranking, weights=values, minlength=total)
        return np.divide(sums, of, out=np.full(total, np.nan), where=relevant > 0)

    among_10 = rank <= 10
    most = np.bincount(ranking, weights=(hit <= 10) * grades[best] / np.log2(hit + 1), minlength=total)
    return {
        "map": shares(hit / rank),
        "recall_at_1": shares(rank == 1),
        "recall_at_10": shares(among_10),
        "ndcg_at_10": shares(among_10 * grades[order] / np.log2(rank + 1), most),
        "mrr_at_10": shares((among_10 & (hit == 1)) / rank, np.minimum(relevant, 1)),
    }


def rank_distance(at_or_above: Integers, above_best: Integers, rankings: Integers, total: int) -> Floats:
    """Largest minus smallest rank among the relevant passages, NaN for fewer than two.

    The largest rank counts ties and the smallest does not: a tie must not make a language bias look small.
    ``above_best`` is the number of passages that score higher than a ranking's best relevant one, shape ``(total,)``.
    """
    largest = np.zeros(total, dtype=np.int64)
    np.maximum.at(largest, rankings, at_or_above)
    return np.where(np.bincount(rankings, minlength=total) > 1, largest - above_best - 1, np.nan)


def recall_at(k: int, at_or_above: Integers, rankings: Integers, total: int) -> Floats:
    """Share of a ranking's passages in question that are among its first ``k``, NaN where there are none.

    Args:
        k: Number of first passages.
        at_or_above: Per passage in question, passages of the pool and itself that score as high, shape ``(some,)``.
        rankings: Number of the ranking of each, shape ``(some,)``.
        total: Number of rankings.
    """
    order = np.lexsort((at_or_above, rankings))
    found = _ranks(at_or_above[order], rankings[order]) <= k
    asked = np.bincount(rankings, minlength=total)
    hits = np.bincount(rankings[order], weights=found, minlength=total)
    return np.divide(hits, asked, out=np.full(total, np.nan), where=asked > 0)


def rank_correlation(ranks: Floats, groups: Integers) -> Floats:
    """Mean rank correlation of each ranking with the other rankings of its group, NaN if it is alone.

    Spearman's correlation of the ranks of all passages. A tie counts as if each ranking put it in order by chance: tied
    passages have the mean of their ranks, and the variance is that of ranks without ties. So a ranking in which all
    passages tie correlates 0 with any other.

    Args:
        ranks: Rank of each passage, shape ``(rankings, passages)``.
        groups: Number of the group of each ranking, equal ones next to each other, shape ``(rankings,)``.

    Source: the mean rank correlation (MRC) of Yang, Jiang and Baldwin 2024, https://arxiv.org/abs/2509.06195.
    """
    size = ranks.shape[1]
    new = np.append(True, groups[1:] != groups[:-1])
    group = np.cumsum(new) - 1
    others = np.add.reduceat(ranks, np.flatnonzero(new))[group] - ranks
    number = np.bincount(group)[group] - 1
    covariance = np.einsum("rp,rp->r", ranks, others) - number * size * (size + 1) ** 2 / 4
    variance = number * size * (size**2 - 1) / 12
    return np.divide(covariance, variance, out=np.full(len(ranks), np.nan), where=variance > 0)


def _ranks(at_or_above: Integers, rankings: Integers) -> Integers:
    """Ranks of passages in order of ranking and count: those that tie take the last places of their tie."""
    place = np.arange(len(rankings))
    last_of_tie = np.append((at_or_above[1:] != at_or_above[:-1]) | (rankings[1:] != rankings[:-1]), True)[: len(place)]
    tie = np.cumsum(last_of_tie) - last_of_tie
    return at_or_above - (np.flatnonzero(last_of_tie)[tie] - place)
