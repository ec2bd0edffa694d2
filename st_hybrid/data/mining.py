"""Mine hard negatives for parallel rows, within a language and across languages."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.util import mine_hard_negatives

from st_hybrid.encoders import require_dense, require_finite
from st_hybrid.grouping import Ints, numbered, place_in_group
from st_hybrid.progress import progress_bar
from st_hybrid.rows import ParallelRows

NegativesIn = Literal["same", "other", "both"]

_OUTSIDE = -16.0  # added to scores from -1 to 1 of passages outside the pool


def mine_negatives(
    rows: Dataset,
    model: SentenceTransformer,
    *,
    negatives_in: NegativesIn = "same",
    num_negatives: int = 1,
    columns: Mapping[str, str] | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    range_min: int = 0,
    range_max: int | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    sampling_strategy: Literal["top", "random"] = "top",
    cross_encoder: CrossEncoder | None = None,
    batch_size: int = 32,
    seed: int | None = None,
    show_progress_bar: bool = False,
) -> Dataset:
    """Add columns of hard negatives to parallel rows.

    Hard negatives are passages that a model ranks high for a query and that do not answer it. sentence-transformers'
    ``mine_hard_negatives`` finds them with a faiss index and recognizes right answers by their text only. Here the
    whole passage clusters of all rows with the same query text are excluded, in every language.

    Cross-lingual pairs get the wrong passages in the query's language, which a biased model prefers, with
    ``negatives_in="same"`` here and ``negatives_follow="query"`` in :func:`~st_hybrid.parallel_pairs`.

    Args:
        rows: Parallel rows without negative columns.
        model: Encoder that ranks the passages, preferably the one to be trained.
        negatives_in: ``"same"`` for the row's language, ``"other"`` for any other one, ``"both"`` for both in turn.
        num_negatives: Number of negatives per row, in each of the two with ``"both"``.
        columns: The rows' names of ``id``, ``language``, ``query`` and ``positive`` where they differ.
        query_prompt: Text put before queries (the model's own query prompt by default).
        document_prompt: Text put before passages (the model's own document prompt by default).
        range_min: Number of best candidates to skip.
        range_max: Number of best candidates to consider, including those skipped.
        max_score: Skip candidates with a higher score.
        min_score: Skip candidates with a lower score.
        absolute_margin: Skip candidates whose score is not this much below the (worst) right answer's.
        relative_margin: Skip candidates whose score is not this share below the right answer's, for example 0.05.
        sampling_strategy: ``"top"`` takes the best candidates, ``"random"`` draws from them.
        cross_encoder: Model that scores the candidates again, for the margins and for ``max_score`` and ``min_score``.
        batch_size: Number of texts encoded at once.
        seed: Seed of the draw, for ``sampling_strategy="random"`` (0 by default).
        show_progress_bar: Show progress bars.

    Returns:
        The rows with ``negative_1``, ``negative_2``, … Rows with too few negatives are left out.

    Raises:
        ValueError: The rows are not valid or have negatives, an option has no effect, or no row has enough negatives.

    References:
        Choosing by margins: Moreira et al. 2024, https://arxiv.org/abs/2407.15831

    Example:
        ::

            from sentence_transformers import SentenceTransformer
            from st_hybrid import parallel_pairs
            from st_hybrid.data import mine_negatives, open_rows

            model = SentenceTransformer("intfloat/multilingual-e5-small")
            pairs = parallel_pairs(mine_negatives(open_rows("rows.jsonl").rows, model, negatives_in="both"))
    """
    if negatives_in not in ("same", "other", "both"):
        raise ValueError(f"negatives_in must be 'same', 'other' or 'both', got {negatives_in!r}.")
    require_dense(model, "Mining")
    pools = ["same", "other"] if negatives_in == "both" else [negatives_in]
    if num_negatives < 1:
        raise ValueError(f"num_negatives must be at least 1, got {num_negatives}.")
    if present := [name for name in rows.column_names if name.startswith("negative")]:
        raise ValueError(f"The rows already have negatives, in {', '.join(present)}. Drop or rename these columns.")
    if seed is not None and sampling_strategy != "random":
        raise ValueError("seed has no effect without sampling_strategy='random'. Leave it out.")
    thresholds = {"max_score": max_score, "min_score": min_score}
    thresholds |= {"absolute_margin": absolute_margin, "relative_margin": relative_margin}
    if cross_encoder is not None and not any(value is not None for value in thresholds.values()):
        raise ValueError(f"cross_encoder has no effect without one of {', '.join(thresholds)}. Set one of them.")
    parallel = ParallelRows(rows, columns=columns or {}, negative_columns=[])
    if negatives_in != "same" and len(parallel.languages) == 1:
        only = parallel.languages[0]
        raise ValueError(f"All rows are in {only!r}: there are negatives in no other. Mine with negatives_in='same'.")
    encoding = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
    texts = _EncodedTexts(parallel, model, query_prompt, document_prompt, **encoding)
    options: dict[str, Any] = {
        "range_min": range_min,
        "range_max": range_max,
        "sampling_strategy": sampling_strategy,
        **thresholds,
    }
    options |= {"cross_encoder": cross_encoder, "num_negatives": num_negatives, "batch_size": batch_size}
    negatives = np.full((len(pools), len(rows), num_negatives), -1)
    state = random.getstate()  # mine_hard_negatives draws from Python's own generator
    random.seed(seed or 0)
    total = len(pools) * len(parallel.languages)
    try:
        with progress_bar(total, "Mining negatives", show=show_progress_bar, unit="pools") as advance:
            for pool, found in zip(pools, negatives, strict=True):
                for language in range(len(parallel.languages)):
                    texts.mine(language, pool == "same", found, options)
                    advance(1)
    finally:
        random.setstate(state)
    enough = (negatives >= 0).all(axis=(0, 2))
    if not enough.any():
        raise ValueError(
            f"No row has {num_negatives} negatives of each kind: there are too few passages, or margins and scores "
            "exclude them. Ask for fewer, or loosen margins and scores."
        )
    mined = rows.select(np.flatnonzero(enough))
    for number, passage in enumerate(np.concatenate(negatives, axis=1)[enough].T, start=1):
        mined = mined.add_column(f"negative_{number}", texts.passages.take(pa.array(passage)))
    return mined


class _EncodedTexts:
    """The distinct texts of parallel rows, encoded once; takes the model's place in ``mine_hard_negatives``.

    That function also searches among the right answers that it is given, in whatever language they are. An additional
    coordinate puts those outside the pool behind all others. It is not part of the scores that margins count from.
    """

    device = "cpu"  # where faiss and the ranks are

    def __init__(
        self, rows: ParallelRows, model: SentenceTransformer, query: str | None, document: str | None, **encoding: Any
    ) -> None:
        self.rows = rows
        self.query, self.queries = numbered(rows.table["query"])
        self.passage, self.passages = numbered(rows.table["positive"])
        self.pool = np.ones(len(self.passages), dtype=bool)
        ones = np.ones(len(rows), dtype=bool)
        asked = csr_array((ones, (self.query, rows.cluster)))
        # Queries by passages: the passage is in the cluster of a row with the query.
        self.answers = csr_array(asked @ csr_array((ones, (rows.cluster, self.passage))))
        encoding |= {"normalize_embeddings": True, "convert_to_numpy": True}
        self._queries = model.encode_query(self.queries.to_pylist(), prompt=query, **encoding)
        self._passages = model.encode_document(self.passages.to_pylist(), prompt=document, **encoding)
        for vectors, given in ((self._queries, self.queries), (self._passages, self.passages)):
            if not np.isfinite(vectors).all():
                require_finite(vectors, given.to_pylist())
        self._similarity = model.similarity_pairwise

    def get_embedding_dimension(self) -> int:
        return int(self._passages.shape[1]) + 1

    def encode_query(self, texts: Sequence[str], **_: Any) -> NDArray[np.float32]:
        chosen = self._queries[_places(texts, self.queries)]
        return np.column_stack([chosen, np.ones(len(chosen))]).astype(np.float32)

    def encode_document(self, texts: Sequence[str], **_: Any) -> NDArray[np.float32]:
        place = _places(texts, self.passages)
        return np.column_stack([self._passages[place], np.where(self.pool[place], 0, _OUTSIDE)]).astype(np.float32)

    def similarity_pairwise(self, queries: NDArray[np.float32], passages: NDArray[np.float32]) -> Any:
        return self._similarity(queries[:, :-1], passages[:, :-1])

    def mine(self, language: int, same_language: bool, found: Ints, options: Mapping[str, Any]) -> None:
        """Fill in the negatives of all queries in a language: passage numbers, -1 where there are too few."""
        rows = np.flatnonzero(self.rows.language == language)
        inside = self.passage[self.rows.passage_language == language]
        # A passage that a row of this language also has was left untranslated: it is not one of another language.
        self.pool = np.isin(np.arange(len(self.passages)), inside, invert=not same_language)
        if not len(rows) or not self.pool.any():
            return
        # The positives that the library is given are never its negatives, and margins count from them: the right
        # answers in the pool, or the row's own positive where there are none.
        asked, first = np.unique(self.query[rows], return_index=True)
        asker, answer = self.answers[asked].nonzero()
        asker, answer = asker[self.pool[answer]], answer[self.pool[answer]]
        without = np.setdiff1d(np.arange(len(asked)), asker)
        asker = np.concatenate([asker, without])
        answer = np.concatenate([answer, self.passage[rows[first[without]]]])
        given = {"query": self.queries.take(pa.array(asked[asker])), "positive": self.passages.take(pa.array(answer))}
        encoder: Any = self
        mined = mine_hard_negatives(
            Dataset(pa.table(given)),
            encoder,
            corpus=self.passages.filter(pa.array(self.pool)).to_pylist(),
            use_faiss=True,
            output_format="labeled-pair",  # has each negative of a query once
            verbose=False,
            **options,
        ).with_format("arrow")[:]
        mined = mined.filter(pc.equal(mined["label"], 0))
        asker = np.searchsorted(asked, _places(mined["query"], self.queries))
        negative = _places(mined["positive"], self.passages)
        asker, negative = asker[self.pool[negative]], negative[self.pool[negative]]
        best = np.full((len(asked), found.shape[1]), -1)
        best[asker, place_in_group(asker)] = negative  # the best comes first
        found[rows] = best[np.searchsorted(asked, self.query[rows])]


def _places(texts: Sequence[str] | pa.ChunkedArray, known: pa.Array) -> Ints:
    column = texts if isinstance(texts, pa.ChunkedArray) else pa.array(texts, known.type)
    return pc.index_in(column, value_set=known).to_numpy().astype(np.int64)
