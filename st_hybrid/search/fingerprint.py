"""Fingerprints that show whether stored embeddings belong to a model and to texts."""

import hashlib
import json
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import torch


def model_fingerprint(module: torch.nn.Module, settings: Iterable[str] = ()) -> str:
    """Fingerprint of everything that decides which embedding a model gives a text.

    Its weights, its structure as ``repr`` prints it, its tokenizer, its maximum sequence length and the type that it
    computes in count, and the ``settings``, such as a prompt. The SHA-256 sum is the same on every machine, before and
    after the model is used.
    """
    digest = hashlib.sha256(repr(module).encode())
    tokenizer = getattr(module, "tokenizer", None)
    if backend := getattr(tokenizer, "backend_tokenizer", None):
        # Truncation and padding are the settings for the last batch: absent before the first one.
        described = {**json.loads(backend.to_str()), "truncation": None, "padding": None}
        digest.update(json.dumps(described, sort_keys=True).encode())
    sides = [f"{name} {getattr(tokenizer, name, None)}" for name in ("truncation_side", "padding_side")]
    own = [f"{name} {getattr(module, name, None)}" for name in ("max_seq_length", "computes_in")]
    for setting in (*sides, *own, *settings):
        digest.update(b"\0" + setting.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def texts_fingerprint(texts: pa.LargeStringArray) -> str:
    """Fingerprint of texts in their order: a SHA-256 sum, 64 hexadecimal digits."""
    _, offsets, characters = texts.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    digest = hashlib.sha256(np.diff(bounds).tobytes())
    if characters is not None:
        digest.update(memoryview(characters)[bounds[0] : bounds[-1]])
    return digest.hexdigest()
