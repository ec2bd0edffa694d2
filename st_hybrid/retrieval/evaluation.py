"""Score every setting of a retrieval collection from one encoding pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers.util import SimilarityFunction, normalize_embeddings

from ..centering import LanguageCentering
from . import metrics
from .collection import IntArray, RetrievalCollection

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Floats = npt.NDArray[np.float32]
Encode = Callable[[list[str]], Floats]

#: Where the pool is in the query's language, in one other language, and in all languages.
SETTINGS = ("monolingual", "cross_lingual", "multilingual")

# Scores of a block of queries against all candidates stay small enough for the processor's cache.
_BLOCK_SCORES = 1 << 21


@dataclass(frozen=True)
class RelevantCounts:
    """How many candidates stand above the relevant ones, from which all ranks follow.

    Args:
        at_or_above: For each relevant pair of the collection and each language, how many candidates of that language
            score at least as high as the pair's candidate (itself included), shape ``(pairs, languages)``.
        above_best: For each query, how many candidates of all languages score higher than its best relevant
            candidate, shape ``(queries,)``.
    """

    at_or_above: IntArray
    above_best: IntArray


def evaluate_retrieval(
    model: SentenceTransformer,
    collection: RetrievalCollection,
    *,
    batch_size: int = 32,
    centering: LanguageCentering | Literal["evaluated"] | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    show_progress_bar: bool = False,
) -> dict[str, Any]:
    """Measure a model on every setting of a collection.

    Each distinct text is encoded once as a query and once as a document, if it is both, since their prompts differ.

    Args:
        model: The model; its similarity function ranks the candidates.
        collection: Queries, candidates and relevance.
        batch_size: Texts encoded at once.
        centering: Means to subtract from the embeddings; ``"evaluated"`` takes them from the evaluated texts
            themselves, which flatters the method a little.
        query_prompt: Text put before each query; by default the model's own query prompt.
        document_prompt: Text put before each candidate; by default the model's own document prompt.
        show_progress_bar: Show the progress of encoding.

    Returns:
        The scores, as :func:`score_embeddings` gives them.

    Example:
        ::

            from sentence_transformers import SentenceTransformer
            from st_hybrid.retrieval import evaluate_retrieval, read_lareqa

            model = SentenceTransformer("intfloat/multilingual-e5-small")
            scores = evaluate_retrieval(model, read_lareqa("data/xquad-r"))
            print(scores["multilingual"]["map"], scores["per_pair"]["en-de"]["recall_at_1"])
    """
    queries, candidates = encode_collection(
        model,
        collection,
        batch_size=batch_size,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        show_progress_bar=show_progress_bar,
    )
    return score_embeddings(queries, candidates, collection, similarity=model.similarity_fn_name, centering=centering)


def encode_collection(
    model: SentenceTransformer,
    collection: RetrievalCollection,
    *,
    batch_size: int = 32,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    show_progress_bar: bool = False,
) -> tuple[Floats, Floats]:
    """Encode the queries and candidates of a collection, each distinct text once.

    Args:
        model: The model.
        collection: The texts.
        batch_size: Texts encoded at once.
        query_prompt: Text put before each query; by default the model's own query prompt.
        document_prompt: Text put before each candidate; by default the model's own document prompt.
        show_progress_bar: Show the progress of encoding.

    Returns:
        Embeddings of the queries, shape ``(queries, dimensions)``, and of the candidates, ``(candidates,
        dimensions)``: what :func:`score_embeddings` takes, as often as you like.
    """

    def encode(method: Callable[..., Floats], texts: Sequence[str], prompt: str | None) -> Floats:
        numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        embeddings = method(list(numbers), prompt=prompt, batch_size=batch_size, show_progress_bar=show_progress_bar)
        return embeddings[[numbers[text] for text in texts]]

    return (
        encode(model.encode_query, collection.queries, query_prompt),
        encode(model.encode_document, collection.candidates, document_prompt),
    )


def score_embeddings(
    query_embeddings: Floats,
    candidate_embeddings: Floats,
    collection: RetrievalCollection,
    *,
    similarity: str | SimilarityFunction = SimilarityFunction.COSINE,
    centering: LanguageCentering | Literal["evaluated"] | None = None,
) -> dict[str, Any]:
    """Measure given embeddings on every setting of a collection.

    A setting is a query language with a pool: its own language (monolingual), another one (cross-lingual) or all
    (multilingual). Ranks are over the whole pool, and ties count against the model. Measures are averaged over the
    queries of a setting, then over the settings of a kind.

    Args:
        query_embeddings: One vector a query of the collection, shape ``(queries, dimensions)``.
        candidate_embeddings: One vector a candidate, shape ``(candidates, dimensions)``.
        collection: Languages and relevance.
        similarity: Similarity function that ranks the candidates.
        centering: See :func:`evaluate_retrieval`.

    Returns:
        ``monolingual``, ``cross_lingual`` and ``multilingual``, each with ``map``, ``recall_at_1`` and
        ``recall_at_10`` (a kind without a setting is left out); ``rank_distance``, the largest minus the smallest
        rank among a query's relevant candidates in the pool of all languages, over the queries that have at least two
        (left out if none has); ``per_pair``, the scores of each setting under ``"en-de"`` (query language, candidate
        language) or ``"en-multi"``; ``counts``, the number of queries and candidates of each language and of settings
        of each kind.

    Raises:
        ValueError: If a shape does not fit the collection or a value is not finite.
    """
    query_embeddings = _checked(query_embeddings, len(collection.queries), "query")
    candidate_embeddings = _checked(candidate_embeddings, len(collection.candidates), "candidate")
    if centering is not None:
        query_languages = [collection.languages[code] for code in collection.query_languages]
        candidate_languages = [collection.languages[code] for code in collection.candidate_languages]
        if centering == "evaluated":
            centering = LanguageCentering.from_embeddings(
                query_embeddings, query_languages, candidate_embeddings, candidate_languages
            )
        query_embeddings = centering(query_embeddings, query_languages, "query")
        candidate_embeddings = centering(candidate_embeddings, candidate_languages, "document")
    return _summarize(collection, count_above(query_embeddings, candidate_embeddings, collection, similarity))


def count_above(
    query_embeddings: Floats,
    candidate_embeddings: Floats,
    collection: RetrievalCollection,
    similarity: str | SimilarityFunction = SimilarityFunction.COSINE,
) -> RelevantCounts:
    """Count, for each relevant pair, the candidates of each language that score at least as high.

    Candidates with equal vectors get equal scores: a matrix product may round them differently in different columns,
    and a model that cannot tell two texts apart must not gain from that.

    Args:
        query_embeddings: Shape ``(queries, dimensions)``.
        candidate_embeddings: Shape ``(candidates, dimensions)``.
        collection: Languages and relevance.
        similarity: Similarity function that ranks the candidates.
    """
    order = np.argsort(collection.candidate_languages, kind="stable")
    column = np.empty_like(order)
    column[order] = np.arange(len(order))
    languages, starts = np.unique(collection.candidate_languages[order], return_index=True)
    vectors = np.ascontiguousarray(candidate_embeddings[order])
    _, first, inverse = np.unique(
        vectors.view(np.dtype((np.void, vectors.dtype.itemsize * vectors.shape[1]))).ravel(),
        return_index=True,
        return_inverse=True,
    )
    repeats = np.flatnonzero(first[inverse] != np.arange(len(vectors)))
    originals = first[inverse[repeats]]

    by_query = np.argsort(collection.relevant_queries, kind="stable")
    pair_query = collection.relevant_queries[by_query]
    pair_column = column[collection.relevant_candidates[by_query]]
    query_count = len(query_embeddings)
    first_pair = np.searchsorted(pair_query, np.arange(query_count + 1))
    pair_slot = np.arange(len(pair_query)) - first_pair[pair_query]

    queries, candidates = torch.from_numpy(query_embeddings), torch.from_numpy(vectors)
    if similarity == SimilarityFunction.COSINE:
        queries, candidates = normalize_embeddings(queries), normalize_embeddings(candidates)
        similarity = SimilarityFunction.DOT_PRODUCT
    score = SimilarityFunction.to_similarity_fn(similarity)

    at_or_above = np.zeros((len(pair_query), len(collection.languages)), dtype=np.int32)
    above_best = np.zeros(query_count, dtype=np.int32)
    block = max(1, _BLOCK_SCORES // len(vectors))
    for start in range(0, query_count, block):
        end = min(start + block, query_count)
        scores = score(queries[start:end], candidates).numpy()
        scores[:, repeats] = scores[:, originals]
        pairs = slice(first_pair[start], first_pair[end])
        row, slot = pair_query[pairs] - start, pair_slot[pairs]
        thresholds = np.full((end - start, slot.max(initial=0) + 1), np.inf, dtype=scores.dtype)
        thresholds[row, slot] = scores[row, pair_column[pairs]]
        counts = np.empty((*thresholds.shape, len(languages)), dtype=np.int32)
        for number in range(thresholds.shape[1]):
            reached = scores >= thresholds[:, number, None]
            np.add.reduceat(reached.view(np.uint8), starts, axis=1, dtype=np.int32, out=counts[:, number])
        at_or_above[pairs, languages] = counts[row, slot]
        best = np.where(np.isinf(thresholds), -np.inf, thresholds).max(axis=1, keepdims=True)
        above_best[start:end] = (scores > best).sum(axis=1)
    unsorted = np.empty_like(at_or_above)
    unsorted[by_query] = at_or_above
    return RelevantCounts(unsorted, above_best)


def _checked(embeddings: Floats, rows: int, what: str) -> Floats:
    embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
    if embeddings.ndim != 2 or len(embeddings) != rows:
        raise ValueError(f"{what} embeddings have the shape {embeddings.shape}; the collection needs {rows} rows.")
    if not np.isfinite(embeddings).all():
        bad = int(np.flatnonzero(~np.isfinite(embeddings).all(axis=1))[0])
        raise ValueError(f"The vector of {what} {bad} is not finite; a model that gives NaN cannot be ranked.")
    return embeddings


def _summarize(collection: RetrievalCollection, counts: RelevantCounts) -> dict[str, Any]:
    languages, size = collection.languages, len(collection.languages)
    query, total = collection.relevant_queries, len(collection.queries)
    target = collection.candidate_languages[collection.relevant_candidates]
    pools = {  # ranks, ranking of each relevant pair, number of rankings
        "language": (counts.at_or_above[np.arange(len(query)), target], query * size + target, total * size),
        "all": (counts.at_or_above.sum(axis=1), query, total),
    }
    columns: dict[str, list[npt.NDArray[np.float64]]] = {"map": [], "recall_at_1": [], "recall_at_10": []}
    for at_or_above, ranking, rankings in pools.values():
        ranks = metrics.pessimistic_ranks(at_or_above, ranking)
        for measure, values in (
            ("map", metrics.average_precision(ranks, ranking, rankings)),
            ("recall_at_1", metrics.recall_at(1, ranks, ranking, rankings)),
            ("recall_at_10", metrics.recall_at(10, ranks, ranking, rankings)),
        ):
            columns[measure].append(values.reshape(total, -1))
    per_query = {measure: np.hstack(values) for measure, values in columns.items()}

    # The best rank is counted without ties and the worst with them: a tie must not make a language bias look small.
    worst = np.zeros(total, dtype=np.int64)
    np.maximum.at(worst, query, pools["all"][0])
    several = np.bincount(query, minlength=total) > 1
    distance = np.where(several, worst - counts.above_best - 1, np.nan)

    by_language = np.stack([collection.query_languages == code for code in range(size)])
    setting_means = {m: np.stack([_nanmean(v[own]) for own in by_language]) for m, v in per_query.items()}
    distances = np.concatenate([_nanmean(distance[own, None]) for own in by_language])
    present = ~np.isnan(setting_means["map"])
    kinds = {
        "monolingual": np.eye(size, size + 1, dtype=bool),
        "cross_lingual": ~np.eye(size, size + 1, dtype=bool) & (np.arange(size + 1) < size),
        "multilingual": np.broadcast_to(np.arange(size + 1) == size, (size, size + 1)),
    }
    result: dict[str, Any] = {
        kind: {measure: float(means[mask & present].mean()) for measure, means in setting_means.items()}
        for kind, mask in kinds.items()
        if (mask & present).any()
    }
    if not np.isnan(distances).all():
        result["rank_distance"] = float(np.nanmean(distances))
    names = [*languages, "multi"]
    result["per_pair"] = {
        f"{languages[a]}-{names[b]}": {measure: float(means[a, b]) for measure, means in setting_means.items()}
        for a, b in np.argwhere(present)
    }
    for language, value in zip(languages, distances.tolist(), strict=True):
        if not np.isnan(value):
            result["per_pair"][f"{language}-multi"]["rank_distance"] = value
    result["counts"] = {
        "queries": collection.query_counts,
        "candidates": collection.candidate_counts,
        "settings": {kind: int((mask & present).sum()) for kind, mask in kinds.items()},
    }
    return result


def _nanmean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Column means without NaN; NaN (and no warning) for a column of nothing else."""
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    means = np.full(values.shape[1], np.nan)
    return np.divide(np.where(known, values, 0.0).sum(axis=0), counts, out=means, where=counts > 0)
