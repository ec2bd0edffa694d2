"""Encoders of mteb: their embeddings, the similarity that they rank by, and their fingerprint."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
import torch
from datasets import Dataset
from mteb import EncoderProtocol, SearchProtocol, SentenceTransformerEncoderWrapper, TaskMetadata
from mteb.models.abs_encoder import AbsEncoder
from mteb.types import PromptType
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.util import SimilarityFunction
from torch.utils.data import DataLoader

from st_hybrid.search.encoding import Floats
from st_hybrid.search.fingerprint import model_fingerprint

if TYPE_CHECKING:
    from typing_extensions import Unpack

# Arguments of encode that change its speed, not its result.
_SPEED = {"batch_size", "show_progress_bar", "num_workers", "chunk_size", "device", "pool"}
_PROBES = ["a", "The lighthouse stands on the cliff.", "Der Leuchtturm steht auf der Klippe.", "灯塔在悬崖上。" * 400]

Similarity = str | Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class TaskContext(TypedDict):
    """The keyword arguments with which mteb describes a task to a model."""

    task_metadata: TaskMetadata
    hf_split: str
    hf_subset: str
    encode_kwargs: Mapping[str, Any]


def wrap_model(
    model: SentenceTransformer, *, query_prompt: str | None = None, document_prompt: str | None = None
) -> SentenceTransformerEncoderWrapper:
    """Wrap a model as mteb does.

    Args:
        model: The model.
        query_prompt: Text put before each query; by default the model's own query prompt.
        document_prompt: Text put before each passage; by default the model's own document prompt.
    """
    given = {"query": query_prompt, "document": document_prompt}
    own = {name: prompt for name, prompt in model.prompts.items() if prompt is not None}
    prompts = {**own, **{role: prompt for role, prompt in given.items() if prompt is not None}}
    with warnings.catch_warnings():
        # mteb warns about prompts that are given, and calls a method of sentence-transformers by its old name.
        warnings.simplefilter("ignore")
        return SentenceTransformerEncoderWrapper(model, model_prompts=None if prompts == own else prompts)


def is_plain_encoder(model: Any) -> bool:
    """Whether a model gives dense embeddings and leaves the search to the task."""
    sparse = isinstance(getattr(model, "model", None), SparseEncoder)
    return isinstance(model, EncoderProtocol) and not isinstance(model, SearchProtocol) and not sparse


def encode_texts(
    model: EncoderProtocol, texts: Sequence[str], role: Literal["query", "document"], **context: Unpack[TaskContext]
) -> Floats:
    """Encode texts as mteb does for a task, with the model's own prompts and instructions, longest first.

    Args:
        model: The encoder. It may return an array, a tensor, or a list of vectors.
        texts: The texts; a passage's title and body joined already.
        role: Whether they are queries or documents.
        **context: The task.

    Returns:
        One vector per text, shape ``(texts, dimensions)``, float32.

    Raises:
        ValueError: The model does not return one vector per text.
    """
    order = np.argsort(-np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)), kind="stable")
    # mteb's embedding cache needs an id.
    dataset = Dataset.from_dict({"id": order.astype(str), "text": [texts[i] for i in order.tolist()]})
    vectors: Any = model.encode(
        DataLoader(dataset, batch_size=context["encode_kwargs"].get("batch_size", 32)),
        task_metadata=context["task_metadata"],
        hf_split=context["hf_split"],
        hf_subset=context["hf_subset"],
        prompt_type=PromptType(role),
        **context["encode_kwargs"],
    )
    if isinstance(vectors, list) and all(isinstance(vector, torch.Tensor) for vector in vectors):
        vectors = torch.stack(vectors)
    if isinstance(vectors, torch.Tensor):
        vectors = vectors.detach().float().cpu()
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise ValueError(f"The model gave embeddings of shape {vectors.shape} for {len(texts)} texts.")
    embeddings = np.empty_like(vectors)
    embeddings[order] = vectors
    return embeddings


def similarity_of(model: EncoderProtocol) -> Similarity:
    """The similarity by which mteb ranks a model's passages: the method ``similarity``, whatever the metadata say.

    Returns:
        Its name in sentence-transformers if it gives the same numbers, else the method.
    """
    similarity: Any = model.similarity
    first, second = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    try:
        scores = torch.as_tensor(similarity(first, second)).to(first)
    except Exception:  # it may refuse vectors of another length than the model's
        return similarity
    for name in ("cosine", "dot", "euclidean", "manhattan"):
        expected = SimilarityFunction.to_similarity_fn(name)(first, second)
        if scores.shape == expected.shape and torch.allclose(scores, expected, rtol=0, atol=1e-5):
            return name
    return similarity


def encoder_fingerprint(model: EncoderProtocol, **context: Unpack[TaskContext]) -> str:
    """Fingerprint of a model as it encodes the passages of a task.

    If torch weights are found inside the model, they count, with the prompts of passages; the name does not, since mteb
    asks the hub for it. Otherwise the name counts, and the embeddings of some texts to the last bit. So do arguments of
    ``encode`` that change more than its speed.
    """
    task = context["task_metadata"]
    options = {name: value for name, value in context["encode_kwargs"].items() if name not in _SPEED}
    settings: list[Any] = [options, task.name, task.type, task.prompt]
    if isinstance(model, AbsEncoder) and not isinstance(model, SentenceTransformerEncoderWrapper):
        instructed = getattr(model, "apply_instruction_to_passages", True)
        settings.append(model.get_task_instruction(task, PromptType.document) if instructed else "")
    part: Any = model
    while part is not None:
        default = getattr(part, "default_prompt_name", None)
        prompts = getattr(part, "prompts", None) or getattr(part, "model_prompts", None) or {}
        used = {name: prompt for name, prompt in prompts.items() if name == default or not name.endswith("query")}
        settings.append([default, used, getattr(part, "truncate_dim", None)])
        if isinstance(part, torch.nn.Module):
            return model_fingerprint(part, [json.dumps(settings, sort_keys=True, default=str)])
        part = getattr(part, "model", None) or getattr(part, "_model", None)
    context["encode_kwargs"] = {**context["encode_kwargs"], "show_progress_bar": False}
    vectors = encode_texts(model, _PROBES, "document", **context)
    meta = model.mteb_model_meta
    settings += [getattr(meta, "name", None), getattr(meta, "revision", None), vectors.tobytes().hex()]
    return model_fingerprint(torch.nn.Module(), [json.dumps(settings, sort_keys=True, default=str)])
