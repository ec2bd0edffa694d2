"""Search in a corpus of any size: exact, shard by shard, or through an index of faiss."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from st_hybrid.encoders import Floats
from st_hybrid.files import replacing
from st_hybrid.progress import progress_bar
from st_hybrid.search.fingerprint import texts_fingerprint
from st_hybrid.search.shards import EmbeddingShards

SIMILARITIES = {"cosine": faiss.METRIC_INNER_PRODUCT, "dot": faiss.METRIC_INNER_PRODUCT, "euclidean": faiss.METRIC_L2}
_RECALL_QUERIES, _RECALL_CUTOFF = 256, 100


@dataclass(frozen=True)
class TopRows:
    """The best rows of a corpus for each query, best first."""

    scores: Floats  #: Similarity to the query: ``(queries, k)``, minus infinity where the corpus has fewer rows.
    rows: npt.NDArray[np.int64]  #: Row numbers: ``(queries, k)``, -1 where the corpus has fewer.

    @classmethod
    def none(cls, queries: int, k: int) -> "TopRows":
        """The best rows of an empty corpus."""
        return cls(np.full((queries, k), -np.inf, dtype=np.float32), np.full((queries, k), -1, dtype=np.int64))

    def merge(self, other: "TopRows") -> "TopRows":
        """The best rows of two parts of a corpus together; of tied rows, those of this part come first."""
        scores, rows = faiss.merge_knn_results(
            np.stack([self.scores, other.scores]), np.stack([self.rows, other.rows]), keep_max=True
        )
        return TopRows(np.where(rows < 0, -np.inf, scores).astype(np.float32), rows)


def top_rows(
    queries: Floats,
    vectors: Floats,
    k: int,
    similarity: str = "cosine",
    first_row: int = 0,
    *,
    overwrite_vectors: bool = False,
) -> TopRows:
    """The best of some vectors for each query, by brute force.

    The similarity is one of :data:`SIMILARITIES`, for ``"euclidean"`` minus the distance. Rows are counted from
    ``first_row``. ``overwrite_vectors`` allows scaling the vectors in place, which saves the memory of a copy.
    """
    vectors, metric = _scaled(vectors, similarity, overwrite=overwrite_vectors), _metric(similarity)
    distances, rows = faiss.knn(_scaled(queries, similarity), vectors, k, metric=metric)
    return _ranked(distances, np.where(rows < 0, rows, rows + first_row), similarity)


def search_shards(
    queries: Floats,
    shards: EmbeddingShards,
    k: int,
    *,
    similarity: str = "cosine",
    resume_file: Path | None = None,
    show_progress_bar: bool = True,
) -> TopRows:
    """The best rows of a whole corpus for each query, by brute force, with one shard in memory at a time.

    A killed run continues at the last finished shard, to the same result: from the shards' own files if they are kept,
    else from ``resume_file``, which holds the best rows so far and is removed in the end.
    """
    best, done = TopRows.none(len(queries), k), list[str]()
    settings = f"{similarity} {k} {shards.model} {shards.rows} {len(shards.corpus)}"
    search = hashlib.sha256(settings.encode() + np.ascontiguousarray(queries).tobytes()).hexdigest()
    if resume_file is not None:
        if shards.folder is not None:
            raise ValueError(f"resume_file has no effect: the shards are kept in {shards.folder}. Leave it out.")
        best, done = _resume(best, resume_file, search, shards)
    with progress_bar(len(shards), "Searching", show=show_progress_bar, unit="shards", done=len(done)) as advance:
        for number in range(len(done), len(shards)):
            start, _ = shards.bounds(number)
            best = best.merge(top_rows(queries, shards.load(number), k, similarity, start, overwrite_vectors=True))
            if resume_file is not None:
                done.append(texts_fingerprint(shards.texts(number)))
                with replacing(resume_file) as temporary:
                    state = {"search": search, "shards": " ".join(done)}
                    save_file({"scores": best.scores, "rows": best.rows}, temporary, metadata=state)
            advance(1)
    if resume_file is not None:
        resume_file.unlink(missing_ok=True)
    return best


def search_index(
    queries: Floats,
    shards: EmbeddingShards,
    k: int,
    factory: str,
    *,
    parameters: str | None = None,
    similarity: str = "cosine",
    memory: int,
    show_progress_bar: bool = True,
) -> tuple[TopRows, float]:
    """Search approximately through an index of faiss; returns the best rows and the recall of the index.

    The recall is the share of the true 100 best rows among the first 100 of the index, over 256 random queries.

    Args:
        queries: Query embeddings, shape ``(queries, dimensions)``.
        shards: The corpus, with a folder: the index is trained on a sample of all shards, then filled.
        k: Rows per query.
        factory: Description of the index for ``faiss.index_factory``, such as ``"IVF4096,PQ48"``.
        parameters: Search parameters for ``faiss.ParameterSpace``, such as ``"nprobe=32"``.
        similarity: One of :data:`SIMILARITIES`.
        memory: Bytes that the index and its training sample may take.
        show_progress_bar: Show the progress over the shards.
    """
    total, dimensions = len(shards.corpus), queries.shape[1]
    index = _build_index(factory, parameters, dimensions, similarity, total, memory)
    random = np.random.default_rng(0)
    cutoff = min(k, _RECALL_CUTOFF, total)
    probe = np.sort(random.choice(len(queries), size=min(_RECALL_QUERIES, len(queries)), replace=False))
    truth = TopRows.none(len(probe), cutoff)
    passes = 1 if index.is_trained else 2
    with progress_bar(passes * len(shards), "Indexing", show=show_progress_bar, unit="shards") as advance:
        if not index.is_trained:  # faiss itself drops what exceeds 256 rows per centroid
            chosen = np.sort(random.choice(total, size=min(total, memory // (8 * dimensions)), replace=False))
            sample = np.empty((len(chosen), dimensions), dtype=np.float32)
            for number in range(len(shards)):
                start, stop = shards.bounds(number)
                low, high = np.searchsorted(chosen, [start, stop])
                sample[low:high] = shards.load(number)[chosen[low:high] - start]
                advance(1)
            index.train(_scaled(sample, similarity, overwrite=True))
            del sample
        for number in range(len(shards)):
            vectors, (start, _) = _scaled(shards.load(number), similarity, overwrite=True), shards.bounds(number)
            index.add(vectors)
            truth = truth.merge(top_rows(queries[probe], vectors, cutoff, similarity, start, overwrite_vectors=True))
            advance(1)
    found = _ranked(*index.search(_scaled(queries, similarity), k), similarity)
    hits = [np.isin(true, rows) for true, rows in zip(truth.rows, found.rows[probe, :cutoff], strict=True)]
    return found, float(np.mean(hits))


def _build_index(
    factory: str, parameters: str | None, dimensions: int, similarity: str, total: int, memory: int
) -> faiss.Index:
    """An empty index; the errors of faiss become one line."""
    try:
        index = faiss.index_factory(dimensions, factory, _metric(similarity))
        if parameters:
            faiss.ParameterSpace().set_index_parameters(index, parameters)  # type: ignore[arg-type]
    except RuntimeError as error:
        options = f" with the search parameters {parameters!r}" if parameters else ""
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"faiss cannot build {factory!r}{options} for {dimensions} dimensions: {reason}") from error
    try:
        size = total * (index.sa_code_size() + 8)
    except RuntimeError:  # an index without a codec keeps the vectors as they are
        size = total * (4 * dimensions + 8)
    if size > memory:
        raise ValueError(
            f"{factory!r} takes {size / 1e9:.1f} GB for {total:,} vectors, more than the {memory / 1e9:.1f} GB it may "
            f"take. Choose a code with fewer bytes per vector, such as 'IVF4096,PQ{max(1, dimensions // 8)}', or allow "
            "more memory."
        )
    return index


def _metric(similarity: str) -> int:
    if similarity not in SIMILARITIES:
        raise ValueError(f"faiss cannot rank by {similarity!r}, only by {', '.join(SIMILARITIES)}.")
    return int(SIMILARITIES[similarity])


def _scaled(vectors: Floats, similarity: str, *, overwrite: bool = False) -> Floats:
    """Vectors as faiss takes them: contiguous, and of length 1 for the cosine."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if similarity == "cosine":
        vectors = vectors if overwrite and vectors.flags.writeable else vectors.copy()
        faiss.normalize_L2(vectors)
    return vectors


def _ranked(distances: Floats, rows: npt.NDArray[np.int64], similarity: str) -> TopRows:
    """What faiss returns, with similarities of which larger is better."""
    scores = -np.sqrt(np.maximum(distances, 0)) if similarity == "euclidean" else distances
    return TopRows(np.where(rows < 0, -np.inf, scores).astype(np.float32), rows)


def _resume(empty: TopRows, path: Path, search: str, shards: EmbeddingShards) -> tuple[TopRows, list[str]]:
    """The best rows and the fingerprints of the ranked shards that an earlier run of the same search left."""
    try:
        with safe_open(path, framework="numpy") as file:
            state = file.metadata() or {}
            best = TopRows(file.get_tensor("scores"), file.get_tensor("rows"))
    except (SafetensorError, OSError):
        return empty, []
    done = state.get("shards", "").split()
    same = state.get("search") == search and done == [texts_fingerprint(shards.texts(i)) for i in range(len(done))]
    return (best, done) if same else (empty, [])
