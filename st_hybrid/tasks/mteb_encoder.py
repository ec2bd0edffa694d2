"""What a model that mteb can load makes of texts, and which model it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from mteb import EncoderProtocol, SearchProtocol, TaskMetadata
from mteb.types import PromptType
from sentence_transformers import SparseEncoder
from sentence_transformers.util import SimilarityFunction
from torch.utils.data import DataLoader

from st_hybrid.evaluation.scoring import Floats
from st_hybrid.methods.centering import Role
from st_hybrid.search.fingerprint import model_fingerprint

# These change how long encoding takes, not what comes out.
_IMMATERIAL = {"batch_size", "show_progress_bar", "num_workers", "chunk_size", "device", "pool"}

Similarity = str | Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def is_plain_encoder(model: Any) -> bool:
    """Whether a model gives dense embeddings and leaves the search to the task."""
    sparse = isinstance(getattr(model, "model", None), SparseEncoder)
    return isinstance(model, EncoderProtocol) and not isinstance(model, SearchProtocol) and not sparse


def encode_texts(
    model: EncoderProtocol,
    texts: Sequence[str],
    role: Role,
    *,
    task_metadata: TaskMetadata,
    hf_split: str,
    hf_subset: str,
    encode_kwargs: Mapping[str, Any],
) -> Floats:
    """Encode texts as mteb would for the task, with the model's own prompts and instructions, longest first.

    Args:
        model: The encoder.
        texts: The texts; a document's title and body joined already.
        role: Whether they are queries or documents.
        task_metadata: The task, by which models choose their prompt.
        hf_split: Split that the model is told.
        hf_subset: Subset that the model is told.
        encode_kwargs: For the model's ``encode``.

    Returns:
        One vector a text, shape ``(texts, dimensions)``.
    """
    order = np.argsort(-np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)), kind="stable")
    # mteb's embedding cache wants an id.
    dataset = Dataset.from_dict({"id": order.astype(str), "text": [texts[i] for i in order.tolist()]})
    vectors = model.encode(
        DataLoader(dataset, batch_size=encode_kwargs.get("batch_size", 32)),
        task_metadata=task_metadata,
        hf_split=hf_split,
        hf_subset=hf_subset,
        prompt_type=PromptType(role),
        **encode_kwargs,
    )
    if isinstance(vectors, torch.Tensor):
        vectors = vectors.detach().float().cpu().numpy()
    embeddings = np.empty(vectors.shape, dtype=np.float32)
    embeddings[order] = vectors
    return embeddings


def similarity_of(model: EncoderProtocol) -> Similarity:
    """The similarity that ranks a model's candidates: its name where sentence-transformers knows it, or a function."""
    name = model.mteb_model_meta.similarity_fn_name
    value = getattr(name, "value", name)
    return value if value in SimilarityFunction.possible_values() else model.similarity  # type: ignore[return-value]


def encoder_fingerprint(
    model: EncoderProtocol,
    *,
    task_metadata: TaskMetadata,
    hf_split: str,
    hf_subset: str,
    encode_kwargs: Mapping[str, Any],
) -> str:
    """Fingerprint of a model as it encodes the documents of a task.

    Where torch weights are found inside the model they count, with the prompts, and not the name: mteb names a model
    after the hub's answer, so it may have none on a machine without network. Otherwise what counts is the name and what
    the model makes of some texts, to the last bit. Settings of ``encode`` count too, unless they only bear on speed.
    """
    settings = {name: value for name, value in encode_kwargs.items() if name not in _IMMATERIAL}
    meta = model.mteb_model_meta
    described = [
        json.dumps(settings, sort_keys=True, default=str),
        json.dumps([task_metadata.name, task_metadata.type, task_metadata.prompt], default=str),
    ]
    inner: Any = model
    while not isinstance(inner, torch.nn.Module):
        described.append(json.dumps(getattr(inner, "model_prompts", None), sort_keys=True, default=str))
        inner = next((getattr(inner, name) for name in ("model", "_model") if hasattr(inner, name)), None)
        if inner is None:
            break
    if isinstance(inner, torch.nn.Module):
        described.append(json.dumps(getattr(inner, "prompts", None), sort_keys=True, default=str))
        return model_fingerprint(inner, described)
    probes = [
        "a",
        "The lighthouse stands on the cliff.",
        "Der Leuchtturm steht auf der Klippe.",
        "灯塔在悬崖上。" * 400,
    ]
    vectors = encode_texts(
        model,
        probes,
        "document",
        task_metadata=task_metadata,
        hf_split=hf_split,
        hf_subset=hf_subset,
        encode_kwargs={**encode_kwargs, "show_progress_bar": False},
    )
    return model_fingerprint(
        torch.nn.Module(), [*described, str(meta.name), str(meta.revision), vectors.tobytes().hex()]
    )
