"""The encoders of sentence-transformers: dense, sparse and multi-vector models, loaded and used in one way."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array, vstack
from sentence_transformers import MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.util import import_from_string, load_file_path

from st_hybrid.dtypes import Dtype, require_dtype

Floats = npt.NDArray[np.float32]
Embeddings: TypeAlias = Floats | csr_array | list[Floats]
"""An array or a sparse array with a row per text, or for each text an array with a row per token."""
Encoder: TypeAlias = SentenceTransformer | SparseEncoder | MultiVectorEncoder

# Modules of this package that a saved model may name. Nothing else of such a model is trusted.
_OWN_MODULES = ("st_hybrid.methods.centering.LanguageCentering",)

_SPARSE_TEXTS = 1024  # at a time: torch takes gigabytes to stack more sparse vectors


def load_encoder(name: str | Path, *, dtype: Dtype | None = None, **options: Any) -> Encoder:
    """Load a model by the class that saved it; ``SentenceTransformer(name)`` would make a dense model of any.

    A model with a :class:`~st_hybrid.LanguageCentering` needs no ``trust_remote_code`` here.

    With a ``dtype``, the model's transformers compute in it under autocast. Weights, pooling and normalization stay in
    float32, so that vectors have length 1 as before. ``benchmarks/dtype.py`` measures the speed and the difference.

    Args:
        name: Folder or hub name.
        dtype: Type to compute in; by default that of the stored weights, usually float32.
        **options: Keyword arguments of the class, such as ``device``.

    Raises:
        TypeError: The model is of another class, such as ``CrossEncoder``.
        ValueError: The hardware does not have ``dtype``, or the model has no transformer.

    Example:
        ::

            from st_hybrid.encoders import load_encoder

            print(type(load_encoder("intfloat/multilingual-e5-small")).__name__)  # SentenceTransformer
    """

    def read(file: str) -> Any:
        path = load_file_path(str(name), file)
        return {} if path is None else json.loads(Path(path).read_text(encoding="utf-8"))

    kind = read("config_sentence_transformers.json").get("model_type", "SentenceTransformer")
    if kind == "ColBERT" or "HF_ColBERT" in (read("config.json").get("architectures") or ()):
        kind = "MultiVectorEncoder"  # saved by PyLate or by the authors of ColBERT
    classes = {one.__name__: one for one in get_args(Encoder)}
    if kind not in classes:
        raise TypeError(f"{name} is a {kind}, which gives no embeddings. Name a model of {', '.join(classes)}.")
    types = {part["type"] for part in read("modules.json") or ()}
    own = {path: import_from_string(path) for path in _OWN_MODULES if path in types}
    model: Encoder
    if own:
        # The public way is trust_remote_code=True, which would also trust any code in the model's folder.
        model = classes[kind]._load_with_module_classes(str(name), own, **options)
    else:
        model = classes[kind](str(name), **options)
    if dtype is not None:
        require_dtype(dtype, model.device.type)
        compute_in(model, dtype)
    return model


def dtype_of(model: Encoder) -> str:
    """The type that a model computes in, such as ``bfloat16``: that of :func:`load_encoder`, or of its weights."""
    weights = next(model.parameters(), torch.empty(0))
    return getattr(model, "computes_in", None) or str(weights.dtype).removeprefix("torch.")


def compute_in(model: Any, dtype: Dtype) -> None:
    """Let a model compute in a type as :func:`load_encoder` does, whether or not this machine has it."""
    if dtype_of(model) == dtype:  # the weights are stored in it
        return
    transformers = [module for module in model.modules() if isinstance(module, Transformer)]
    if not transformers:
        raise ValueError("dtype has no effect: the model has no transformer. Leave it out.")
    model.float()
    model.computes_in = dtype
    if dtype != "float32":
        for module in transformers:
            # A function of a module, not a method, so that the model can be pickled for other processes.
            module.forward = partial(_forward_in, getattr(torch, dtype), type(module).forward, module)


def _forward_in(
    dtype: torch.dtype, forward: Callable[..., dict[str, Any]], module: torch.nn.Module, *inputs: Any, **options: Any
) -> dict[str, Any]:
    with torch.autocast(next(module.parameters()).device.type, dtype):
        features = forward(module, *inputs, **options)
    return {
        name: part.float() if isinstance(part, torch.Tensor) and part.dtype == dtype else part
        for name, part in features.items()
    }


def require_dense(model: Encoder, purpose: str) -> SentenceTransformer:
    """The model itself; TypeError if it does not give one dense vector per text."""
    if isinstance(model, SparseEncoder | MultiVectorEncoder):
        kind = type(model).__name__
        raise TypeError(f"{purpose} needs one dense vector per text: a SentenceTransformer, not a {kind}.")
    return model


def require_finite(vectors: Floats, texts: Sequence[str], what: str = "text") -> None:
    """Raise what :func:`not_finite` makes if a vector, of shape ``(texts, dimensions)``, holds NaN or infinity."""
    if len(bad := np.flatnonzero(~np.isfinite(vectors).all(axis=1))):
        raise not_finite(bad, texts, what)


def not_finite(bad: npt.NDArray[np.intp], texts: Sequence[str], what: str) -> ValueError:
    """An error that shows the first of the texts, by their numbers, whose vectors cannot be ranked."""
    shown = "; ".join(f"{what} {number}, {shortened(texts[number])}" for number in bad[:3].tolist())
    shown += "; ..." if len(bad) > 3 else ""
    return ValueError(
        f"The vectors of {len(bad):,} of {len(texts):,} texts are not finite: {shown}. "
        "Check the model, let it compute in float32, or leave these texts out."
    )


def shortened(text: str) -> str:
    """A text in quotes, cut at 60 characters; what cannot be printed is escaped."""
    return repr(f"{text[:57]}..." if len(text) > 60 else text)


def encode(model: Encoder, texts: Sequence[str], role: Literal["query", "document"], **options: Any) -> Embeddings:
    """Encode texts by a model's ``encode_query`` or ``encode_document``, which take the options."""
    method: Any = getattr(model, f"encode_{role}", None)
    if method is None:
        raise TypeError(f"{type(model).__name__} gives no embeddings. Pass one of SentenceTransformer and its kin.")
    if isinstance(model, MultiVectorEncoder):
        vectors: list[Floats] = method(list(texts), convert_to_numpy=True, **options)
        return vectors
    if isinstance(model, SparseEncoder):
        parts = []
        for start in range(0, len(texts), _SPARSE_TEXTS):
            found = method(list(texts[start : start + _SPARSE_TEXTS]), save_to_cpu=True, **options).coalesce()
            parts.append(csr_array((found.values().numpy(), found.indices().numpy()), shape=tuple(found.shape)))
        return csr_array(vstack(parts))
    return np.asarray(method(list(texts), **options), dtype=np.float32)
