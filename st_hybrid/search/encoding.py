"""The type of an encoder of texts, and encoding of each distinct text once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Encode = Callable[[list[str]], Floats]


def encode_distinct(encode: Encode, texts: Sequence[str]) -> Floats:
    """Encode each distinct text once.

    Args:
        encode: Returns one vector per text, shape ``(texts, dimensions)``, float32.
        texts: The texts; they may repeat.

    Returns:
        One vector per text, in the order of ``texts``, shape ``(texts, dimensions)``, float32.

    Example:
        ::

            import numpy as np
            from st_hybrid.search.encoding import encode_distinct

            vectors = encode_distinct(lambda texts: np.array([[len(text)] for text in texts]), ["Yes.", "No.", "Yes."])
            print(vectors.ravel())  # [4 3 4]
    """
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return encode(list(numbers))[[numbers[text] for text in texts]]
