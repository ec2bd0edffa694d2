"""Search of corpora of any size: exact, shard by shard, or through an index of faiss."""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from st_hybrid.search.fingerprint import texts_fingerprint
from st_hybrid.search.shards import EmbeddingShards, Encode, Floats

if TYPE_CHECKING:
    import faiss

SIMILARITIES = ("cosine", "dot", "euclidean")

_RECALL_QUERIES = 256
_RECALL_CUTOFF = 100
# What faiss asks for to train one centroid, and more of which it would leave out.
_TRAINING_ROWS_A_CENTROID = 256


@dataclass(frozen=True)
class TopRows:
    """The best rows of a corpus for each query, best first.

    Args:
        scores: Similarity to the query, shape ``(queries, k)``, minus infinity where the corpus has fewer rows.
        rows: Row numbers, shape ``(queries, k)``, -1 where the corpus has fewer.
    """

    scores: Floats
    rows: npt.NDArray[np.int64]

    @classmethod
    def none(cls, queries: int, k: int) -> TopRows:
        """The best rows of an empty corpus."""
        return cls(np.full((queries, k), -np.inf, dtype=np.float32), np.full((queries, k), -1, dtype=np.int64))

    def merge(self, other: TopRows) -> TopRows:
        """The best rows of two parts of a corpus together; of rows that tie, this part's come first."""
        import faiss

        scores, rows = faiss.merge_knn_results(
            np.stack([self.scores, other.scores]), np.stack([self.rows, other.rows]), keep_max=True
        )
        return TopRows(np.where(rows < 0, -np.inf, scores).astype(np.float32), rows)


def top_rows(queries: Floats, vectors: Floats, k: int, similarity: str = "cosine", first_row: int = 0) -> TopRows:
    """The best of some vectors for each query, by brute force.

    Args:
        queries: Query embeddings, shape ``(queries, dimensions)``.
        vectors: Embeddings of a part of the corpus, shape ``(rows, dimensions)``.
        k: How many.
        similarity: ``"cosine"``, ``"dot"`` or ``"euclidean"`` (minus the distance).
        first_row: Number of the first vector's row in the whole corpus.

    Example:
        ::

            import numpy as np
            from st_hybrid.search.nearest import top_rows

            vectors = np.random.default_rng(0).normal(size=(10_000, 384)).astype(np.float32)
            print(top_rows(vectors[:2], vectors, 3).rows[:, 0])  # [0 1]
    """
    return _top_rows(_ready(queries, similarity), _ready(vectors, similarity), k, similarity, first_row)


def search_shards(
    queries: Floats,
    shards: EmbeddingShards,
    encode: Encode,
    k: int,
    *,
    similarity: str = "cosine",
    progress: Path | None = None,
    show_progress_bar: bool = True,
) -> TopRows:
    """The best rows of a whole corpus for each query: encodes what is missing, and ranks shard by shard.

    Only one shard is in memory at a time. A run that was killed goes on at the last finished shard: at the first
    missing file if the shards are kept, otherwise from the best rows so far, which are written after each shard.

    Args:
        queries: Query embeddings, shape ``(queries, dimensions)``.
        shards: The corpus; see :class:`~st_hybrid.search.shards.EmbeddingShards`.
        encode: Encodes passages.
        k: How many rows a query.
        similarity: ``"cosine"``, ``"dot"`` or ``"euclidean"``.
        progress: File for the best rows so far, where shards are not kept.
        show_progress_bar: Show the progress over the shards.

    Returns:
        The best rows; the same whether or not the run was interrupted.
    """
    ready = _ready(queries, similarity)
    best, done = TopRows.none(len(queries), k), 0
    digests: list[str] = []
    if shards.folder is None and progress is not None:
        best, digests = _resume(best, queries, shards, similarity, progress)
        done = len(digests)
    numbers = range(done, len(shards))
    for number in tqdm(numbers, "Shards", len(shards), initial=done, disable=not show_progress_bar):
        vectors = shards.read(number)
        if vectors is None:
            vectors = shards.encode(number, encode)
        start, _ = shards.bounds(number)
        # The vectors are this loop's own, so they need not be copied to be scaled.
        vectors = _ready(vectors, similarity, in_place=True)
        best = best.merge(_top_rows(ready, vectors, k, similarity, start))
        if shards.folder is None and progress is not None:
            digests.append(texts_fingerprint(shards.texts(number)))
            _save(best, digests, queries, shards, similarity, progress)
    if progress is not None:
        progress.unlink(missing_ok=True)
    return best


def search_index(
    queries: Floats,
    shards: EmbeddingShards,
    encode: Encode,
    k: int,
    factory: str,
    *,
    parameters: str = "",
    similarity: str = "cosine",
    memory: int,
    seed: int = 0,
    show_progress_bar: bool = True,
) -> tuple[TopRows, float]:
    """Approximate search through an index of faiss, and what it misses.

    Args:
        queries: Query embeddings, shape ``(queries, dimensions)``.
        shards: The corpus, with a folder: the index is trained on a sample of all shards, then filled.
        encode: Encodes passages.
        k: How many rows a query.
        factory: What to build, for ``faiss.index_factory``, such as ``"IVF4096,PQ48"``.
        parameters: Search parameters for ``faiss.ParameterSpace``, such as ``"nprobe=32"``.
        similarity: ``"cosine"``, ``"dot"`` or ``"euclidean"``.
        memory: Bytes that the index and its training sample may take.
        seed: Seed of the training sample and of the queries that recall is measured on.
        show_progress_bar: Show the progress over the shards.

    Returns:
        The best rows that the index finds, and its recall: of the true 100 best rows (``k`` if fewer), the share that
        is among its first 100, on 256 random queries (all if fewer).

    Raises:
        ValueError: If faiss does not know the factory string or a parameter, or the index would take more memory.
    """
    import faiss

    total, dimensions = len(shards.corpus), queries.shape[1]
    index = _build_index(factory, dimensions, similarity, total, memory)
    hide = not show_progress_bar
    for number in tqdm(shards.missing(), "Encoding", disable=hide):
        shards.encode(number, encode)

    random = np.random.default_rng(seed)
    if not index.is_trained:
        wanted = min(total, memory // (8 * dimensions), _TRAINING_ROWS_A_CENTROID * _centroids(index))
        chosen = np.sort(random.choice(total, size=int(wanted), replace=False))
        sample = np.empty((len(chosen), dimensions), dtype=np.float32)
        for number in tqdm(range(len(shards)), "Sampling", disable=hide):
            start, stop = shards.bounds(number)
            low, high = np.searchsorted(chosen, [start, stop])
            sample[low:high] = _read(shards, number)[chosen[low:high] - start]
        index.train(_ready(sample, similarity, in_place=True))
        del sample

    cutoff = min(k, _RECALL_CUTOFF, total)
    probe = np.sort(random.choice(len(queries), size=min(_RECALL_QUERIES, len(queries)), replace=False))
    probes, truth = _ready(queries[probe], similarity), TopRows.none(len(probe), cutoff)
    for number in tqdm(range(len(shards)), "Indexing", disable=hide):
        vectors, start = _ready(_read(shards, number), similarity, in_place=True), shards.bounds(number)[0]
        truth = truth.merge(_top_rows(probes, vectors, cutoff, similarity, start))
        index.add(vectors)
    if parameters:
        try:
            faiss.ParameterSpace().set_index_parameters(index, parameters)  # type: ignore[arg-type]
        except RuntimeError as error:
            raise ValueError(f"faiss does not take the search parameters {parameters!r} for {factory!r}.") from error
    distances, rows = index.search(_ready(queries, similarity), k)
    found = TopRows(_scores(distances, rows, similarity), rows)
    return found, _recall(truth.rows, found.rows[probe, :cutoff])


def _build_index(factory: str, dimensions: int, similarity: str, total: int, memory: int) -> faiss.Index:
    import faiss

    try:
        index = faiss.index_factory(dimensions, factory, _metric(similarity))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"faiss cannot build {factory!r} for {dimensions} dimensions: {reason}") from error
    try:
        size = index.sa_code_size()
    except RuntimeError:  # an index without a codec of its own keeps the vectors as they are
        size = 4 * dimensions
    if total * (size + 8) > memory:
        raise ValueError(
            f"{factory!r} takes {total * (size + 8) / 1e9:.1f} GB for {total:,} vectors, more than the "
            f"{memory / 1e9:.1f} GB it may take. Choose a code with fewer bytes a vector, such as "
            f"'IVF4096,PQ{max(1, dimensions // 8)}', or give it more memory."
        )
    return index


def _centroids(index: faiss.Index) -> int:
    """The largest number of centroids that training the index will look for."""
    import faiss

    try:
        lists = int(faiss.extract_index_ivf(index).nlist)
    except RuntimeError:
        lists = 0
    return max(lists, 256)


def _read(shards: EmbeddingShards, number: int) -> Floats:
    vectors = shards.read(number)
    if vectors is None:
        raise ValueError(f"Shard {number} in {shards.folder} vanished or changed while it was in use.")
    return vectors


def _recall(truth: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> float:
    """Share of the true rows that were found; both of shape ``(queries, k)``."""
    query = np.arange(len(truth))[:, None]
    width = int(max(truth.max(initial=0), found.max(initial=0))) + 2
    return float(np.isin(truth + 1 + query * width, found + 1 + query * width).mean())


def _metric(similarity: str) -> int:
    import faiss

    return int(faiss.METRIC_L2 if similarity == "euclidean" else faiss.METRIC_INNER_PRODUCT)


def _top_rows(queries: Floats, vectors: Floats, k: int, similarity: str, first_row: int) -> TopRows:
    """The best of some vectors; both are as :func:`_ready` gives them."""
    import faiss

    distances, rows = faiss.knn(queries, vectors, k, metric=_metric(similarity))
    return TopRows(_scores(distances, rows, similarity), np.where(rows < 0, rows, rows + first_row))


def _ready(vectors: Floats, similarity: str, *, in_place: bool = False) -> Floats:
    """Vectors as faiss takes them: contiguous, and of length 1 for the cosine."""
    import faiss

    if similarity not in SIMILARITIES:
        raise ValueError(f"faiss cannot rank by {similarity!r}, only by {', '.join(SIMILARITIES)}.")
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if similarity == "cosine":
        vectors = vectors if in_place and vectors.flags.writeable else vectors.copy()
        faiss.normalize_L2(vectors)
    return vectors


def _scores(distances: Floats, rows: npt.NDArray[np.int64], similarity: str) -> Floats:
    """Similarities, larger is better, from what faiss returns."""
    scores = -np.sqrt(np.maximum(distances, 0)) if similarity == "euclidean" else distances
    return np.where(rows < 0, -np.inf, scores).astype(np.float32)


def _key(queries: Floats, shards: EmbeddingShards, similarity: str) -> str:
    digest = hashlib.sha256(f"{similarity} {shards.model} {shards.rows} {len(shards.corpus)}".encode())
    digest.update(np.ascontiguousarray(queries).data)
    return digest.hexdigest()


def _resume(
    empty: TopRows, queries: Floats, shards: EmbeddingShards, similarity: str, path: Path
) -> tuple[TopRows, list[str]]:
    """The best rows so far and the fingerprints of the shards that they cover, if all is as it was."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            best, digests = TopRows(saved["scores"], saved["rows"]), saved["digests"].tolist()
            same = str(saved["key"]) == _key(queries, shards, similarity) and best.rows.shape == empty.rows.shape
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return empty, []
    if not same or any(texts_fingerprint(shards.texts(i)) != digest for i, digest in enumerate(digests)):
        return empty, []
    return best, digests


def _save(
    best: TopRows, digests: list[str], queries: Floats, shards: EmbeddingShards, similarity: str, path: Path
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, scores=best.scores, rows=best.rows, digests=digests, key=_key(queries, shards, similarity))
    partial.replace(path)
