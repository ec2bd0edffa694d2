"""Language fairness of a pool of mixed languages: which languages are found first, and could that be chance.

Rank distance asks where the translations of the answer stand. The measures here ask about everything else that a
question finds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc

from st_hybrid.evaluation.collection import IntArray, RetrievalCollection

Floats = npt.NDArray[np.float64]

#: How many of the first candidates :func:`language_shares` looks at.
SHARES_AT = 10
#: How many of the first candidates :func:`peer` looks at.
PEER_AT = 20


@dataclass(frozen=True, eq=False)
class TopCandidates:
    """The first candidates of each query in the pool of all languages, and what is tied with the last of them.

    Args:
        scores: Scores in falling order, shape ``(queries, depth)``. The depth is one more than the largest ``k`` that
            is asked for, or the whole pool where that is smaller.
        candidates: Their numbers, shape ``(queries, depth)``. Among equal scores the order means nothing.
        tied: Where the last two scores of a query are equal, their tie may go on beyond the list: how many candidates
            of each language have that score in the whole pool, shape ``(queries, languages)``. 0 for other queries.
        relevant_scores: Score of each relevant pair of the collection, shape ``(pairs,)``.
    """

    scores: Floats
    candidates: IntArray
    tied: IntArray
    relevant_scores: Floats

    def cut(self, k: int, collection: RetrievalCollection) -> tuple[npt.NDArray[np.bool_], Floats]:
        """Divide the first ``k`` into those above the score of the last one, and all that share it.

        Returns:
            Which of the first ``k`` score higher than the ``k``-th, shape ``(queries, k)``; and how many candidates of
            each language score the same as it, among the first ``k`` and beyond, shape ``(queries, languages)``.

        Raises:
            ValueError: The list is too short to see what is tied with the ``k``-th.
        """
        depth = self.scores.shape[1]
        if not 1 <= k < depth + (depth == len(collection.candidates)):
            raise ValueError(f"Of each query the first {depth} candidates are known, which does not do for k = {k}.")
        last = self.scores[:, k - 1, None]
        same = self.scores == last
        listed = _by_language(collection.candidate_languages[self.candidates], same, len(collection.languages))
        goes_on = same[:, -1:] & self.tied.any(axis=1, keepdims=True)
        return self.scores[:, :k] > last, np.where(goes_on, self.tied, listed)


def language_shares(top: TopCandidates, collection: RetrievalCollection, k: int = SHARES_AT) -> Floats:
    """Share of each language among the first ``k`` candidates of each query.

    Candidates that tie for the last places divide them in equal parts, so a model that cannot tell candidates apart
    gives each language its share of the pool.

    Args:
        top: The first candidates of each query.
        collection: Their languages.
        k: How many places to look at; the whole pool where it is smaller.

    Returns:
        Shape ``(queries, languages)``; each row sums to 1.

    Example:
        ::

            import numpy as np
            from st_hybrid.evaluation import read_lareqa
            from st_hybrid.evaluation.scoring import count_above
            from st_hybrid.evaluation.fairness import language_shares

            collection = read_lareqa("data/xquad-r")
            top = count_above(query_embeddings, candidate_embeddings, collection).top
            shares = language_shares(top, collection)
            own = shares[np.arange(len(shares)), collection.query_languages]
    """
    k = min(k, len(collection.candidates))
    above, tied = top.cut(k, collection)
    whole = _by_language(collection.candidate_languages[top.candidates[:, :k]], above, tied.shape[1])
    places = k - above.sum(axis=1, keepdims=True)
    return (whole + tied * (places / tied.sum(axis=1, keepdims=True))) / k


def peer(top: TopCandidates, collection: RetrievalCollection, k: int = PEER_AT) -> Floats:
    """Probability of equal expected rank of the languages (PEER) among the first ``k`` candidates of each query.

    The p-value of a Kruskal-Wallis test on ranks grouped by language. It is near 0 where some languages take the first
    places, about 0.5 on average where the order has nothing to do with language, and 1 where all ranks are equal.

    PEER is a weighted mean over levels of relevance. Here all the weight lies on the candidates that are *not* relevant
    to the query. Where each language has one relevant candidate, as in XQuAD-R and MLQA-R, the test on the relevant
    ones compares groups of one: any ranking gets the same number, and one that finds none of them gets 1. They are left
    to the rank distance.

    All of the pool is judged, so a candidate that is not among the first ``k`` stands at the tail, in one tie with the
    others, whatever its language. With judgements of the relevant ones alone, a language of which nothing was found
    drops out of the test, and a list in the query's own language counts as perfectly fair: the untouched
    multilingual-e5-small, with 71% of its first ten in the question's language, then looks fairer on XQuAD-R
    (.63 at 20) than with language means subtracted (.46).

    In terms of the authors' package it is ``PEER(weights={1: 1.0, 2: 0.0}, lang_mapping=...) @ k``, where the relevant
    candidates are judged 2 and all others of the pool 1. Only ties are treated otherwise: candidates with equal scores
    have the mean of the ranks that they fill, so the order of the data decides nothing; and equal ranks throughout
    give 1, not NaN.

    Args:
        top: The first candidates of each query.
        collection: Their languages and relevance.
        k: How many candidates count as found; the whole pool where it is smaller.

    Returns:
        Shape ``(queries,)``; NaN where fewer than two languages have a candidate that is not relevant.

    References:
        Yang, Jänich, Mayfield and Lawrie 2024, Language Fairness in Multilingual Information Retrieval,
        https://arxiv.org/abs/2405.00978; the package is https://github.com/hltcoe/peer_measure.
    """
    total, size, pool = len(collection.queries), len(collection.languages), len(collection.candidates)
    k = min(k, pool)
    above, tied = top.cut(k, collection)
    ahead, tie = above.sum(axis=1), tied.sum(axis=1)
    scores, candidates = top.scores[:, :k], top.candidates[:, :k]

    # Take the relevant candidates out of the languages' groups, of the list and of the tie for its last places.
    query = collection.relevant_queries.astype(np.int64)
    cells = query * size + collection.candidate_languages[collection.relevant_candidates]
    at_last = top.relevant_scores == scores[query, -1]
    relevant, relevant_tied = (
        np.bincount(chosen, minlength=total * size).reshape(total, size) for chosen in (cells, cells[at_last])
    )
    groups, tied = np.bincount(collection.candidate_languages, minlength=size) - relevant, tied - relevant_tied
    listed = np.arange(total)[:, None] * pool + candidates
    counted = above & ~np.isin(listed, query * pool + collection.relevant_candidates)

    # Each place of the tie at the end is worth the same: the mean of the ranks up to k and of those in the tail.
    members = groups.sum(axis=1)
    found = counted.sum(axis=1) + tied.sum(axis=1) * (k - ahead) / tie
    tail = members + (members - found + 1) / 2  # as in the package: behind the last, whatever ranks k leaves free
    higher, equal = (compare(scores[:, None], scores[:, :, None]).sum(axis=2) for compare in (np.greater, np.equal))
    ranks = higher + (equal + 1) / 2
    last = ((ahead + 1 + k) * (k - ahead) / 2 + (ahead + tie - k) * tail) / tie

    # The test sees no shift. Counted up from the tail, all the ranks there are zeros and need no summing.
    heights, last = np.where(counted, tail[:, None] - ranks, 0.0), tail - last
    sums = _by_language(collection.candidate_languages[candidates], heights, size) + tied * last[:, None]
    squares = np.square(heights).sum(axis=1) + tied.sum(axis=1) * np.square(last)
    mean_square = np.square(sums.sum(axis=1)) / np.maximum(members, 1)
    between = (np.square(sums) / np.maximum(groups, 1)).sum(axis=1) - mean_square
    overall = squares - mean_square
    varies = overall > 1e-12 * squares  # less is rounding
    statistic = np.divide((members - 1) * np.maximum(between, 0), overall, out=np.zeros(total), where=varies)
    present = (groups > 0).sum(axis=1)
    return np.where(present > 1, chdtrc(np.maximum(present - 1, 1), statistic), np.nan)


def _by_language(languages: IntArray, values: Floats | npt.NDArray[np.bool_], size: int) -> Floats:
    """Sum the values of each row by language, shape ``(rows, size)``."""
    rows = len(languages)
    cells = np.arange(rows)[:, None] * size + languages
    sums = np.bincount(cells.ravel(), weights=values.ravel(), minlength=rows * size)
    return np.asarray(sums, dtype=np.float64).reshape(rows, size)
