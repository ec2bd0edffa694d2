"""Merge the rankings within each language by rank: the first passage of each language, the second of each, and so on.

A search with a quota per language shows this. The passages of one round are in the order of their scores. Ties count
against the model: among equal scores of a language, relevant passages come last.
"""

import numpy as np
import numpy.typing as npt
import torch

from st_hybrid.evaluation.collection import IntArray, RetrievalCollection
from st_hybrid.grouping import place_in_group


def merge_ranks(at_or_above: IntArray, above: IntArray, collection: RetrievalCollection) -> tuple[IntArray, IntArray]:
    """Where the relevant passages are in the merged rankings.

    Args:
        at_or_above: For each relevant pair, the passages of each language that score at least as high as the relevant
            one, shape ``(pairs, languages)``.
        above: Those that score higher, of the same shape.
        collection: Languages and relevance.

    Returns:
        For each pair, the passages of each language up to the relevant one, shape ``(pairs, languages)``; for each
        query, the least number of passages before one that is relevant, whatever the order of ties.
    """
    query, own = collection.relevant_queries, collection.passage_languages[collection.relevant_passages]
    sizes = np.bincount(collection.passage_languages, minlength=len(collection.languages))
    pairs, pool = np.arange(len(query)), len(collection.passages)

    def merged(rank: IntArray, counts: IntArray) -> IntArray:
        rounds = rank[:, None]
        return np.minimum(sizes, rounds - 1) + (counts >= rounds)

    # Relevant passages that tie take the last places of their tie, the one with the highest grade the very last.
    last = at_or_above[pairs, own]
    tie = (query.astype(np.int64) * len(sizes) + own) * (pool + 1) + last
    order = pairs if collection.grades is None else np.argsort(-collection.grades, kind="stable")
    place = np.empty(len(pairs), dtype=np.int64)
    place[order] = place_in_group(tie[order])

    before = np.full(len(collection.queries), pool)
    np.minimum.at(before, query, merged(above[pairs, own] + 1, above).sum(axis=1))
    return merged(last - place, at_or_above), before


def first_merged(
    scores: npt.NDArray[np.floating], relevant: tuple[IntArray, IntArray], starts: npt.NDArray[np.intp], depth: int
) -> tuple[IntArray, IntArray, IntArray]:
    """The first ``depth`` passages of each query in the merged ranking.

    Args:
        scores: Of all passages, one language after the other, shape ``(queries, passages)``.
        relevant: Rows and columns of the relevant passages.
        starts: First column of each language.
        depth: Number of passages to return, at most all.

    Returns:
        Their places, the same for those that tie, and their columns, both ``(queries, depth)``; and how many passages
        of each language are at the last of these places, shape ``(queries, languages)``.
    """
    total, pool = scores.shape
    ends = np.append(starts[1:], pool)
    width = min(depth, int((ends - starts).max()))
    ordered = scores.astype(np.float64)
    ordered[relevant] = np.nextafter(ordered[relevant], -np.inf)  # behind equal scores, before the next in float32
    columns = np.zeros((total, len(starts), width), dtype=np.int64)
    listed = np.full(columns.shape, -np.inf)
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        found = torch.topk(torch.from_numpy(ordered[:, start:end]), min(width, int(end - start))).indices.numpy()
        columns[:, number, : found.shape[1]] = found + start
        listed[:, number, : found.shape[1]] = np.take_along_axis(scores, found + start, axis=1)

    earlier = np.minimum((ends - starts)[:, None], np.arange(width)).sum(axis=0)  # passages of the rounds before
    places = np.empty(columns.shape, dtype=np.int64)
    for number in range(len(starts)):
        places[:, number] = earlier + (listed >= listed[:, number, None]).sum(axis=1)
    places[np.isneginf(listed)] = pool + 1  # the language has no more passages

    first = torch.topk(torch.from_numpy(places.reshape(total, -1)), depth, largest=False)
    last = first.values.numpy()[:, -1]
    at_last = (places == last[:, None, None]).sum(axis=2)
    return first.values.numpy(), np.take_along_axis(columns.reshape(total, -1), first.indices.numpy(), axis=1), at_last
