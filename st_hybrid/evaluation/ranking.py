"""Rank the passages of every pool of a collection, in one pass over blocks of queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from scipy.sparse import csr_array
from scipy.sparse.linalg import norm
from sentence_transformers.util import SimilarityFunction, normalize_embeddings
from torch import Tensor

from st_hybrid.encoders import Embeddings, Floats
from st_hybrid.evaluation.collection import IntArray, RetrievalCollection
from st_hybrid.evaluation.fairness import PEER_AT, SHARES_AT, TopPassages
from st_hybrid.evaluation.metrics import rank_correlation
from st_hybrid.evaluation.quotas import first_merged, merge_ranks
from st_hybrid.grouping import counting, numbered, place_in_group
from st_hybrid.search.encoding import take

Similarity = str | SimilarityFunction | Callable[[Tensor, Tensor], Tensor]

Score = Callable[[int, int], npt.NDArray[Any]]
SPARSE_SIMILARITIES = ("dot", "cosine")

COSINE_TEMPERATURE = 0.05
"""The default temperature of the contrastive entropy, 1 for other similarities: as in the loss."""
_BLOCK_SCORES = 1 << 20  # scores of a block of queries, few enough for the processor's cache
_BLOCK_PRODUCTS = 1 << 22  # products of tokens at a time


@dataclass(frozen=True, eq=False)
class PoolRanks:
    """Where the passages of the pool of all languages rank."""

    at_or_above: IntArray  #: Passages of a language that score as high as a relevant pair's: ``(pairs, languages)``.
    above_best: IntArray  #: Passages that score higher than a query's best relevant one: ``(queries,)``.
    rank_correlation: npt.NDArray[np.float64]  #: Of a query with its translations, NaN without any: ``(queries,)``.
    entropy: npt.NDArray[np.float64]  #: Of each relevant pair in the pool of its language and of all: ``(pairs, 2)``.
    top: TopPassages  #: The first passages of each query.


def rank_passages(
    query_embeddings: Embeddings,
    passage_embeddings: Embeddings,
    collection: RetrievalCollection,
    similarity: Similarity | None = None,
    *,
    quotas: bool = False,
    temperature: float | None = None,
) -> PoolRanks:
    """Rank the passages for each query; the arguments are those of :func:`~st_hybrid.evaluation.score_queries`.

    With ``quotas``, a place in the merged ranking stands for a score, rankings of translations are not compared, and
    there is no entropy.
    """
    if temperature is None:
        cosine = similarity in (None, "cosine", SimilarityFunction.COSINE) and isinstance(query_embeddings, np.ndarray)
        temperature = COSINE_TEMPERATURE if cosine else 1.0
    order = np.argsort(collection.passage_languages, kind="stable")
    languages, starts = np.unique(collection.passage_languages[order], return_index=True)
    vectors = take(passage_embeddings, order)
    # Equal vectors get equal scores, which a matrix product may round differently: a model that cannot tell two texts
    # apart must not gain from that.
    first: dict[bytes, int] = {}
    originals = np.array([first.setdefault(row, number) for number, row in enumerate(_as_bytes(vectors))])
    repeats = np.flatnonzero(originals != np.arange(len(originals)))

    # Translations of a query are ranked in one block, so that their rankings can be compared and forgotten.
    group, _ = numbered(pa.array(list(collection.query_ids), pa.string()))
    asked = np.argsort(group, kind="stable")
    place = np.argsort(asked)
    score = _scorer(take(query_embeddings, asked), vectors, similarity)
    total, size, pool = len(collection.queries), len(collection.languages), len(collection.passages)
    first_query = np.append(np.unique(group[asked], return_index=True)[1], total)

    by_query = np.argsort(place[collection.relevant_queries], kind="stable")
    pair_query = place[collection.relevant_queries[by_query]]
    pair_column = np.argsort(order)[collection.relevant_passages[by_query]]
    pair_slot = place_in_group(pair_query)
    first_pair = np.searchsorted(pair_query, np.arange(total + 1))

    at_or_above: IntArray = np.zeros((len(pair_query), size), dtype=np.int32)
    above = np.zeros_like(at_or_above if quotas else at_or_above[:0])
    above_best: IntArray = np.zeros(total, dtype=np.int32)
    correlation, entropy = np.full(total, np.nan), np.full((len(pair_query), 2), np.nan)
    pair_scores = np.empty(len(pair_query))
    depth = min(max(SHARES_AT, PEER_AT) + 1, pool)
    top_scores = np.empty((total, depth))
    top_columns = np.empty((total, depth), dtype=np.int64)
    tied = np.zeros((total, size), dtype=np.int32)
    start = 0
    while start < total:
        fits = int(np.searchsorted(first_query, start + _BLOCK_SCORES // pool, side="right")) - 1
        end = int(first_query[max(fits, np.searchsorted(first_query, start) + 1)])  # one group at the least
        scores = score(start, end)
        scores[:, repeats] = scores[:, originals[repeats]]

        pairs = slice(first_pair[start], first_pair[end])
        row, slot = pair_query[pairs] - start, pair_slot[pairs]
        thresholds = np.full((end - start, slot.max(initial=0) + 1), np.inf, dtype=scores.dtype)
        thresholds[row, slot] = pair_scores[pairs] = scores[row, pair_column[pairs]]
        counts = np.empty((*thresholds.shape, len(languages)), dtype=np.int32)
        for number in range(thresholds.shape[1]):
            counts[:, number] = _count(scores >= thresholds[:, number, None], starts)
        at_or_above[pairs, languages] = counts[row, slot]
        best = np.where(np.isinf(thresholds), -np.inf, thresholds).max(axis=1, keepdims=True)
        above_best[start:end] = (scores > best).view(np.uint8).sum(axis=1, dtype=np.int32)

        if quotas:
            for number in range(thresholds.shape[1]):
                counts[:, number] = _count(scores > thresholds[:, number, None], starts)
            above[pairs, languages] = counts[row, slot]
            places, columns, at_last = first_merged(scores, (row, pair_column[pairs]), starts, depth)
            top_scores[start:end], top_columns[start:end] = -places, columns
            goes_on = (places[:, -2:] == places[:, -1:]).all(axis=1) & (depth < pool)
            tied[start:end, languages] = at_last * goes_on[:, None]
            start = end
            continue

        entropy[pairs] = _entropy(scores, row, pair_column[pairs], starts, temperature)
        columns = _sorted_columns(scores)
        cells = columns + np.arange(end - start)[:, None] * pool
        ordered = scores.take(cells)
        translated = group[asked[start:end]]
        if (translated[1:] == translated[:-1]).any():
            correlation[start:end] = rank_correlation(_mean_ranks(cells, ordered), translated)
        top_scores[start:end], top_columns[start:end] = ordered[:, : -depth - 1 : -1], columns[:, : -depth - 1 : -1]
        last = top_scores[start:end, -1]
        if depth < pool and len(on := np.flatnonzero(top_scores[start:end, -2] == last)):
            tied[np.ix_(start + on, languages)] = _count(scores[on] == last[on, None], starts)
        start = end
    pair, listed = np.argsort(by_query), order[top_columns[place]].astype(np.int32)
    at_or_above, above_best, relevant_scores = at_or_above[pair], above_best[place], pair_scores[pair]
    if quotas:
        at_or_above, above_best = merge_ranks(at_or_above, above[pair], collection)
        relevant_scores = -at_or_above.sum(axis=1, dtype=np.float64)
    top = TopPassages(top_scores[place], listed, tied[place], relevant_scores)
    return PoolRanks(at_or_above, above_best, correlation[place], entropy[pair], top)


def _entropy(
    scores: npt.NDArray[Any], row: IntArray, column: IntArray, starts: npt.NDArray[np.intp], temperature: float
) -> npt.NDArray[np.float64]:
    """Contrastive entropy of each relevant passage against those of its language's pool, and of all, that are not."""
    highest = scores.max(axis=1, keepdims=True)
    # In float32 a passage that is 1.0 below the highest cosine would have no mass at the temperature 0.01.
    masses = np.exp(np.subtract(scores, highest, dtype=np.float64) / temperature)
    masses[row, column] = 0
    sums = np.add.reduceat(masses, starts, axis=1)
    own = (scores[row, column] - highest[row, 0]).astype(np.float64) / temperature
    language = np.searchsorted(starts, column, side="right") - 1
    others = np.stack([sums[row, language], sums.sum(axis=1)[row]], axis=1)
    with np.errstate(divide="ignore"):  # no other passage
        return np.logaddexp(own[:, None], np.log(others)) - own[:, None]


def _sorted_columns(scores: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The columns of each row in rising order of the scores."""
    if scores.dtype != np.float32:
        return np.argsort(scores, axis=1)
    # A score's bits as a whole number that sorts like it, and its column behind: sorted in half the time of argsort.
    bits = scores.view(np.int32)
    keys = (bits ^ (bits >> 31 & 0x7FFFFFFF)).astype(np.int64) << 32 | np.arange(scores.shape[1])
    keys.sort(axis=1)
    keys &= 0xFFFFFFFF
    return keys


def _mean_ranks(cells: npt.NDArray[np.int64], ordered: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Rank of each cell, given the cells of each row in rising order; equal scores share the mean of their ranks."""
    rows, size = ordered.shape
    places = np.tile(np.arange(1.0, size + 1), rows)
    same = np.zeros(rows * size + 1, dtype=bool)
    same[:-1].reshape(rows, size)[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    firsts, lasts = np.flatnonzero(same[1:] > same[:-1]), np.flatnonzero(same[1:] < same[:-1])
    ties = lasts - firsts + 1
    places[np.repeat(firsts, ties) + counting(ties)] = np.repeat((places[firsts] + places[lasts]) / 2, ties)
    ranks = np.empty(rows * size)
    ranks[cells.ravel()] = places
    return ranks.reshape(rows, size)


def _count(flags: npt.NDArray[np.bool_], starts: npt.NDArray[np.intp]) -> IntArray:
    """Number of true flags of each row between one start and the next, shape ``(rows, starts)``."""
    # Small integers add up in half the time.
    return np.add.reduceat(flags.view(np.uint8), starts, axis=1, dtype=np.min_scalar_type(flags.shape[1]))


def _as_bytes(embeddings: Embeddings) -> Iterator[bytes]:
    """The bytes of each row; rows are equal if their bytes are."""
    if isinstance(embeddings, csr_array):
        for start, end in pairwise(embeddings.indptr):
            yield embeddings.indices[start:end].tobytes() + embeddings.data[start:end].tobytes()
    else:
        yield from (row.tobytes() for row in embeddings)


def _scorer(queries: Any, passages: Any, similarity: Similarity | None) -> Score:
    """A function that scores all passages for the queries from one number up to another."""
    if isinstance(passages, csr_array):
        return _sparse_scorer(queries, passages, similarity or "dot")
    if isinstance(passages, list):
        return _maxsim_scorer(queries, passages, similarity or "maxsim")
    asked, pool, similarity = torch.from_numpy(queries), torch.from_numpy(passages), similarity or "cosine"
    if not callable(similarity):
        if SimilarityFunction(similarity) == SimilarityFunction.COSINE:
            asked, pool, similarity = normalize_embeddings(asked), normalize_embeddings(pool), "dot"
        function = SimilarityFunction.to_similarity_fn(similarity)
        return lambda start, end: function(asked[start:end], pool).numpy()

    def score(start: int, end: int) -> npt.NDArray[Any]:
        scores = torch.as_tensor(similarity(asked[start:end], pool)).detach().cpu()
        if scores.shape != (end - start, len(pool)):
            raise ValueError(
                f"The similarity function returned scores of shape {tuple(scores.shape)}; for {end - start} queries "
                f"and {len(pool)} passages the shape must be ({end - start}, {len(pool)})."
            )
        if not scores.isfinite().all():
            raise ValueError("The similarity function returned a score that is not finite, which cannot be ranked.")
        # A copy, because the scores of equal passages are made equal in place.
        return scores.to(torch.float64 if scores.dtype == torch.float64 else torch.float32, copy=True).numpy()

    return score


def _sparse_scorer(queries: csr_array, passages: csr_array, similarity: Similarity) -> Score:
    if similarity not in SPARSE_SIMILARITIES:
        raise ValueError(f"Sparse embeddings are ranked by {' or '.join(SPARSE_SIMILARITIES)}, not by {similarity!r}.")
    if similarity == "cosine":  # the lengths of queries do not change a ranking
        passages = passages.multiply(1 / np.maximum(norm(passages, axis=1), 1e-12)[:, None]).tocsr()
    columns = passages.T.tocsr()
    return lambda start, end: (queries[start:end] @ columns).toarray()


def _maxsim_scorer(queries: list[Floats], passages: list[Floats], similarity: Similarity) -> Score:
    """Sums over a query's tokens of the largest dot product with a passage's token."""
    if similarity not in ("maxsim", "meanmaxsim"):  # which rank alike: they differ by the number of a query's tokens
        raise ValueError(f"Multi-vector embeddings are ranked by maxsim or meanmaxsim, not by {similarity!r}.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokens, lengths = torch.from_numpy(np.concatenate(passages)), torch.tensor([len(one) for one in passages])
    ends = lengths.cumsum(0)

    def score(start: int, end: int) -> npt.NDArray[Any]:
        asked = torch.from_numpy(np.concatenate(queries[start:end])).to(device).T
        counts = torch.tensor([len(one) for one in queries[start:end]], device=device)
        scores, first, done = torch.empty(len(passages), end - start), 0, 0
        while first < len(passages):  # as many passages at a time as keep the products small
            last = int(torch.searchsorted(ends, done + max(1, _BLOCK_PRODUCTS // asked.shape[1]), right=True))
            last = min(max(last, first + 1), len(passages))
            products = tokens[done : (done := int(ends[last - 1]))].to(device) @ asked
            best = torch.segment_reduce(products, "max", lengths=lengths[first:last].to(device), axis=0)
            best.clamp_(min=-1e9)  # a passage without tokens comes last
            scores[first:last] = torch.segment_reduce(best.T.contiguous(), "sum", lengths=counts, axis=0).T
            first = last
        return scores.T.contiguous().numpy()

    return score
