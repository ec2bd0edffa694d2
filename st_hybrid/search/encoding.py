"""Encoding of each distinct text once."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from st_hybrid.encoders import Embeddings, Floats

Encode = Callable[[list[str]], Floats]
Some = TypeVar("Some", bound=Embeddings)


def take(embeddings: Some, rows: npt.NDArray[np.integer]) -> Some:
    """Some rows of embeddings of any kind."""
    return [embeddings[row] for row in rows] if isinstance(embeddings, list) else embeddings[rows]  # type: ignore[return-value]


def encode_distinct(encode: Callable[[list[str]], Some], texts: Sequence[str]) -> Some:
    """Encode each distinct text once; returns its embedding for each text, in the order of ``texts``."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return take(encode(list(numbers)), np.array([numbers[text] for text in texts]))
