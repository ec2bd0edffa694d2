"""Search of an mteb retrieval task whose corpus does not fit into memory."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset
from mteb import EncoderProtocol, SentenceTransformerEncoderWrapper, TaskMetadata
from mteb.models import ModelMeta

from st_hybrid.files import cache_folder
from st_hybrid.search.nearest import SIMILARITIES, TopRows, search_index, search_shards
from st_hybrid.search.shards import EmbeddingShards, Encode
from st_hybrid.tasks.mteb_encoder import encode_texts, encoder_fingerprint, is_plain_encoder, similarity_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

# More passages at once gain nothing: encoders take some hundred at a time, and faiss is as fast on fewer.
_MOST_ROWS = 1 << 18
_TEXT_BYTES = 6000


def wrap_model(
    model: SentenceTransformer, *, query_prompt: str | None = None, document_prompt: str | None = None
) -> SentenceTransformerEncoderWrapper:
    """Wrap a model as mteb does.

    Args:
        model: The model.
        query_prompt: Put before queries; by default the model's own query prompt.
        document_prompt: Put before passages; by default the model's own document prompt.
    """
    own = {name: prompt for name, prompt in model.prompts.items() if prompt is not None}
    prompts = dict(own)
    for role, prompt in (("query", query_prompt), ("document", document_prompt)):
        if prompt is not None:
            prompts[role] = prompt
    with warnings.catch_warnings():
        # mteb warns of prompts that are given, and calls a method of sentence-transformers by its old name.
        warnings.simplefilter("ignore")
        return SentenceTransformerEncoderWrapper(model, model_prompts=None if prompts == own else prompts)


class ShardedSearch:
    """An encoder that searches a corpus of any size in bounded memory, for any retrieval task of mteb.

    The corpus is encoded shard by shard, and each shard is ranked exactly by faiss before the next. Use it where mteb's
    own search is too slow or takes too much memory; the task MIRACL wraps plain encoders in it by itself.

    A run that was killed goes on at the last finished shard. Without ``embeddings_dir`` nothing but the best passages
    so far is kept, in the user's cache folder, and only until the run ends. With it every shard stays on disk as
    float16, for later runs of the same model on the same texts; scores may then differ in the fourth decimal from
    those of float32.

    Args:
        model: An encoder that mteb has loaded.
        embeddings_dir: Folder to keep embeddings in; one folder may serve many models and tasks.
        memory_gb: Memory that the search may take beside the model, in gigabytes; it bounds the size of shards.
        index_factory: Search approximately through the index of faiss that this string of ``faiss.index_factory``
            describes, such as ``"IVF4096,PQ48"``. By default the search is exact.
        index_parameters: Search parameters for the index, such as ``"nprobe=32"``.

    Attributes:
        index_recall: After an approximate search, the share of the true 100 best passages that it found, by subset.

    Raises:
        TypeError: If the model is not a plain encoder.
        ValueError: If ``memory_gb`` is not positive.

    Example:
        ::

            import mteb
            from st_hybrid.tasks import ShardedSearch

            model = mteb.get_model("intfloat/multilingual-e5-small")
            search = ShardedSearch(model, embeddings_dir="embeddings")
            mteb.evaluate(search, mteb.get_task("MIRACL", hf_subsets=["sw"]))
    """

    def __init__(
        self,
        model: EncoderProtocol,
        *,
        embeddings_dir: str | Path | None = None,
        memory_gb: float = 8.0,
        index_factory: str | None = None,
        index_parameters: str = "",
    ) -> None:
        if not is_plain_encoder(model):
            raise TypeError(f"ShardedSearch needs an encoder, not {type(model).__name__}, which searches by itself.")
        if memory_gb <= 0:
            raise ValueError(f"memory_gb must be positive, not {memory_gb}.")
        self.model = model
        self.embeddings_dir = None if embeddings_dir is None else Path(embeddings_dir)
        self.memory = int(memory_gb * 1e9)
        self.index_factory, self.index_parameters = index_factory, index_parameters
        self.index_recall: dict[str, float] = {}
        self._corpus: Dataset | None = None

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """The model's metadata; an approximate search is another experiment with the same model."""
        meta = self.model.mteb_model_meta
        if self.index_factory is None:
            return meta
        index = {"index_factory": self.index_factory, "index_parameters": self.index_parameters}
        return meta.model_copy(update={"experiment_kwargs": {**(meta.experiment_kwargs or {}), **index}})

    def index(self, corpus: Dataset, **_: Any) -> None:
        """Take the corpus; it is encoded when it is searched, since both go shard by shard."""
        self._corpus = corpus

    def search(
        self,
        queries: Dataset,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        encode_kwargs: Mapping[str, Any],
        top_ranked: Any = None,
        **_: Any,
    ) -> dict[str, dict[str, float]]:
        """Rank the corpus for each query.

        Returns:
            The scores of the ``top_k`` best documents, by query id and document id.

        Raises:
            ValueError: If there is no corpus, documents are ranked beforehand (reranking), or faiss has no such
                similarity or index.
        """
        if self._corpus is None:
            raise ValueError("Give the corpus to index() before search().")
        if top_ranked is not None:
            raise ValueError("ShardedSearch ranks a whole corpus; for reranking pass the encoder itself to mteb.")
        similarity = similarity_of(self.model)
        if similarity not in SIMILARITIES:
            raise ValueError(
                f"faiss cannot rank by the similarity of {self.mteb_model_meta.name}, "
                f"only by {', '.join(SIMILARITIES)}. Pass the encoder itself to mteb."
            )
        told: dict[str, Any] = {
            "task_metadata": task_metadata,
            "hf_split": hf_split,
            "hf_subset": hf_subset,
            "encode_kwargs": encode_kwargs,
        }
        texts = queries["text"][:]
        vectors = encode_texts(self.model, texts, "query", **told)
        shards, encode = self.shards(self._corpus, dimensions=vectors.shape[1], **told)
        found, recall = self._search(vectors, shards, encode, top_k, str(similarity), encode_kwargs)
        if recall is not None:
            self.index_recall[hf_subset] = recall
            logger.info("%s: %s finds %.4f of the true 100 best documents", hf_subset, self.index_factory, recall)
        return self._as_results(queries["id"][:], found)

    def shards(
        self,
        corpus: Dataset,
        *,
        dimensions: int,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Mapping[str, Any],
    ) -> tuple[EmbeddingShards, Encode]:
        """The shards of a corpus, and what encodes them.

        Args:
            corpus: The documents.
            dimensions: Length of the embeddings.
            task_metadata: The task.
            hf_split: Split of the task.
            hf_subset: Subset of the task.
            encode_kwargs: For the model's ``encode``.

        Raises:
            ValueError: If the memory is too small for shards of a useful size.
        """
        told: dict[str, Any] = {
            "task_metadata": task_metadata,
            "hf_split": hf_split,
            "hf_subset": hf_subset,
            "encode_kwargs": {**encode_kwargs, "show_progress_bar": False},
        }
        # While a shard is encoded its vectors exist as tensors, stacked, in the order of the corpus, and as float16.
        fitting = self.memory // 2 // (16 * dimensions + _TEXT_BYTES)
        if fitting < min(1000, len(corpus)):
            raise ValueError(
                f"{self.memory / 1e9:.2f} GB hold only {fitting} passages of {dimensions} dimensions at a time. "
                f"Give the search more memory."
            )
        rows = min(_MOST_ROWS, fitting, len(corpus))
        model = encoder_fingerprint(self.model, **told)
        folder = None
        if self.embeddings_dir is not None:
            key = hashlib.sha256(f"{model} {rows} {len(corpus)}".encode()).hexdigest()[:16]
            folder = self.embeddings_dir / task_metadata.name / f"{hf_subset}-{hf_split}-{key}"

        def encode(texts: list[str]) -> Any:
            return encode_texts(self.model, texts, "document", **told)

        return EmbeddingShards(folder, corpus, model, rows), encode

    def _search(
        self,
        queries: Any,
        shards: EmbeddingShards,
        encode: Encode,
        top_k: int,
        similarity: str,
        encode_kwargs: Mapping[str, Any],
    ) -> tuple[TopRows, float | None]:
        top_k = min(top_k, len(shards.corpus))
        show = bool(encode_kwargs.get("show_progress_bar", True))
        if self.index_factory is None:
            key = hashlib.sha256(f"{shards.model} {len(shards.corpus)} {top_k}".encode()).hexdigest()[:16]
            progress = None if shards.folder else cache_folder() / "search" / f"{key}.npz"
            return search_shards(
                queries, shards, encode, top_k, similarity=similarity, progress=progress, show_progress_bar=show
            ), None
        temporary = None
        if shards.folder is None:
            # An index is trained on a sample of all, then filled: two passes, so the embeddings must lie on disk.
            temporary = Path(tempfile.mkdtemp(prefix="st-hybrid-"))
            shards = EmbeddingShards(temporary, shards.corpus, shards.model, shards.rows)
        try:
            return search_index(
                queries,
                shards,
                encode,
                top_k,
                self.index_factory,
                parameters=self.index_parameters,
                similarity=similarity,
                memory=self.memory // 2,
                show_progress_bar=show,
            )
        finally:
            if temporary is not None:
                shutil.rmtree(temporary)

    def _as_results(self, query_ids: list[str], found: TopRows) -> dict[str, dict[str, float]]:
        assert self._corpus is not None
        rows, places = np.unique(found.rows, return_inverse=True)
        first = int(rows[0] < 0)
        ids = [""] * first + self._corpus.select_columns("id").with_format("arrow")[rows[first:]]["id"].to_pylist()
        names = np.asarray(ids, dtype=object)[places.reshape(found.rows.shape)]
        return {
            query: {name: score for name, score, row in zip(*columns, strict=True) if row >= 0}
            for query, *columns in zip(query_ids, names, found.scores.tolist(), found.rows, strict=True)
        }
