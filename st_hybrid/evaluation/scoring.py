"""Score every setting of a retrieval collection from one encoding pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sentence_transformers.util import SimilarityFunction

from st_hybrid.evaluation.collection import IntArray, RetrievalCollection
from st_hybrid.evaluation.fairness import language_shares, peer
from st_hybrid.evaluation.metrics import measure_rankings, pessimistic_ranks, rank_distance
from st_hybrid.evaluation.ranking import PassageRanks, Similarity, rank_passages
from st_hybrid.evaluation.results import MULTI, Counts, RetrievalScores, SettingScores
from st_hybrid.methods.centering import LanguageCentering
from st_hybrid.search.encoding import encode_distinct

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Centering = LanguageCentering | Literal["evaluated"]
"""Language means to subtract; ``"evaluated"`` takes them from the evaluated texts."""


def evaluate_retrieval(
    model: SentenceTransformer,
    collection: RetrievalCollection,
    *,
    batch_size: int = 32,
    centering: Centering | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    show_progress_bar: bool = False,
) -> RetrievalScores:
    """Measure a model on every setting of a collection.

    Args:
        model: The model; its similarity function ranks the passages.
        collection: Queries, passages and relevance.
        batch_size: Texts per encoding batch.
        centering: Language means to subtract from the embeddings. ``"evaluated"`` takes them from the evaluated texts
            themselves, which flatters the method a little.
        query_prompt: Text before each query; by default the model's own query prompt.
        document_prompt: Text before each passage; by default the model's own document prompt.
        show_progress_bar: Show the progress of encoding.

    Returns:
        The scores of each setting and their means.

    Example:
        ::

            from sentence_transformers import SentenceTransformer
            from st_hybrid.evaluation import evaluate_retrieval, load_lareqa

            model = SentenceTransformer("intfloat/multilingual-e5-small")
            scores = evaluate_retrieval(model, load_lareqa("XQuAD-R"))
            print(scores.multilingual.map, scores.per_pair["en-de"].recall_at_1)
    """
    queries, passages = encode_collection(
        model,
        collection,
        batch_size=batch_size,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        show_progress_bar=show_progress_bar,
    )
    return score_embeddings(queries, passages, collection, similarity=model.similarity_fn_name, centering=centering)


def encode_collection(
    model: SentenceTransformer,
    collection: RetrievalCollection,
    *,
    batch_size: int = 32,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    show_progress_bar: bool = False,
) -> tuple[Floats, Floats]:
    """Encode the queries and passages of a collection, each distinct text once per role.

    The arguments are those of :func:`evaluate_retrieval`; :func:`score_queries` takes the two arrays.
    """
    options: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
    return (
        encode_distinct(lambda texts: model.encode_query(texts, prompt=query_prompt, **options), collection.queries),
        encode_distinct(
            lambda texts: model.encode_document(texts, prompt=document_prompt, **options), collection.passages
        ),
    )


def score_embeddings(
    query_embeddings: Floats,
    passage_embeddings: Floats,
    collection: RetrievalCollection,
    *,
    similarity: Similarity = SimilarityFunction.COSINE,
    centering: Centering | None = None,
) -> RetrievalScores:
    """Measure given embeddings on every setting of a collection.

    A setting is a query language with a pool: its own language (monolingual), another one (cross-lingual) or all
    languages (multilingual). Ranks are over the whole pool, and ties count against the model.

    Args:
        query_embeddings: One vector per query of the collection, shape ``(queries, dimensions)``.
        passage_embeddings: One vector per passage, shape ``(passages, dimensions)``.
        collection: Languages and relevance.
        similarity: Name of the similarity function that ranks the passages, or your own function. It receives the
            tensors of some queries, shape ``(some, dimensions)``, and of all passages, shape ``(passages,
            dimensions)``, and returns their scores, shape ``(some, passages)``.
        centering: Language means to subtract, as for :func:`evaluate_retrieval`.

    Returns:
        The scores of each setting and their means.

    Raises:
        ValueError: A shape does not fit the collection, or a value is not finite.
    """
    return score_queries(
        query_embeddings, passage_embeddings, collection, similarity=similarity, centering=centering
    ).summary()


def score_queries(
    query_embeddings: Floats,
    passage_embeddings: Floats,
    collection: RetrievalCollection,
    *,
    similarity: Similarity = SimilarityFunction.COSINE,
    centering: Centering | None = None,
) -> QueryScores:
    """Measure given embeddings query by query; the arguments and errors are those of :func:`score_embeddings`."""
    query_embeddings = _checked(query_embeddings, len(collection.queries), "query")
    passage_embeddings = _checked(passage_embeddings, len(collection.passages), "passage")
    if centering is not None:
        query_languages = [collection.languages[code] for code in collection.query_languages]
        passage_languages = [collection.languages[code] for code in collection.passage_languages]
        if centering == "evaluated":
            centering = LanguageCentering.from_embeddings(
                query_embeddings, query_languages, passage_embeddings, passage_languages
            )
        query_embeddings = centering(query_embeddings, query_languages, "query")
        passage_embeddings = centering(passage_embeddings, passage_languages, "document")
    return QueryScores.from_ranks(
        rank_passages(query_embeddings, passage_embeddings, collection, similarity), collection
    )


@dataclass(frozen=True, eq=False)
class QueryScores:
    """The scores of each query in each pool, NaN where the pool has no passage that is relevant to the query.

    Args:
        collection: What was scored.
        measures: For each of :data:`~st_hybrid.evaluation.results.MEASURES`, values of shape ``(queries, languages +
            1)``: in the pool of each language, and last in that of all languages.
        rank_distance: Largest minus smallest rank of a query's relevant passages in the pool of all languages, shape
            ``(queries,)``; NaN for a query whose relevant passages are in one language.
        peer_at_20: Language fairness of the pool of all languages (:func:`~st_hybrid.evaluation.fairness.peer`), shape
            ``(queries,)``.
        top_10_languages: Share of each language among the first 10 there, shape ``(queries, languages)``.
        first_10: Numbers of the first 10 passages there, shape ``(queries, 10)``, fewer in a smaller pool.
        relevant_ranks: Rank there of each relevant pair of the collection, shape ``(pairs,)``.

    Example:
        ::

            import numpy as np
            from st_hybrid.evaluation import load_lareqa, score_queries

            collection = load_lareqa("XQuAD-R")
            draw = np.random.default_rng(0).standard_normal
            queries, passages = draw((len(collection.queries), 8)), draw((len(collection.passages), 8))
            scores = score_queries(queries, passages, collection)
            hardest = scores.table().sort_by("map").slice(0, 10)
    """

    collection: RetrievalCollection
    measures: dict[str, Doubles]
    rank_distance: Doubles
    peer_at_20: Doubles
    top_10_languages: Doubles
    first_10: IntArray
    relevant_ranks: IntArray

    @classmethod
    def from_ranks(cls, ranks: PassageRanks, collection: RetrievalCollection) -> QueryScores:
        """Compute the measures of each query from the ranks of its relevant passages."""
        total, size = len(collection.queries), len(collection.languages)
        query = collection.relevant_queries
        target = collection.passage_languages[collection.relevant_passages]
        in_language = ranks.at_or_above[np.arange(len(query)), target]
        in_all = ranks.at_or_above.sum(axis=1)
        grades = 1.0 if collection.grades is None else collection.grades
        per_language = measure_rankings(in_language, query * size + target, total * size, grades)
        multilingual = measure_rankings(in_all, query, total, grades)
        answered_in = np.count_nonzero(
            np.bincount(query * size + target, minlength=total * size).reshape(total, size), 1
        )
        return cls(
            collection=collection,
            measures={
                name: np.column_stack([values.reshape(total, size), multilingual[name]])
                for name, values in per_language.items()
            },
            rank_distance=np.where(answered_in > 1, rank_distance(in_all, ranks.above_best, query, total), np.nan),
            peer_at_20=peer(ranks.top, collection),
            top_10_languages=language_shares(ranks.top, collection),
            first_10=ranks.top.passages[:, :10],
            relevant_ranks=pessimistic_ranks(in_all, query).astype(np.int32),
        )

    def summary(self) -> RetrievalScores:
        """Average over the queries of a setting, then over the settings of a kind."""
        languages, size = self.collection.languages, len(self.collection.languages)
        asked = self.collection.query_languages == np.arange(size)[:, None]  # (languages, queries)
        answered = asked & ~np.isnan(self.measures["map"][:, -1])
        means = {name: np.stack([_nanmean(values[own]) for own in asked]) for name, values in self.measures.items()}
        peers = np.array([_nanmean(self.peer_at_20[own]) for own in answered])
        distances = np.array([_nanmean(self.rank_distance[own]) for own in answered])

        present = ~np.isnan(means["map"])  # (query languages, pools)
        pools = np.append(np.bincount(self.collection.passage_languages, minlength=size) > 0, True)
        same, every = np.eye(size, size + 1, dtype=bool), np.arange(size + 1) == size
        chosen = {
            "monolingual": same & present,
            "cross_lingual": ~same & ~every & present,
            "multilingual": every & present,
        }

        def scores(settings: Any, **more: Any) -> SettingScores:
            averages: dict[str, Any] = {name: float(values[settings].mean()) for name, values in means.items()}
            return SettingScores(**averages, **more)

        per_pair = {}
        for code, pool in np.argwhere(present).tolist():
            more = {"peer_at_20": _number(peers[code]), "rank_distance": _number(distances[code])}
            name = f"{languages[code]}-{[*languages, MULTI][pool]}"
            per_pair[name] = scores((code, pool), **(more if pool == size else {}))
        return RetrievalScores(
            monolingual=scores(chosen["monolingual"]) if chosen["monolingual"].any() else None,
            cross_lingual=scores(chosen["cross_lingual"]) if chosen["cross_lingual"].any() else None,
            multilingual=scores(chosen["multilingual"], peer_at_20=_number(_nanmean(peers))),
            rank_distance=_number(_nanmean(distances)),
            per_pair=per_pair,
            top_10_languages={
                language: dict(zip(languages, self.top_10_languages[own].mean(axis=0).tolist(), strict=True))
                for language, own in zip(languages, answered, strict=True)
                if own.any()
            },
            counts=Counts(
                queries=self.collection.query_counts,
                passages=self.collection.passage_counts,
                settings={kind: int(settings.sum()) for kind, settings in chosen.items()},
                empty_settings=int((asked.any(axis=1)[:, None] & pools & ~present).sum()),
                one_language=int((answered.any(axis=0) & np.isnan(self.rank_distance)).sum()),
            ),
        )

    def table(self) -> pa.Table:
        """The scores as a table with a row per query and pool in which it has a relevant passage.

        Returns:
            A table with ``query_id``, ``query_language``, ``pool`` (a language, or ``"multi"``), the measures, and
            ``rank_distance`` and ``peer_at_20``, which are null except for the pool of all languages.
        """
        query, pool = np.nonzero(~np.isnan(self.measures["map"]))
        languages = pa.array(list(self.collection.languages), pa.string())
        pools = pa.array([*self.collection.languages, MULTI], pa.string())
        columns: dict[str, Any] = {
            "query_id": pa.array(list(self.collection.query_ids), pa.string()).take(pa.array(query)),
            "query_language": languages.take(pa.array(self.collection.query_languages[query])),
            "pool": pools.take(pa.array(pool)),
            **{name: values[query, pool] for name, values in self.measures.items()},
        }
        for name, values in (("rank_distance", self.rank_distance), ("peer_at_20", self.peer_at_20)):
            missing = (pool < len(self.collection.languages)) | np.isnan(values[query])
            columns[name] = pa.array(values[query], mask=missing)
        return pa.table(columns)

    def first_passages(self) -> pa.Table:
        """What each query finds in the pool of all languages: its first 10 passages, and all that are relevant.

        Returns:
            A table with a row per query and passage, ordered by query and rank: ``query_id``, ``query_language``,
            ``query``, ``rank``, ``passage_id``, ``passage_language``, ``passage`` and ``relevant``. Texts are
            dictionary-encoded. Queries without a relevant passage are left out.
        """
        collection, depth = self.collection, self.first_10.shape[1]
        answered = np.unique(collection.relevant_queries)
        total = len(collection.passages)
        pairs = collection.relevant_queries.astype(np.int64) * total + collection.relevant_passages
        first = (answered[:, None].astype(np.int64) * total + self.first_10[answered]).ravel()
        below = ~np.isin(pairs, first)
        pair = np.concatenate([first, pairs[below]])
        rank = np.concatenate(
            [np.tile(np.arange(1, depth + 1), len(answered)), np.maximum(self.relevant_ranks[below], depth + 1)]
        )
        relevant = np.isin(pair, pairs)
        order = np.lexsort((rank, pair // total))
        query, passage = pair[order] // total, pair[order] % total

        def column(numbers: npt.NDArray[np.integer], values: Sequence[str]) -> pa.DictionaryArray:
            used, index = np.unique(numbers, return_inverse=True)
            return pa.DictionaryArray.from_arrays(pa.array(index, pa.int32()), [values[number] for number in used])

        return pa.table(
            {
                "query_id": column(query, collection.query_ids),
                "query_language": column(collection.query_languages[query], collection.languages),
                "query": column(query, collection.queries),
                "rank": rank[order],
                "passage_id": column(passage, collection.passage_ids),
                "passage_language": column(collection.passage_languages[passage], collection.languages),
                "passage": column(passage, collection.passages),
                "relevant": relevant[order],
            }
        )


def score_search(
    found: Mapping[str, Mapping[str, float]], relevant_docs: Mapping[str, Mapping[str, int]], pool_size: int
) -> SettingScores:
    """Measure one setting from the scores that a search returned.

    Passages that the search left out rank last, and ties count against the model.

    Args:
        found: Scores of passages by query id and passage id.
        relevant_docs: The relevant passages by query id and passage id, with any value.
        pool_size: Number of passages in the pool.

    Example:
        ::

            from st_hybrid.evaluation.scoring import score_search

            print(score_search({"q": {"a": 0.9, "b": 0.8}}, {"q": {"b": 1}}, pool_size=5).map)  # 0.5
    """
    at_or_above, above_best = [], []
    for query, relevant in relevant_docs.items():
        scores = np.sort(np.fromiter(found.get(query, {}).values(), dtype=np.float64))
        own = np.array([found.get(query, {}).get(passage, -np.inf) for passage in relevant])
        reached = len(scores) - np.searchsorted(scores, own, side="left")
        at_or_above.append(np.where(np.isneginf(own), pool_size, reached))
        above_best.append(len(scores) - np.searchsorted(scores, own.max(), side="right"))
    total = len(relevant_docs)
    rankings = np.repeat(np.arange(total), [len(relevant) for relevant in relevant_docs.values()])
    reached = np.concatenate(at_or_above)
    measures = measure_rankings(reached, rankings, total)
    distances = rank_distance(reached, np.array(above_best), rankings, total)
    return SettingScores(
        **{name: float(values.mean()) for name, values in measures.items()},
        rank_distance=_number(_nanmean(distances)),
    )


def _checked(embeddings: Floats, rows: int, what: str) -> Floats:
    embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
    if embeddings.ndim != 2 or len(embeddings) != rows:
        raise ValueError(f"The {what} embeddings have shape {embeddings.shape}; the collection needs {rows} rows.")
    if not np.isfinite(embeddings).all():
        bad = int(np.flatnonzero(~np.isfinite(embeddings).all(axis=1))[0])
        raise ValueError(f"The vector of {what} {bad} is not finite. A model that returns NaN cannot be ranked.")
    return embeddings


def _nanmean(values: Doubles) -> Doubles:
    """Means over the first axis without NaN; NaN, and no warning, where there is nothing else."""
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    means = np.full(counts.shape, np.nan)
    return np.divide(np.where(known, values, 0.0).sum(axis=0), counts, out=means, where=counts > 0)


def _number(value: Doubles) -> float | None:
    return None if np.isnan(value) else float(value)
