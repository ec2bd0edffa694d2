"""Score every setting of a retrieval collection from one encoding pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from sentence_transformers.util import SimilarityFunction, normalize_embeddings
from torch import Tensor

from st_hybrid.evaluation import metrics
from st_hybrid.evaluation.collection import IntArray, RetrievalCollection
from st_hybrid.evaluation.fairness import PEER_AT, SHARES_AT, TopCandidates, language_shares, peer
from st_hybrid.methods.centering import LanguageCentering

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
#: The name of a similarity function, or a function of the embeddings of some queries and of all candidates.
Similarity = str | SimilarityFunction | Callable[[Tensor, Tensor], Tensor]

#: Where the pool is in the query's language, in one other language, and in all languages.
SETTINGS = ("monolingual", "cross_lingual", "multilingual")
#: What every setting reports.
MEASURES = ("map", "recall_at_1", "recall_at_10", "ndcg_at_10", "mrr_at_10")
#: Language fairness of the multilingual settings: see :func:`~st_hybrid.evaluation.fairness.peer`.
PEER = f"peer_at_{PEER_AT}"
#: Who is found first there: see :func:`~st_hybrid.evaluation.fairness.language_shares`.
TOP_LANGUAGES = f"top_{SHARES_AT}_languages"
#: How the pool of all languages is called.
MULTI = "multi"

# Scores of a block of queries against all candidates stay small enough for the processor's cache.
_BLOCK_SCORES = 1 << 21


@dataclass(frozen=True, eq=False)
class RankingCounts:
    """What one pass over the scores leaves of them: all ranks of relevant candidates, and who is first.

    Args:
        at_or_above: For each relevant pair of the collection and each language, how many candidates of that language
            score at least as high as the pair's candidate (itself included), shape ``(pairs, languages)``.
        above_best: For each query, how many candidates of all languages score higher than its best relevant
            candidate, shape ``(queries,)``.
        top: The first candidates of each query in the pool of all languages.
    """

    at_or_above: IntArray
    above_best: IntArray
    top: TopCandidates


@dataclass(frozen=True, eq=False)
class QueryScores:
    """The scores of each query in each pool it is asked of: what all averages are taken from.

    A value is NaN where there is none: a measure, where the pool has no candidate that is relevant to the query.

    Args:
        collection: What was scored.
        measures: For each of :data:`MEASURES`, values of shape ``(queries, languages + 1)``: in the pool of each
            language, and last in that of all languages.
        rank_distance: Largest minus smallest rank of a query's relevant candidates in the pool of all languages,
            shape ``(queries,)``; NaN for a query with fewer than two.
        peer: Language fairness of the pool of all languages (:func:`~st_hybrid.evaluation.fairness.peer`), shape
            ``(queries,)``.
        top_languages: Share of each language among the first ten there, shape ``(queries, languages)``.

    Example:
        ::

            from st_hybrid.evaluation import read_lareqa, score_queries
            from st_hybrid.evaluation.scoring import encode_collection

            collection = read_lareqa("data/xquad-r")
            scores = score_queries(*encode_collection(model, collection), collection)
            print(scores.summary()["multilingual"]["map"])
            hardest = scores.table().sort_by("map").slice(0, 10)
    """

    collection: RetrievalCollection
    measures: dict[str, Doubles]
    rank_distance: Doubles
    peer: Doubles
    top_languages: Doubles

    def summary(self) -> dict[str, Any]:
        """Average over the queries of a setting, then over the settings of a kind.

        Returns:
            What :func:`score_embeddings` returns.
        """
        languages, size = self.collection.languages, len(self.collection.languages)
        by_language = np.stack([self.collection.query_languages == code for code in range(size)])
        setting_means = {m: np.stack([_nanmean(v[own]) for own in by_language]) for m, v in self.measures.items()}
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
        names = [*languages, MULTI]
        per_pair = {
            f"{languages[a]}-{names[b]}": {measure: float(means[a, b]) for measure, means in setting_means.items()}
            for a, b in np.argwhere(present)
        }
        counted = by_language & ~np.isnan(self.measures["map"][:, -1])
        for where, measure, values in (
            (result, "rank_distance", self.rank_distance),
            (result.get("multilingual", {}), PEER, self.peer),
        ):
            means = np.concatenate([_nanmean(values[own, None]) for own in counted])
            if not np.isnan(means).all():
                where[measure] = float(np.nanmean(means))
            for language, value in zip(languages, means.tolist(), strict=True):
                if not np.isnan(value):
                    per_pair[f"{language}-{MULTI}"][measure] = value
        result["per_pair"] = per_pair
        result[TOP_LANGUAGES] = {
            language: dict(zip(languages, self.top_languages[own].mean(axis=0).tolist(), strict=True))
            for language, own in zip(languages, counted, strict=True)
            if own.any()
        }
        result["counts"] = {
            "queries": self.collection.query_counts,
            "candidates": self.collection.candidate_counts,
            "settings": {kind: int((mask & present).sum()) for kind, mask in kinds.items()},
        }
        return result

    def table(self) -> pa.Table:
        """The values of each query and pool, as rows.

        Returns:
            A table with ``query_id``, ``query_language``, ``pool`` (a language, or ``"multi"``), the measures, and
            ``rank_distance`` and ``peer_at_20``, which are null but for the pool of all languages. Queries without a
            relevant candidate in a pool have no row for it. The mean of a measure over the rows of a query language
            and a pool is what :meth:`summary` has under ``per_pair``.
        """
        query, pool = np.nonzero(~np.isnan(self.measures["map"]))
        multilingual = pool == len(self.collection.languages)
        codes = self.collection.query_languages[query]
        languages = pa.array(list(self.collection.languages), pa.string())
        pools = pa.array([*self.collection.languages, MULTI], pa.string())
        columns: dict[str, Any] = {
            "query_id": pa.array(list(self.collection.query_ids), pa.string()).take(pa.array(query)),
            "query_language": languages.take(pa.array(codes)),
            "pool": pools.take(pa.array(pool)),
            **{measure: values[query, pool] for measure, values in self.measures.items()},
        }
        for measure, values in (("rank_distance", self.rank_distance), (PEER, self.peer)):
            columns[measure] = pa.array(values[query], mask=~multilingual | np.isnan(values[query]))
        return pa.table(columns)


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
            from st_hybrid.evaluation import evaluate_retrieval, read_lareqa

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
    similarity: Similarity = SimilarityFunction.COSINE,
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
        similarity: Similarity function that ranks the candidates: its name, or a function of your own. It gets the
            tensors of some queries, shape ``(some, dimensions)``, and of all candidates, ``(candidates, dimensions)``,
            and returns their scores, ``(some, candidates)``.
        centering: See :func:`evaluate_retrieval`.

    Returns:
        - ``monolingual``, ``cross_lingual`` and ``multilingual``, each with ``map``, ``recall_at_1``,
          ``recall_at_10``, ``ndcg_at_10`` and ``mrr_at_10`` (a kind without a setting is left out). ``multilingual``
          has ``peer_at_20`` too, the language fairness of the first 20 (:func:`~st_hybrid.evaluation.fairness.peer`):
          near 0 where languages are preferred, about 0.5 where the order has nothing to do with language.
        - ``rank_distance``, the largest minus the smallest rank among a query's relevant candidates in the pool of all
          languages, over the queries that have at least two (left out if none has).
        - ``per_pair``, the scores of each setting under ``"en-de"`` (query language, candidate language) or
          ``"en-multi"``.
        - ``top_10_languages``, for each query language the share of each language among the first ten of the pool of
          all languages (:func:`~st_hybrid.evaluation.fairness.language_shares`).
        - ``counts``, the number of queries and candidates of each language and of settings of each kind.

    Raises:
        ValueError: If a shape does not fit the collection or a value is not finite.
    """
    scores = score_queries(
        query_embeddings, candidate_embeddings, collection, similarity=similarity, centering=centering
    )
    return scores.summary()


def score_queries(
    query_embeddings: Floats,
    candidate_embeddings: Floats,
    collection: RetrievalCollection,
    *,
    similarity: Similarity = SimilarityFunction.COSINE,
    centering: LanguageCentering | Literal["evaluated"] | None = None,
) -> QueryScores:
    """Measure given embeddings on every setting of a collection, query by query.

    Takes what :func:`score_embeddings` takes, and keeps what that averages.

    Args:
        query_embeddings: One vector a query of the collection, shape ``(queries, dimensions)``.
        candidate_embeddings: One vector a candidate, shape ``(candidates, dimensions)``.
        collection: Languages and relevance.
        similarity: See :func:`score_embeddings`.
        centering: See :func:`evaluate_retrieval`.

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
    return _query_scores(collection, count_above(query_embeddings, candidate_embeddings, collection, similarity))


def count_above(
    query_embeddings: Floats,
    candidate_embeddings: Floats,
    collection: RetrievalCollection,
    similarity: Similarity = SimilarityFunction.COSINE,
) -> RankingCounts:
    """Count, for each relevant pair, the candidates of each language that score at least as high; keep the first ones.

    Candidates with equal vectors get equal scores: a matrix product may round them differently in different columns,
    and a model that cannot tell two texts apart must not gain from that.

    Args:
        query_embeddings: Shape ``(queries, dimensions)``.
        candidate_embeddings: Shape ``(candidates, dimensions)``.
        collection: Languages and relevance.
        similarity: See :func:`score_embeddings`.
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
    if similarity in (SimilarityFunction.COSINE, SimilarityFunction.COSINE.value):
        queries, candidates = normalize_embeddings(queries), normalize_embeddings(candidates)
        similarity = SimilarityFunction.DOT_PRODUCT
    score = _checking(similarity) if callable(similarity) else SimilarityFunction.to_similarity_fn(similarity)

    at_or_above = np.zeros((len(pair_query), len(collection.languages)), dtype=np.int32)
    above_best = np.zeros(query_count, dtype=np.int32)
    depth = min(max(SHARES_AT, PEER_AT) + 1, len(vectors))
    top_scores = np.empty((query_count, depth))
    top_columns = np.empty((query_count, depth), dtype=np.int64)
    tied = np.zeros((query_count, len(collection.languages)), dtype=np.int32)
    pair_scores = np.empty(len(pair_query))
    block = max(1, _BLOCK_SCORES // len(vectors))
    for start in range(0, query_count, block):
        end = min(start + block, query_count)
        scores = score(queries[start:end], candidates).numpy()
        scores[:, repeats] = scores[:, originals]
        pairs = slice(first_pair[start], first_pair[end])
        row, slot = pair_query[pairs] - start, pair_slot[pairs]
        thresholds = np.full((end - start, slot.max(initial=0) + 1), np.inf, dtype=scores.dtype)
        thresholds[row, slot] = pair_scores[pairs] = scores[row, pair_column[pairs]]
        counts = np.empty((*thresholds.shape, len(languages)), dtype=np.int32)
        for number in range(thresholds.shape[1]):
            reached = scores >= thresholds[:, number, None]
            np.add.reduceat(reached.view(np.uint8), starts, axis=1, dtype=np.int32, out=counts[:, number])
        at_or_above[pairs, languages] = counts[row, slot]
        best = np.where(np.isinf(thresholds), -np.inf, thresholds).max(axis=1, keepdims=True)
        above_best[start:end] = (scores > best).view(np.uint8).sum(axis=1, dtype=np.int32)
        found = torch.topk(torch.from_numpy(scores), depth)
        top_scores[start:end], top_columns[start:end] = found.values, found.indices
        last = top_scores[start:end, -1]
        if depth < len(vectors) and len(on := np.flatnonzero(top_scores[start:end, -2] == last)):
            same = scores[on] == last[on, None]
            tied[np.ix_(start + on, languages)] = np.add.reduceat(same.view(np.uint8), starts, axis=1, dtype=np.int32)
    top = TopCandidates(top_scores, order[top_columns].astype(np.int32), tied, _scattered(pair_scores, by_query))
    return RankingCounts(_scattered(at_or_above, by_query), above_best, top)


def _scattered(values: npt.NDArray[Any], places: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
    """The values in the order that ``places`` was taken from."""
    result = np.empty_like(values)
    result[places] = values
    return result


def _checking(similarity: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A similarity function from elsewhere, whose scores must be numbers in the right places to be ranked."""

    def score(queries: Tensor, candidates: Tensor) -> Tensor:
        scores = torch.as_tensor(similarity(queries, candidates)).detach().cpu()
        if scores.shape != (len(queries), len(candidates)):
            raise ValueError(
                f"The similarity function gave scores of the shape {tuple(scores.shape)}; for {len(queries)} queries "
                f"and {len(candidates)} candidates it must be ({len(queries)}, {len(candidates)})."
            )
        if not scores.isfinite().all():
            raise ValueError("The similarity function gave a score that is not finite, which cannot be ranked.")
        # A copy, since scores of equal candidates are made equal in place.
        return scores.to(torch.float64 if scores.dtype == torch.float64 else torch.float32, copy=True)

    return score


def _checked(embeddings: Floats, rows: int, what: str) -> Floats:
    embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
    if embeddings.ndim != 2 or len(embeddings) != rows:
        raise ValueError(f"{what} embeddings have the shape {embeddings.shape}; the collection needs {rows} rows.")
    if not np.isfinite(embeddings).all():
        bad = int(np.flatnonzero(~np.isfinite(embeddings).all(axis=1))[0])
        raise ValueError(f"The vector of {what} {bad} is not finite; a model that gives NaN cannot be ranked.")
    return embeddings


def _query_scores(collection: RetrievalCollection, counts: RankingCounts) -> QueryScores:
    size, total = len(collection.languages), len(collection.queries)
    query = collection.relevant_queries
    target = collection.candidate_languages[collection.relevant_candidates]
    pools = {  # ranks, ranking of each relevant pair, number of rankings
        "language": (counts.at_or_above[np.arange(len(query)), target], query * size + target, total * size),
        "all": (counts.at_or_above.sum(axis=1), query, total),
    }
    columns: dict[str, list[Doubles]] = {measure: [] for measure in MEASURES}
    for at_or_above, ranking, rankings in pools.values():
        pairs = metrics.pessimistic_ranks(at_or_above, ranking), ranking, rankings
        for measure, values in (
            ("map", metrics.average_precision(*pairs)),
            ("recall_at_1", metrics.recall_at(1, *pairs)),
            ("recall_at_10", metrics.recall_at(10, *pairs)),
            ("ndcg_at_10", metrics.ndcg_at(10, *pairs)),
            ("mrr_at_10", metrics.reciprocal_rank_at(10, *pairs)),
        ):
            columns[measure].append(values.reshape(total, -1))

    # The best rank is counted without ties and the worst with them: a tie must not make a language bias look small.
    worst = np.zeros(total, dtype=np.int64)
    np.maximum.at(worst, query, pools["all"][0])
    several = np.bincount(query, minlength=total) > 1
    return QueryScores(
        collection=collection,
        measures={measure: np.hstack(values) for measure, values in columns.items()},
        rank_distance=np.where(several, worst - counts.above_best - 1, np.nan),
        peer=peer(counts.top, collection),
        top_languages=language_shares(counts.top, collection),
    )


def _nanmean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Column means without NaN; NaN (and no warning) for a column of nothing else."""
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    means = np.full(values.shape[1], np.nan)
    return np.divide(np.where(known, values, 0.0).sum(axis=0), counts, out=means, where=counts > 0)
