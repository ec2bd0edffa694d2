"""The type of an encoder of texts, and encoding of each distinct text once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Encode = Callable[[list[str]], Floats]


def encode_distinct(encode: Encode, texts: Sequence[str]) -> Floats:
    """Encode each distinct text once; returns a vector per text, in the order of ``texts``."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return encode(list(numbers))[[numbers[text] for text in texts]]
