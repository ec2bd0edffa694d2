"""Encoders of mteb: their embeddings, the similarity that they rank by, and their fingerprint."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from mteb import EncoderProtocol, SearchProtocol, SentenceTransformerEncoderWrapper, TaskMetadata
from mteb.models.abs_encoder import AbsEncoder
from mteb.types import PromptType
from sentence_transformers import SparseEncoder
from sentence_transformers.util import SimilarityFunction
from torch.utils.data import DataLoader

from st_hybrid.encoders import Encoder, Floats, require_dense
from st_hybrid.search.fingerprint import model_fingerprint

# Arguments of encode that change its speed only.
_SPEED = {"batch_size", "show_progress_bar", "num_workers", "chunk_size", "device", "pool"}
_PROBES = ["a", "The lighthouse stands on the cliff.", "Der Leuchtturm steht auf der Klippe.", "灯塔在悬崖上。" * 400]


def wrap_model(
    model: Encoder, *, query_prompt: str | None = None, document_prompt: str | None = None
) -> SentenceTransformerEncoderWrapper:
    """Wrap a model as mteb does, with other prompts than its own where they are given."""
    dense = require_dense(model, "The search of MIRACL by faiss")
    given = {"query": query_prompt, "document": document_prompt}
    own, new = ({role: text for role, text in part.items() if text is not None} for part in (model.prompts, given))
    with warnings.catch_warnings():
        # mteb warns about prompts that are given, and calls a method of sentence-transformers by its old name.
        warnings.simplefilter("ignore")
        return SentenceTransformerEncoderWrapper(dense, model_prompts=None if own | new == own else own | new)


def is_plain_encoder(model: Any) -> bool:
    """Whether a model gives dense embeddings and leaves the search to the task."""
    sparse = isinstance(getattr(model, "model", None), SparseEncoder)
    return isinstance(model, EncoderProtocol) and not isinstance(model, SearchProtocol) and not sparse


def encode_texts(
    model: EncoderProtocol,
    texts: Sequence[str],
    role: Literal["query", "document"],
    *,
    encode_kwargs: Mapping[str, Any],
    **task: Any,
) -> Floats:
    """Encode texts as mteb does for a task, with the model's own prompts and instructions, longest first.

    Args:
        model: The encoder. It may return an array, a tensor, or a list of vectors.
        texts: The texts; a passage's title and body joined already.
        role: Whether they are queries or documents.
        encode_kwargs: Arguments for the model's ``encode``.
        **task: ``task_metadata``, ``hf_split`` and ``hf_subset``, as mteb passes them to a model.
    """
    order = np.argsort(-np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)), kind="stable")
    # mteb's embedding cache needs an id.
    dataset = Dataset.from_dict({"id": order.astype(str), "text": [texts[i] for i in order.tolist()]})
    loader = DataLoader(dataset, batch_size=encode_kwargs.get("batch_size", 32))
    vectors: Any = model.encode(loader, prompt_type=PromptType(role), **task, **encode_kwargs)
    if isinstance(vectors, list):
        vectors = torch.stack([torch.as_tensor(vector) for vector in vectors])
    embeddings: Floats = torch.as_tensor(vectors).detach().float().cpu().numpy()
    if embeddings.ndim != 2 or len(embeddings) != len(texts):
        raise ValueError(f"The model gave embeddings of shape {embeddings.shape} for {len(texts)} texts.")
    return embeddings[np.argsort(order)]


def similarity_of(model: EncoderProtocol) -> str | Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The similarity by which mteb ranks a model's passages: its method, or the name of one that gives the same."""
    similarity: Any = model.similarity
    first, second = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    with suppress(Exception):  # it may refuse vectors of another length than the model's
        scores = torch.as_tensor(similarity(first, second)).to(first)
        for name in ("cosine", "dot", "euclidean", "manhattan"):
            expected = SimilarityFunction.to_similarity_fn(name)(first, second)
            if scores.shape == expected.shape and torch.allclose(scores, expected, rtol=0, atol=1e-5):
                return name
    return similarity


def encoder_fingerprint(
    model: EncoderProtocol, *, task_metadata: TaskMetadata, encode_kwargs: Mapping[str, Any], **subset: str
) -> str:
    """Fingerprint of a model as it encodes the passages of a task; the arguments are those of :func:`encode_texts`.

    If the model holds torch weights, they count, with the prompts of passages; its name does not, since mteb asks the
    hub for it. Otherwise its name and the embeddings of some texts count. Arguments of ``encode`` count, but for speed.
    """
    options = {name: value for name, value in encode_kwargs.items() if name not in _SPEED}
    settings: list[Any] = [options, task_metadata.name, task_metadata.type, task_metadata.prompt]
    if isinstance(model, AbsEncoder) and not isinstance(model, SentenceTransformerEncoderWrapper):
        instructed = getattr(model, "apply_instruction_to_passages", True)
        settings.append(model.get_task_instruction(task_metadata, PromptType.document) if instructed else "")
    part: Any = model
    weights: torch.nn.Module | None = None
    while part is not None and weights is None:
        default = getattr(part, "default_prompt_name", None)
        prompts = getattr(part, "prompts", None) or getattr(part, "model_prompts", None) or {}
        used = {name: prompt for name, prompt in prompts.items() if name == default or not name.endswith("query")}
        settings.append([default, used, getattr(part, "truncate_dim", None)])
        weights = part if isinstance(part, torch.nn.Module) else None
        part = getattr(part, "model", None) or getattr(part, "_model", None)
    if weights is None:
        weights, meta = torch.nn.Module(), model.mteb_model_meta
        about: dict[str, Any] = {"task_metadata": task_metadata, "encode_kwargs": encode_kwargs, **subset}
        vectors = encode_texts(model, _PROBES, "document", **about)
        settings += [getattr(meta, "name", None), getattr(meta, "revision", None), vectors.tobytes().hex()]
    return model_fingerprint(weights, [json.dumps(settings, sort_keys=True, default=str)])
