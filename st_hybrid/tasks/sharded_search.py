"""Search for an mteb retrieval task whose corpus does not fit into memory."""

import hashlib
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from mteb import EncoderProtocol
from mteb.models import ModelMeta

from st_hybrid.files import cache_folder, temporary_folder
from st_hybrid.search.nearest import SIMILARITIES, search_index, search_shards
from st_hybrid.search.shards import EmbeddingShards
from st_hybrid.tasks.mteb_encoder import encode_texts, encoder_fingerprint, is_plain_encoder, similarity_of

# Larger shards gain nothing: encoders take some hundred passages at a time, and faiss is as fast on fewer.
_MOST_ROWS = 1 << 18
_TEXT_BYTES = 6000


class ShardedSearch:
    """An encoder that searches a corpus of any size in bounded memory, for any retrieval task of mteb.

    It encodes the corpus shard by shard, and faiss ranks each shard exactly before the next one is encoded. The task
    MIRACL wraps plain encoders in it. A killed run continues at the last finished shard: from the best passages so far,
    in the user's cache folder, or from ``embeddings_dir``, where every shard stays as float16 for later runs of the
    same model on the same texts. Scores may then differ from those of float32 in the fourth decimal.

    Args:
        model: An encoder that mteb has loaded.
        embeddings_dir: Folder for embeddings; one folder may serve many models and tasks.
        memory_gb: Memory that the search may take besides the model, in gigabytes; it bounds the size of shards.
        index_factory: Search approximately through the index of faiss that this ``faiss.index_factory`` string
            describes, such as ``"IVF4096,PQ48"``. By default the search is exact.
        index_parameters: Search parameters of the index, such as ``"nprobe=32"``.

    Attributes:
        index_recall: After an approximate search, the share of the true 100 best passages that it found, by subset.

    Raises:
        TypeError: The model is not a dense encoder, or has a search of its own.
        ValueError: faiss does not have the model's similarity, or an argument is out of range or without effect.

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
        index_parameters: str | None = None,
    ) -> None:
        if not is_plain_encoder(model):
            raise TypeError(f"ShardedSearch needs a dense encoder without its own search, not {type(model).__name__}.")
        similarity = similarity_of(model)
        if not isinstance(similarity, str) or similarity not in SIMILARITIES:
            known = ", ".join(SIMILARITIES)
            raise ValueError(f"faiss ranks by {known}, not by {similarity!r}. Search with mteb's SearchEncoderWrapper.")
        if memory_gb <= 0:
            raise ValueError(f"memory_gb must be positive, not {memory_gb}.")
        if index_parameters and index_factory is None:
            raise ValueError(f"index_parameters={index_parameters!r} has no effect without index_factory.")
        self.model, self.similarity = model, similarity
        self.embeddings_dir = None if embeddings_dir is None else Path(embeddings_dir)
        self.memory = int(memory_gb * 1e9)
        self.index_factory, self.index_parameters = index_factory, index_parameters
        self.index_recall: dict[str, float] = {}
        self._corpus: Dataset | None = None

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """Metadata of the model, empty if it has none; an approximate search is another experiment with it."""
        meta = self.model.mteb_model_meta or ModelMeta.create_empty()
        index = {"index_factory": self.index_factory, "index_parameters": self.index_parameters}
        experiment = {**(meta.experiment_kwargs or {}), **(index if self.index_factory else {})}
        return meta.model_copy(update={"experiment_kwargs": experiment or None})

    def index(self, corpus: Dataset, **_: Any) -> None:
        """Take the corpus; the search encodes it, shard by shard."""
        self._corpus = corpus

    def search(
        self, queries: Dataset, *, top_k: int, top_ranked: Any = None, num_proc: int | None = None, **context: Any
    ) -> dict[str, dict[str, float]]:
        """Rank the corpus for each query, as mteb's tasks ask for it (``mteb.SearchProtocol``).

        Returns:
            The scores of the ``top_k`` best passages, by query id and passage id.

        Raises:
            ValueError: There is no corpus, passages are ranked beforehand (reranking), or faiss has no such index.
        """
        if self._corpus is None:
            raise ValueError("Give the corpus to index() before search().")
        if top_ranked is not None:
            raise ValueError("ShardedSearch ranks a whole corpus; for reranking pass the encoder itself to mteb.")
        vectors = encode_texts(self.model, queries["text"][:], "query", **context)
        shards = self.shards(self._corpus, dimensions=vectors.shape[1], **context)
        top_k = min(top_k, len(self._corpus))
        show = bool(context["encode_kwargs"].get("show_progress_bar", True))
        options: dict[str, Any] = {"similarity": self.similarity, "show_progress_bar": show}
        if self.index_factory is None:
            key = hashlib.sha256(f"{shards.model} {len(shards.corpus)} {top_k}".encode()).hexdigest()[:16]
            resume_file = None if shards.folder else cache_folder() / "search" / f"{key}.safetensors"
            found = search_shards(vectors, shards, top_k, resume_file=resume_file, **options)
        else:
            # An index is trained on a sample and then filled: two passes, so the embeddings must be on disk.
            with tempfile.TemporaryDirectory(dir=temporary_folder()) as temporary:
                shards = replace(shards, folder=shards.folder or Path(temporary))
                options |= {"parameters": self.index_parameters, "memory": self.memory // 2}
                found, recall = search_index(vectors, shards, top_k, self.index_factory, **options)
            self.index_recall[context["hf_subset"]] = recall
        rows, places = np.unique(np.maximum(found.rows, 0), return_inverse=True)
        ids = self._corpus.select_columns("id").with_format("arrow")[rows]["id"].to_pylist()
        names = np.asarray(ids, dtype=object)[places.reshape(found.rows.shape)]
        return {
            query: {name: score for name, score, row in zip(*columns, strict=True) if row >= 0}
            for query, *columns in zip(queries["id"][:], names, found.scores.tolist(), found.rows, strict=True)
        }

    def shards(self, corpus: Dataset, *, dimensions: int, **context: Any) -> EmbeddingShards:
        """The shards of a corpus; ``context`` is that of :meth:`search`.

        Raises:
            ValueError: The memory is too small for shards of a useful size.
        """
        context["encode_kwargs"] = {**context["encode_kwargs"], "show_progress_bar": False}
        # While a shard is encoded its vectors exist as tensors, stacked, in the order of the corpus, and as float16.
        fitting = self.memory // 2 // (16 * dimensions + _TEXT_BYTES)
        if fitting < min(1000, len(corpus)):
            held = f"{self.memory / 1e9:.2f} GB hold only {fitting} passages of {dimensions} dimensions at a time"
            raise ValueError(f"{held}. Give the search more memory.")
        rows = min(_MOST_ROWS, fitting, len(corpus))
        model = encoder_fingerprint(self.model, **context)
        folder = None
        if self.embeddings_dir is not None:
            key = hashlib.sha256(f"{model} {rows} {len(corpus)}".encode()).hexdigest()[:16]
            name = f"{context['hf_subset']}-{context['hf_split']}-{key}"
            folder = self.embeddings_dir / context["task_metadata"].name / name
        encode = partial(encode_texts, self.model, role="document", **context)
        return EmbeddingShards(corpus, encode, model, rows, folder)
