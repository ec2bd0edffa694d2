"""Score every setting of a retrieval collection from one encoding pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_array, issparse
from sentence_transformers import SparseEncoder

from st_hybrid.encoders import Embeddings, Encoder, encode, not_finite, require_dense
from st_hybrid.evaluation.collection import IntArray, RetrievalCollection
from st_hybrid.evaluation.fairness import language_preference, language_shares, peer
from st_hybrid.evaluation.metrics import measure_rankings, rank_distance, recall_at
from st_hybrid.evaluation.ranking import SPARSE_SIMILARITIES, Similarity, rank_passages
from st_hybrid.evaluation.results import MIXED_MEASURES, MULTI, SETTINGS, Counts, RetrievalScores, SettingScores
from st_hybrid.methods.centering import LanguageCentering
from st_hybrid.search.encoding import encode_distinct

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Centering = LanguageCentering | Literal["evaluated"]


def evaluate_retrieval(
    model: Encoder,
    collection: RetrievalCollection,
    *,
    centering: Centering | None = None,
    quotas: bool = False,
    **encoding: Any,
) -> RetrievalScores:
    """Measure a model on every setting of a collection.

    Args:
        model: A SentenceTransformer, SparseEncoder or MultiVectorEncoder, whose similarity function ranks the passages.
        collection: Queries, passages and relevance.
        centering: Language means to subtract from dense embeddings. ``"evaluated"`` takes them from the evaluated texts
            themselves, which flatters the method a little.
        quotas: Merge the languages' passages by rank in the pool of all languages: the first of each language, the
            second of each, and so on. This needs only the passages' languages.
        **encoding: Keyword arguments of :func:`encode_collection`, such as ``batch_size``.

    Example:
        ::

            from sentence_transformers import SentenceTransformer
            from st_hybrid.evaluation import evaluate_retrieval, load_lareqa

            model = SentenceTransformer("intfloat/multilingual-e5-small")
            print(evaluate_retrieval(model, load_lareqa("XQuAD-R")).multilingual.map)
    """
    if centering is not None:
        require_dense(model, "Centering")
    embeddings = encode_collection(model, collection, **encoding)
    options: dict[str, Any] = {"similarity": model.similarity_fn_name, "centering": centering, "quotas": quotas}
    return score_embeddings(*embeddings, collection, **options)


def encode_collection(
    model: Encoder,
    collection: RetrievalCollection,
    *,
    batch_size: int = 32,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    show_progress_bar: bool = False,
) -> tuple[Embeddings, Embeddings]:
    """Encode the queries and passages of a collection, each distinct text once per role.

    Args:
        model: The model.
        collection: The queries and passages.
        batch_size: Texts per encoding batch.
        query_prompt: Text before each query; by default the model's own query prompt.
        document_prompt: Text before each passage; by default the model's own document prompt.
        show_progress_bar: Show the progress of encoding.
    """
    if isinstance(model, SparseEncoder) and model.similarity_fn_name not in SPARSE_SIMILARITIES:
        raise ValueError(
            f"A SparseEncoder ranks by {' or '.join(SPARSE_SIMILARITIES)}, not {model.similarity_fn_name}."
        )
    options: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}

    def encoded(texts: Sequence[str], role: Literal["query", "document"], prompt: str | None) -> Embeddings:
        return encode_distinct(lambda distinct: encode(model, distinct, role, prompt=prompt, **options), texts)

    queries = encoded(collection.queries, "query", query_prompt)
    return queries, encoded(collection.passages, "document", document_prompt)


def score_embeddings(
    query_embeddings: Embeddings, passage_embeddings: Embeddings, collection: RetrievalCollection, **options: Any
) -> RetrievalScores:
    """Measure given embeddings on every setting of a collection: the averages of :func:`score_queries`."""
    return score_queries(query_embeddings, passage_embeddings, collection, **options).summary()


def score_queries(
    query_embeddings: Embeddings,
    passage_embeddings: Embeddings,
    collection: RetrievalCollection,
    *,
    similarity: Similarity | None = None,
    centering: Centering | None = None,
    quotas: bool = False,
    temperature: float | None = None,
) -> QueryScores:
    """Measure given embeddings query by query. Ranks are over the whole pool, and ties count against the model.

    Args:
        query_embeddings: One vector per query of the collection, shape ``(queries, dimensions)``. Or a sparse array of
            scipy, or for each query an array of its tokens' vectors.
        passage_embeddings: One vector per passage, shape ``(passages, dimensions)``, or the same other kinds.
        collection: Languages and relevance.
        similarity: Name of the similarity function that ranks the passages; by default cosine, dot for sparse vectors
            and maxsim for tokens' vectors. Or your own function of dense vectors: it takes the tensors of some queries,
            shape ``(some, dimensions)``, and of all passages, and returns their scores, shape ``(some, passages)``.
        centering: Language means to subtract, as for :func:`evaluate_retrieval`.
        quotas: Merge the languages' passages by rank, as for :func:`evaluate_retrieval`.
        temperature: Of the contrastive entropy, 0.05 by default for cosines and 1 for other similarities.

    Raises:
        ValueError: A shape does not fit the collection, or a value is not finite.

    References:
        Contrastive entropy: Fang et al. 2024, Scaling Laws For Dense Retrieval, https://arxiv.org/abs/2403.18684. There
        the negatives are drawn; here they are all passages of the pool that are not relevant.
    """
    query_embeddings = _checked(query_embeddings, collection.queries, "query")
    passage_embeddings = _checked(passage_embeddings, collection.passages, "passage")
    if centering is not None:
        if not isinstance(query_embeddings, np.ndarray) or not isinstance(passage_embeddings, np.ndarray):
            raise TypeError("centering needs one dense vector per text.")
        asked = [collection.languages[code] for code in collection.query_languages]
        pool = [collection.languages[code] for code in collection.passage_languages]
        if centering == "evaluated":
            centering = LanguageCentering.from_embeddings(query_embeddings, asked, passage_embeddings, pool)
        query_embeddings = centering.transform(query_embeddings, asked, "query")
        passage_embeddings = centering.transform(passage_embeddings, pool, "document")
    ranks = rank_passages(
        query_embeddings, passage_embeddings, collection, similarity, quotas=quotas, temperature=temperature
    )
    query, target = collection.relevant_queries, collection.passage_languages[collection.relevant_passages]
    total, size = len(collection.queries), len(collection.languages)
    in_language, in_all = ranks.at_or_above[np.arange(len(query)), target], ranks.at_or_above.sum(axis=1)
    per_language = measure_rankings(in_language, query * size + target, total * size, collection.grades)
    multilingual = measure_rankings(in_all, query, total, collection.grades)
    answered_in = np.bincount(np.unique(query * size + target) // size, minlength=total)  # number of languages
    foreign = target != collection.query_languages[query]
    entropies = [_means(ranks.entropy[:, 0], query * size + target, total * size).reshape(total, size)]
    entropies.append(_means(ranks.entropy[:, 1], query, total)[:, None])
    return QueryScores(
        collection=collection,
        measures={
            name: np.column_stack([values.reshape(total, size), multilingual[name]])
            for name, values in per_language.items()
        },
        contrastive_entropy=np.column_stack(entropies),
        rank_distance=np.where(answered_in > 1, rank_distance(in_all, ranks.above_best, query, total), np.nan),
        foreign_recall_at_20=recall_at(20, in_all[foreign], query[foreign], total),
        language_preference_rate=language_preference(ranks.top.relevant_scores, collection),
        rank_correlation=ranks.rank_correlation,
        peer_at_20=peer(ranks.top, collection),
        top_10_languages=language_shares(ranks.top, collection),
        first_10=ranks.top.passages[:, :10],
        relevant_ranks=in_all,
    )


@dataclass(frozen=True, eq=False)
class QueryScores:
    """The scores of each query in each pool, NaN where the pool has no passage that is relevant to the query.

    Example:
        ::

            from sentence_transformers import SentenceTransformer
            from st_hybrid.evaluation import encode_collection, load_lareqa, score_queries

            model, collection = SentenceTransformer("intfloat/multilingual-e5-small"), load_lareqa("XQuAD-R")
            scores = score_queries(*encode_collection(model, collection), collection)
            hardest = scores.table().sort_by("map").slice(0, 10)
    """

    collection: RetrievalCollection  #: What was scored.
    measures: dict[str, Doubles]  #: In the pool of each language, and last of all: ``(queries, languages + 1)``.
    contrastive_entropy: Doubles  #: In the same pools, NaN with quotas: ``(queries, languages + 1)``.
    rank_distance: Doubles  #: In all languages, NaN unless relevant passages are in two languages: ``(queries,)``.
    foreign_recall_at_20: Doubles  #: There, NaN unless a relevant passage is in another language: ``(queries,)``.
    language_preference_rate: Doubles  #: There, NaN unless they are in the query's and another: ``(queries,)``.
    rank_correlation: Doubles  #: There, NaN for a query without translations: ``(queries,)``.
    peer_at_20: Doubles  #: Language fairness of the pool of all languages: ``(queries,)``.
    top_10_languages: Doubles  #: Share of each language among the first 10 there: ``(queries, languages)``.
    first_10: IntArray  #: Numbers of the first 10 passages there, fewer in a smaller pool: ``(queries, 10)``.
    relevant_ranks: IntArray  #: Rank there of each relevant pair's passage: ``(pairs,)``.

    def summary(self) -> RetrievalScores:
        """Average over the queries of a setting, then over the settings of a kind."""
        languages = self.collection.languages
        columns = [*self.measures, "contrastive_entropy", "peer_at_20", *MIXED_MEASURES]
        groups = self.table().group_by(["query_language", "pool"], use_threads=False)
        found = {
            (row["query_language"], row["pool"]): SettingScores(**{name: row[f"{name}_mean"] for name in columns})
            for row in groups.aggregate([(name, "mean") for name in columns]).to_pylist()
        }
        settings = [(a, b) for a in languages for b in (*languages, MULTI) if (a, b) in found]
        chosen: dict[str, list[SettingScores]] = {kind: [] for kind in SETTINGS}
        for a, b in settings:
            kind = "multilingual" if b == MULTI else "monolingual" if a == b else "cross_lingual"
            chosen[kind].append(found[a, b])
        means = {kind: _mean_scores(of_kind) for kind, of_kind in chosen.items() if of_kind}
        mixed = means["multilingual"]
        of_mixed: dict[str, Any] = {name: getattr(mixed, name) for name in MIXED_MEASURES}
        languages_asked, pools = (
            len(np.unique(codes)) for codes in (self.collection.query_languages, self.collection.passage_languages)
        )
        asked = np.where(np.isnan(self.measures["map"][:, -1]), -1, self.collection.query_languages)
        return RetrievalScores(
            **{**means, "multilingual": replace(mixed, **dict.fromkeys(of_mixed))},  # type: ignore[arg-type]
            **of_mixed,
            per_pair={f"{a}-{b}": found[a, b] for a, b in settings},
            top_10_languages={
                language: dict(zip(languages, rows.mean(axis=0).tolist(), strict=True))
                for code, language in enumerate(languages)
                if len(rows := self.top_10_languages[asked == code])
            },
            counts=Counts(
                queries=self.collection.query_counts,
                passages=self.collection.passage_counts,
                settings={kind: len(of_kind) for kind, of_kind in chosen.items()},
                empty_settings=languages_asked * (pools + 1) - len(settings),
                one_language=int((np.isnan(self.rank_distance) & (asked >= 0)).sum()),
            ),
        )

    def table(self) -> pa.Table:
        """The scores as a table with a row per query and pool in which it has a relevant passage.

        ``peer_at_20``, ``rank_distance`` and the other measures of mixed languages are null except for the pool
        ``"multi"`` of all languages.
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
        entropy = self.contrastive_entropy[query, pool]
        columns["contrastive_entropy"] = pa.array(entropy, mask=np.isnan(entropy))
        for name in (*MIXED_MEASURES, "peer_at_20"):
            values = getattr(self, name)[query]
            columns[name] = pa.array(values, mask=(pool < len(self.collection.languages)) | np.isnan(values))
        return pa.table(columns)

    def first_passages(self) -> pa.Table:
        """What each query finds in the pool of all languages: its first 10 passages, and all that are relevant.

        A row per query and passage, ordered by query and rank, with ids, languages and texts of both, and whether the
        passage is ``relevant``. Queries without a relevant passage are left out.
        """
        collection, depth = self.collection, self.first_10.shape[1]
        total = len(collection.passages)
        answered = np.unique(collection.relevant_queries).astype(np.int64)
        relevant = collection.relevant_queries.astype(np.int64) * total + collection.relevant_passages
        first = (answered[:, None] * total + self.first_10[answered]).ravel()
        below = ~np.isin(relevant, first)
        pair = np.concatenate([first, relevant[below]])
        rank = np.concatenate([np.tile(np.arange(1, depth + 1), len(answered)), self.relevant_ranks[below]])
        order = np.lexsort((rank, pair // total))
        query, passage = pair[order] // total, pair[order] % total

        def column(numbers: IntArray, values: Sequence[str]) -> pa.DictionaryArray:
            used, index = np.unique(numbers, return_inverse=True)  # each text once, however many queries find it
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
                "relevant": np.isin(pair, relevant)[order],
            }
        )


def score_search(
    found: Mapping[str, Mapping[str, float]], relevant_docs: Mapping[str, Mapping[str, int]], pool_size: int
) -> SettingScores:
    """Measure one setting from the scores by query id and passage id that a search returned.

    Passages that the search left out rank last. The values of ``relevant_docs`` do not matter.
    """
    at_or_above, above_best = [], []
    for query, relevant in relevant_docs.items():
        passages = found.get(query, {})
        scores = np.sort(np.fromiter(passages.values(), dtype=np.float64))
        own = np.array([passages.get(passage, -np.inf) for passage in relevant])
        at_or_above.append(np.where(np.isneginf(own), pool_size, len(scores) - np.searchsorted(scores, own)))
        above_best.append(len(scores) - np.searchsorted(scores, own.max(), side="right"))
    total, reached = len(relevant_docs), np.concatenate(at_or_above)
    rankings = np.repeat(np.arange(total), [len(relevant) for relevant in relevant_docs.values()])
    measures = {name: float(values.mean()) for name, values in measure_rankings(reached, rankings, total).items()}
    distances = rank_distance(reached, np.array(above_best), rankings, total)
    known = distances[~np.isnan(distances)]
    return SettingScores(**measures, rank_distance=float(known.mean()) if len(known) else None)


def _checked(embeddings: Embeddings, texts: Sequence[str], what: str) -> Embeddings:
    """The embeddings in float32, sparse ones in canonical order."""
    finite: Any
    if isinstance(embeddings, list) and np.ndim(embeddings[0]) == 2:
        embeddings = [np.ascontiguousarray(tokens, dtype=np.float32) for tokens in embeddings]
        shape, finite = (len(embeddings), 2), np.array([np.isfinite(tokens).all() for tokens in embeddings])
    elif issparse(embeddings):
        embeddings = csr_array(embeddings, dtype=np.float32)
        embeddings.sum_duplicates()
        shape, finite = embeddings.shape, np.isfinite(embeddings.sum(axis=1))
    else:
        embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
        shape, finite = embeddings.shape, np.isfinite(embeddings).all(axis=-1)
    if len(shape) != 2 or shape[0] != len(texts):
        raise ValueError(f"The {what} embeddings have shape {shape}; the collection needs {len(texts)} rows.")
    if not finite.all():
        raise not_finite(np.flatnonzero(~finite), texts, what)
    return embeddings


def _means(values: Doubles, groups: IntArray, total: int) -> Doubles:
    """The mean of each group's values, NaN without any."""
    counts = np.bincount(groups, minlength=total)
    sums = np.bincount(groups, weights=values, minlength=total)
    return np.divide(sums, counts, out=np.full(total, np.nan), where=counts > 0)


def _mean_scores(settings: Sequence[SettingScores]) -> SettingScores:
    """Means over settings of each measure that any of them has."""
    values = {field.name: [getattr(scores, field.name) for scores in settings] for field in fields(SettingScores)}
    known = {name: [value for value in column if value is not None] for name, column in values.items()}
    return SettingScores(**{name: fmean(column) for name, column in known.items() if column})
