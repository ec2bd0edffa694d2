"""Language fairness in a pool of mixed languages: which languages rank first, and whether that could be chance."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc

from st_hybrid.evaluation.collection import IntArray, RetrievalCollection

Floats = npt.NDArray[np.float64]

SHARES_AT, PEER_AT = 10, 20  # the first passages that language_shares and peer look at


@dataclass(frozen=True, eq=False)
class TopPassages:
    """The first passages of each query in the pool of all languages, and what ties with the last of them."""

    scores: Floats  #: In falling order: ``(queries, depth)``; the depth is above every ``k``, or the whole pool.
    passages: IntArray  #: Numbers of the passages: ``(queries, depth)``; the order of equal scores has no meaning.
    tied: IntArray  #: Passages with the last score, if the last two are equal: ``(queries, languages)``.
    relevant_scores: Floats  #: Score of each relevant pair of the collection: ``(pairs,)``.

    def cut(self, k: int, collection: RetrievalCollection) -> tuple[npt.NDArray[np.bool_], Floats]:
        """Which of the first ``k`` passages score higher than the ``k``-th; how many of each language tie with it."""
        depth = self.scores.shape[1]
        if not 1 <= k < depth + (depth == len(collection.passages)):
            raise ValueError(f"Only the first {depth} passages of each query are known, too few for k = {k}.")
        last = self.scores[:, k - 1, None]
        same = self.scores == last
        listed = _by_language(collection.passage_languages[self.passages], same, len(collection.languages))
        goes_on = same[:, -1:] & self.tied.any(axis=1, keepdims=True)
        return self.scores[:, :k] > last, np.where(goes_on, self.tied, listed)


def language_shares(top: TopPassages, collection: RetrievalCollection, k: int = SHARES_AT) -> Floats:
    """Share of each language among the first ``k`` passages of each query; those that tie for the last divide them."""
    k = min(k, len(collection.passages))
    above, tied = top.cut(k, collection)
    whole = _by_language(collection.passage_languages[top.passages[:, :k]], above, tied.shape[1])
    places = k - above.sum(axis=1, keepdims=True)
    return (whole + tied * (places / tied.sum(axis=1, keepdims=True))) / k


def peer(top: TopPassages, collection: RetrievalCollection, k: int = PEER_AT) -> Floats:
    """Probability of equal expected rank of the languages (PEER) among the first ``k`` passages of each query.

    The p-value of a Kruskal-Wallis test on ranks grouped by language. It is near 0 where some languages take the first
    places, about 0.5 on average where the order does not depend on language, and 1 where all ranks are equal.

    Only passages that are *not* relevant to the query count: with one relevant passage per language, as in XQuAD-R and
    MLQA-R, a test on those would compare groups of one. All passages after the first ``k`` share one rank at the tail,
    so a language of which nothing was found stays in the test.

    In the authors' package this is ``PEER(weights={1: 1.0, 2: 0.0}, lang_mapping=...) @ k`` with the relevant passages
    judged 2 and all others 1. Only ties differ: passages with equal scores get the mean of the ranks that they fill.
    NaN where fewer than two languages have a passage that is not relevant.

    Source: Yang, Jänich, Mayfield and Lawrie 2024, https://arxiv.org/abs/2405.00978.
    """
    total, size, pool = len(collection.queries), len(collection.languages), len(collection.passages)
    k = min(k, pool)
    above, tied = top.cut(k, collection)
    ahead, tie = above.sum(axis=1), tied.sum(axis=1)
    scores, passages = top.scores[:, :k], top.passages[:, :k]

    # Take the relevant passages out of the languages' groups, of the list and of the tie for its last places.
    query = collection.relevant_queries.astype(np.int64)
    cells = query * size + collection.passage_languages[collection.relevant_passages]
    at_last = top.relevant_scores == scores[query, -1]
    shape, count = (total, size), total * size
    relevant, relevant_tied = (np.bincount(of, minlength=count).reshape(shape) for of in (cells, cells[at_last]))
    groups, tied = np.bincount(collection.passage_languages, minlength=size) - relevant, tied - relevant_tied
    listed = np.arange(total)[:, None] * pool + passages
    counted = above & ~np.isin(listed, query * pool + collection.relevant_passages)

    # Each place of the tie at the end counts the same: the mean of the ranks up to k and of those in the tail.
    members = groups.sum(axis=1)
    found = counted.sum(axis=1) + tied.sum(axis=1) * (k - ahead) / tie
    tail = members + (members - found + 1) / 2  # as in the package: after the last, whatever ranks k leaves free
    higher, equal = (compare(scores[:, None], scores[:, :, None]).sum(axis=2) for compare in (np.greater, np.equal))
    ranks = higher + (equal + 1) / 2
    last = ((ahead + 1 + k) * (k - ahead) / 2 + (ahead + tie - k) * tail) / tie

    # The test does not change with a shift of all ranks. Measured from the tail, the ranks there are 0: nothing to sum.
    heights, last = np.where(counted, tail[:, None] - ranks, 0.0), tail - last
    sums = _by_language(collection.passage_languages[passages], heights, size) + tied * last[:, None]
    squares = np.square(heights).sum(axis=1) + tied.sum(axis=1) * np.square(last)
    mean_square = np.square(sums.sum(axis=1)) / np.maximum(members, 1)
    between = (np.square(sums) / np.maximum(groups, 1)).sum(axis=1) - mean_square
    overall = squares - mean_square
    varies = overall > 1e-12 * squares  # less is rounding
    statistic = np.divide((members - 1) * np.maximum(between, 0), overall, out=np.zeros(total), where=varies)
    present = (groups > 0).sum(axis=1)
    return np.where(present > 1, chdtrc(np.maximum(present - 1, 1), statistic), np.nan)


def language_preference(relevant_scores: Floats, collection: RetrievalCollection) -> Floats:
    """Whether a relevant passage in the query's own language ranks first among the query's relevant passages.

    1 if it does, 0 if not, and its share of a tie for the first place. Without a preference the mean over queries is
    the share of the own language among the relevant passages: 1/11 for XQuAD-R. NaN unless relevant passages are in the
    query's language and in another.

    Args:
        relevant_scores: Score of each relevant pair of the collection, shape ``(pairs,)``.
        collection: Languages and relevance.

    The idea is that of the language preference rate (LPR) of Jang et al. 2026, https://arxiv.org/abs/2605.07249, for
    relevant passages that are translations of one another. The definition is ours.
    """
    query, total = collection.relevant_queries, len(collection.queries)
    own = collection.passage_languages[collection.relevant_passages] == collection.query_languages[query]
    best = np.full(total, -np.inf)
    np.maximum.at(best, query, relevant_scores)
    first = relevant_scores == best[query]

    def count(flags: npt.NDArray[np.bool_]) -> IntArray:
        return np.bincount(query[flags], minlength=total)

    in_both = (count(own) > 0) & (count(~own) > 0)
    return np.divide(count(first & own), count(first), out=np.full(total, np.nan), where=in_both)


def _by_language(languages: IntArray, values: Floats | npt.NDArray[np.bool_], size: int) -> Floats:
    """Sum the values of each row by language, shape ``(rows, size)``."""
    cells = np.arange(len(languages))[:, None] * size + languages
    sums = np.bincount(cells.ravel(), weights=values.ravel(), minlength=len(languages) * size)
    return np.asarray(sums, dtype=np.float64).reshape(-1, size)
