"""Hard negatives for parallel rows, within a language and across languages."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray
from rich.progress import track
from scipy.sparse import csr_array
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives

from st_hybrid.pairs import pair_text, parallel_pairs

Ints = NDArray[np.int64]
NegativeLanguages = Literal["same", "other", "both"]

_BEHIND = -16.0  # unit vectors have scores from -1 to 1
_KINDS: dict[str, tuple[str, ...]] = {"same": ("same",), "other": ("other",), "both": ("same", "other")}


def mine_negatives(
    rows: Dataset,
    model: SentenceTransformer,
    *,
    languages: NegativeLanguages = "same",
    num_negatives: int = 1,
    id_column: str = "id",
    language_column: str = "language",
    query_column: str = "query",
    positive_column: str = "positive",
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    batch_size: int = 32,
    seed: int = 0,
    show_progress_bar: bool = False,
    **options: Any,
) -> Dataset:
    """Add columns of hard negatives to parallel rows.

    The passages that a model ranks high for a query and that do not answer it, found by sentence-transformers'
    ``mine_hard_negatives`` over a faiss index. That function knows two passages for the same only by their text; here a
    query's own passage cluster is left out whole, in every language, and so are the clusters of all rows with the same
    query text. Each distinct text is encoded once.

    Which language a negative should have depends on the pairs that it joins. A biased model errs where the answer
    stands in another language than the query, behind wrong passages in the query's own. A cross-lingual pair shows it
    just these with ``languages="same"`` here and ``negatives_follow="query"`` in
    :func:`~st_hybrid.parallel_pairs`. By default a pair has the negatives of its positive's row: ``"same"`` then
    teaches what passages say, not which language they are in. Beside a monolingual pair a negative of ``"other"``
    languages is given away by its language, and a model learns to look at that: train on those with few monolingual
    batches, if at all. ``benchmarks/hard_negatives.py`` measures all three.

    In a batch a row's negatives are negatives of all other queries as well, and one may be the passage of another query
    there. The labels of the pairs name the negatives' clusters, and
    :class:`~st_hybrid.MultilingualMultipleNegativesRankingLoss` masks them for the queries that they answer.

    Args:
        rows: Parallel rows without negative columns.
        model: Encoder that ranks the passages; best the one to be trained.
        languages: ``"same"`` for negatives in the row's language, ``"other"`` for any other language, ``"both"`` for
            as many of each, first those in the row's language.
        num_negatives: Negatives of each row and kind.
        id_column: As for :func:`~st_hybrid.parallel_pairs`.
        language_column: As for :func:`~st_hybrid.parallel_pairs`.
        query_column: As for :func:`~st_hybrid.parallel_pairs`.
        positive_column: As for :func:`~st_hybrid.parallel_pairs`.
        query_prompt: Put before queries; by default the model's own query prompt.
        document_prompt: Put before passages; by default the model's own document prompt.
        batch_size: Texts encoded at once.
        seed: Seed of the draw, with ``sampling_strategy="random"``.
        show_progress_bar: Show the progress of encoding and of the languages.
        **options: Options of ``mine_hard_negatives`` that choose among the candidates: ``range_min``, ``range_max``,
            ``max_score``, ``min_score``, ``absolute_margin``, ``relative_margin``, ``sampling_strategy``,
            ``cross_encoder`` (which rescores candidates if a margin or a score is set), ``faiss_batch_size``. Margins
            count from the lowest of the query's right answers in the pool searched: of those in its language, or of
            their translations.

    Returns:
        The rows with ``negative_1``, ``negative_2``, … A row for which too few negatives were found is left out.

    Raises:
        ValueError: The rows are not valid, have negative columns already, have one language where others are wanted,
            or no row has enough negatives.

    References:
        Choosing by margins: Moreira et al. 2024, https://arxiv.org/abs/2407.15831

    Example:
        ::

            from sentence_transformers import SentenceTransformer
            from st_hybrid import parallel_pairs
            from st_hybrid.data.mining import mine_negatives
            from st_hybrid.data import open_rows

            model = SentenceTransformer("intfloat/multilingual-e5-small")
            pairs = parallel_pairs(mine_negatives(open_rows("rows.jsonl").rows, model, languages="both"))
    """
    if languages not in _KINDS:
        raise ValueError(f"languages must be one of {', '.join(_KINDS)}, got {languages!r}.")
    if num_negatives < 1:
        raise ValueError(f"num_negatives must be at least 1, got {num_negatives}.")
    if present := [name for name in rows.column_names if name.startswith("negative")]:
        raise ValueError(
            f"The rows have negatives already, in {', '.join(present)}. Drop these columns first, with "
            "rows.remove_columns, or give them another name."
        )
    index = _index(rows, id_column, language_column, query_column, positive_column)
    if languages != "same" and len(index.languages) == 1:
        raise ValueError(
            f"All rows are in {index.languages[0]!r}, so there is no negative in another language. Mine with "
            "languages='same'."
        )
    encoder: Any = _EncodedTexts(
        model, index, query_prompt, document_prompt, batch_size=batch_size, show_progress_bar=show_progress_bar
    )
    options = {"faiss_batch_size": 4096, **options, "num_negatives": num_negatives, "batch_size": batch_size}
    columns = []
    state = random.getstate()  # the library draws from Python's own generator
    random.seed(seed)
    try:
        for kind in _KINDS[languages]:
            found = np.full((len(rows), num_negatives), -1)
            codes: Any = range(len(index.languages))
            if show_progress_bar:
                codes = track(codes, description=f"Negatives in {kind} language{'s' if kind == 'other' else ''}")
            for language in codes:
                _search(index, language, kind, encoder, found, options)
            columns.append(found)
    finally:
        random.setstate(state)
    negatives = np.concatenate(columns, axis=1)
    enough = (negatives >= 0).all(axis=1)
    if not enough.any():
        raise ValueError(
            f"No row has {num_negatives} negatives of each kind: too few passages, or margins and scores that leave "
            "none. Ask for fewer, or loosen them."
        )
    kept = rows.select(np.flatnonzero(enough))
    for number, passage in enumerate(negatives[enough].T, start=1):
        kept = kept.add_column(f"negative_{number}", index.passages.take(pa.array(passage)))
    return kept


@dataclass(frozen=True)
class _Index:
    """The rows in numbers: which texts there are, and who they belong to.

    Args:
        languages: The language codes, by their numbers.
        queries: The distinct query texts.
        passages: The distinct positive texts; each belongs to one cluster.
        query: The number of each row's query text.
        passage: The number of each row's positive text.
        language: The number of each row's language.
        answers: Query texts by passages, True where the passage is of a cluster of a row with that query.
        spoken: Languages by passages, True where a row of that language has the passage.
    """

    languages: list[str]
    queries: pa.Array
    passages: pa.Array
    query: Ints
    passage: Ints
    language: Ints
    answers: csr_array
    spoken: NDArray[np.bool_]


def _index(rows: Dataset, id_column: str, language_column: str, query_column: str, positive_column: str) -> _Index:
    pairs = parallel_pairs(
        rows,
        id_column=id_column,
        language_column=language_column,
        query_column=query_column,
        positive_column=positive_column,
        negative_columns=[],
        partners=1,
    )
    text = pair_text(pairs)
    keys = text.keys.with_format("numpy")[:]
    table = text.texts.with_format("arrow")[:]
    queries, passages = (table[name].combine_chunks().dictionary_encode() for name in (query_column, positive_column))
    query, passage = (column.indices.to_numpy().astype(np.int64) for column in (queries, passages))
    cluster, language = keys["cluster"].astype(np.int64), keys["language"].astype(np.int64)
    clusters = int(cluster.max()) + 1
    ones = np.ones(len(rows), dtype=bool)
    asked = csr_array((ones, (query, cluster)), shape=(len(queries.dictionary), clusters))
    holds = csr_array((ones, (cluster, passage)), shape=(clusters, len(passages.dictionary)))
    spoken = np.zeros((len(text.languages), len(passages.dictionary)), dtype=bool)
    spoken[language, passage] = True
    return _Index(
        languages=text.languages,
        queries=queries.dictionary,
        passages=passages.dictionary,
        query=query,
        passage=passage,
        language=language,
        answers=csr_array(asked @ holds),
        spoken=spoken,
    )


class _EncodedTexts:
    """Stands in for the model in ``mine_hard_negatives``, which is called once a language: encodes each text once.

    The function also searches the right answers that it is told, in whatever language they are. An extra coordinate
    puts those outside the pool behind all others; it has no part in the scores that margins count from.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        index: _Index,
        query_prompt: str | None,
        document_prompt: str | None,
        **encoding: Any,
    ) -> None:
        self.device = "cpu"  # where faiss and the ranks are
        self.pool = np.ones(len(index.passages), dtype=bool)
        self._pairwise = model.similarity_pairwise
        encoding |= {"normalize_embeddings": True, "convert_to_numpy": True}
        self._queries = index.queries, model.encode_query(index.queries.to_pylist(), prompt=query_prompt, **encoding)
        self._passages = (
            index.passages,
            model.encode_document(index.passages.to_pylist(), prompt=document_prompt, **encoding),
        )

    def get_embedding_dimension(self) -> int:
        return int(self._passages[1].shape[1]) + 1

    def encode_query(self, texts: Sequence[str], **_: Any) -> NDArray[np.float32]:
        known, vectors = self._queries
        chosen = vectors[_places(pa.array(texts, known.type), known)]
        return np.column_stack([chosen, np.ones(len(chosen))]).astype(np.float32)

    def encode_document(self, texts: Sequence[str], **_: Any) -> NDArray[np.float32]:
        known, vectors = self._passages
        place = _places(pa.array(texts, known.type), known)
        return np.column_stack([vectors[place], np.where(self.pool[place], 0, _BEHIND)]).astype(np.float32)

    def similarity_pairwise(self, queries: NDArray[np.float32], passages: NDArray[np.float32]) -> Any:
        return self._pairwise(queries[:, :-1], passages[:, :-1])


def _places(texts: pa.Array | pa.ChunkedArray, known: pa.Array) -> Ints:
    return pc.index_in(texts, value_set=known).to_numpy().astype(np.int64)


def _search(index: _Index, language: int, kind: str, encoder: Any, found: Ints, options: dict[str, Any]) -> None:
    """Fill in the negatives of a language's rows: passage numbers, -1 where there are too few."""
    mine = np.flatnonzero(index.language == language)
    # A passage that a row of this language has, too, is no passage of another language: it was left untranslated.
    in_pool = index.spoken[language] if kind == "same" else ~index.spoken[language]
    pool = np.flatnonzero(in_pool)
    if not len(mine) or not len(pool):
        return
    # What the library is told to be a query's positives is what it never gives as its negatives, and what margins
    # count from: the right answers in the pool, or the row's own positive where there are none.
    asked, first = np.unique(index.query[mine], return_index=True)
    own, answer = index.answers[asked].nonzero()
    own, answer = own[in_pool[answer]], answer[in_pool[answer]]
    alone = np.setdiff1d(np.arange(len(asked)), own)
    own = np.concatenate([own, alone])
    answer = np.concatenate([answer, index.passage[mine[first[alone]]]])
    encoder.pool = in_pool
    mined = mine_hard_negatives(
        Dataset(
            pa.table(
                {
                    "query": index.queries.take(pa.array(asked[own])),
                    "positive": index.passages.take(pa.array(answer)),
                }
            )
        ),
        encoder,
        corpus=index.passages.take(pa.array(pool)).to_pylist(),
        use_faiss=True,
        output_format="labeled-pair",  # names each negative of a query once
        verbose=False,
        **options,
    ).with_format("arrow")[:]
    mined = mined.filter(pc.equal(mined["label"], 0))
    asker = np.searchsorted(asked, _places(mined["query"], index.queries))
    negative = _places(mined["positive"], index.passages)
    asker, negative = asker[in_pool[negative]], negative[in_pool[negative]]
    order = np.argsort(asker, kind="stable")  # the best comes first
    counts = np.bincount(asker, minlength=len(asked))
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    best = np.full((len(asked), found.shape[1]), -1)
    best[asker[order], place] = negative[order]
    found[mine] = best[np.searchsorted(asked, index.query[mine])]
