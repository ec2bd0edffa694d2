"""Rank the passages of every pool of a collection, in one pass over blocks of queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers.util import SimilarityFunction, normalize_embeddings
from torch import Tensor

from st_hybrid.evaluation.collection import IntArray, RetrievalCollection
from st_hybrid.evaluation.fairness import PEER_AT, SHARES_AT, TopPassages
from st_hybrid.grouping import place_in_group
from st_hybrid.search.encoding import Floats

Similarity = str | SimilarityFunction | Callable[[Tensor, Tensor], Tensor]

_BLOCK_SCORES = 1 << 21  # scores of a block of queries, few enough for the processor's cache


def rank_passages(
    query_embeddings: Floats,
    passage_embeddings: Floats,
    collection: RetrievalCollection,
    similarity: Similarity = SimilarityFunction.COSINE,
) -> tuple[IntArray, IntArray, TopPassages]:
    """Rank the relevant passages of each query; the arguments are those of :func:`~st_hybrid.evaluation.score_queries`.

    Returns:
        For each relevant pair, the passages of each language that score at least as high, shape ``(pairs, languages)``;
        for each query, the passages that score higher than its best relevant one, shape ``(queries,)``; and the first
        passages of each query.
    """
    order = np.argsort(collection.passage_languages, kind="stable")
    languages, starts = np.unique(collection.passage_languages[order], return_index=True)
    vectors = np.ascontiguousarray(passage_embeddings[order])
    # Equal vectors get equal scores, which a matrix product may round differently: a model that cannot tell two texts
    # apart must not gain from that.
    first: dict[bytes, int] = {}
    originals = np.array([first.setdefault(row.tobytes(), number) for number, row in enumerate(vectors)])
    repeats = np.flatnonzero(originals != np.arange(len(originals)))
    score = _scorer(query_embeddings, vectors, similarity)

    by_query = np.argsort(collection.relevant_queries, kind="stable")
    pair_query = collection.relevant_queries[by_query]
    pair_column = np.argsort(order)[collection.relevant_passages[by_query]]
    pair_slot = place_in_group(pair_query)
    total, size = len(query_embeddings), len(collection.languages)
    first_pair = np.searchsorted(pair_query, np.arange(total + 1))

    at_or_above = np.zeros((len(pair_query), size), dtype=np.int32)
    above_best = np.zeros(total, dtype=np.int32)
    pair_scores = np.empty(len(pair_query))
    depth = min(max(SHARES_AT, PEER_AT) + 1, len(vectors))
    top_scores = np.empty((total, depth))
    top_columns = np.empty((total, depth), dtype=np.int64)
    tied = np.zeros((total, size), dtype=np.int32)
    block = max(1, _BLOCK_SCORES // len(vectors))
    for start in range(0, total, block):
        end = min(start + block, total)
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

        found = torch.topk(torch.from_numpy(scores), depth)
        top_scores[start:end], top_columns[start:end] = found.values, found.indices
        last = top_scores[start:end, -1]
        if depth < len(vectors) and len(on := np.flatnonzero(top_scores[start:end, -2] == last)):
            tied[np.ix_(start + on, languages)] = _count(scores[on] == last[on, None], starts)
    pair = np.argsort(by_query)
    top = TopPassages(top_scores, order[top_columns].astype(np.int32), tied, pair_scores[pair])
    return at_or_above[pair], above_best, top


def _count(flags: npt.NDArray[np.bool_], starts: npt.NDArray[np.intp]) -> IntArray:
    """Number of true flags of each row between one start and the next, shape ``(rows, starts)``."""
    return np.add.reduceat(flags.view(np.uint8), starts, axis=1, dtype=np.int32)


def _scorer(
    query_embeddings: Floats, passage_embeddings: Floats, similarity: Similarity
) -> Callable[[int, int], npt.NDArray[Any]]:
    """A function that scores all passages for the queries from one number up to another."""
    queries, passages = torch.from_numpy(query_embeddings), torch.from_numpy(passage_embeddings)
    if not callable(similarity):
        if SimilarityFunction(similarity) == SimilarityFunction.COSINE:
            queries, passages = normalize_embeddings(queries), normalize_embeddings(passages)
            similarity = SimilarityFunction.DOT_PRODUCT
        function = SimilarityFunction.to_similarity_fn(similarity)
        return lambda start, end: function(queries[start:end], passages).numpy()

    def score(start: int, end: int) -> npt.NDArray[Any]:
        scores = torch.as_tensor(similarity(queries[start:end], passages)).detach().cpu()
        if scores.shape != (end - start, len(passages)):
            raise ValueError(
                f"The similarity function returned scores of shape {tuple(scores.shape)}; for {end - start} queries "
                f"and {len(passages)} passages the shape must be ({end - start}, {len(passages)})."
            )
        if not scores.isfinite().all():
            raise ValueError("The similarity function returned a score that is not finite, which cannot be ranked.")
        # A copy, because the scores of equal passages are made equal in place.
        return scores.to(torch.float64 if scores.dtype == torch.float64 else torch.float32, copy=True).numpy()

    return score
