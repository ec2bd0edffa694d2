"""Fingerprints that tell whether stored embeddings belong to a model and to texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import torch


def model_fingerprint(module: torch.nn.Module, settings: Iterable[str] = ()) -> str:
    """Fingerprint of all that decides what a model makes of a text.

    Args:
        module: The model. Its weights, its structure as ``repr`` prints it, its tokenizer and the length to which that
            cuts texts count.
        settings: What else decides, such as the prompt.

    Returns:
        A SHA-256 sum in hexadecimal, the same on every machine, and whether or not the model has been used.
    """
    digest = hashlib.sha256(repr(module).encode())
    tokenizer = getattr(module, "tokenizer", None)
    if backend := getattr(tokenizer, "backend_tokenizer", None):
        described = json.loads(backend.to_str())
        # How it cut and padded the last batch: nothing before the first, so another model after it.
        for passing in ("truncation", "padding"):
            described.pop(passing, None)
        digest.update(json.dumps(described, sort_keys=True).encode())
    for name in ("truncation_side", "padding_side"):
        digest.update(f"\0{name} {getattr(tokenizer, name, None)}".encode())
    digest.update(f"\0max_seq_length {getattr(module, 'max_seq_length', None)}".encode())
    for setting in settings:
        digest.update(b"\0" + setting.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def texts_fingerprint(texts: pa.LargeStringArray) -> str:
    """Fingerprint of texts in their order: a SHA-256 sum in hexadecimal."""
    _, offsets, characters = texts.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    digest = hashlib.sha256(np.diff(bounds).tobytes())
    if characters is not None:
        digest.update(memoryview(characters)[bounds[0] : bounds[-1]])
    return digest.hexdigest()
