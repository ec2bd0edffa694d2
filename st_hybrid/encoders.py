"""The encoders of sentence-transformers: dense, sparse and multi-vector models, loaded and used in one way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, vstack
from sentence_transformers import MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.util import import_from_string, load_file_path

Floats = npt.NDArray[np.float32]
Embeddings: TypeAlias = Floats | csr_array | list[Floats]
"""An array or a sparse array with a row per text, or for each text an array with a row per token."""
Encoder: TypeAlias = SentenceTransformer | SparseEncoder | MultiVectorEncoder

# Modules of this package that a saved model may name. Nothing else of such a model is trusted.
_OWN_MODULES = ("st_hybrid.methods.centering.LanguageCentering",)

_SPARSE_TEXTS = 1024  # at a time: torch takes gigabytes to stack more sparse vectors


def load_encoder(name: str | Path, **options: Any) -> Encoder:
    """Load a model by the class that saved it; ``SentenceTransformer(name)`` would make a dense model of any.

    A model with a :class:`~st_hybrid.LanguageCentering` needs no ``trust_remote_code`` here.

    Args:
        name: Folder or hub name.
        **options: Keyword arguments of the class, such as ``device``.

    Raises:
        TypeError: The model is of another class, such as ``CrossEncoder``.

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
    if own:
        # The public way is trust_remote_code=True, which would also trust any code in the model's folder.
        return classes[kind]._load_with_module_classes(str(name), own, **options)
    model: Encoder = classes[kind](str(name), **options)
    return model


def require_dense(model: Encoder, purpose: str) -> SentenceTransformer:
    """The model itself; TypeError if it does not give one dense vector per text."""
    if isinstance(model, SparseEncoder | MultiVectorEncoder):
        kind = type(model).__name__
        raise TypeError(f"{purpose} needs one dense vector per text: a SentenceTransformer, not a {kind}.")
    return model


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
    dense: Floats = method(list(texts), **options)
    return dense
