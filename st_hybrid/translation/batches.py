"""Batches of texts of like length, sized by tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]


def token_batches(lengths: ArrayLike, max_tokens: int) -> list[Ints]:
    """Put texts into batches, the longest first, so that a batch that does not fit into memory fails at once.

    Args:
        lengths: Tokens of each text.
        max_tokens: Tokens of a batch at most, padding included: its texts times the longest one's length. A text
            that is longer alone makes a batch of its own.

    Returns:
        The places of each batch's texts in ``lengths``. Every text is in one batch; texts of the same length keep their
        order, so equal arguments give equal batches.

    Raises:
        ValueError: ``max_tokens`` is not positive.

    Example:
        ::

            [batch.tolist() for batch in token_batches([3, 9, 4, 3], 12)]  # [[1], [2, 0, 3]]
    """
    if max_tokens < 1:
        raise ValueError(f"A batch needs at least one token, got {max_tokens}.")
    tokens = np.maximum(np.asarray(lengths, dtype=np.int64), 1)
    order = np.argsort(-tokens, kind="stable")
    batches, start = [], 0
    while start < len(order):  # the first of a batch is its longest, and so says how many there is room for
        stop = start + max(1, max_tokens // int(tokens[order[start]]))
        batches.append(order[start:stop])
        start = stop
    return batches
