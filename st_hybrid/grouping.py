"""Number equal values, and number the entries within a group, over whole arrays."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def numbered(column: pa.Array | pa.ChunkedArray) -> tuple[Ints, pa.Array]:
    """The number of each row's value in order of appearance, and the distinct values of a column without nulls."""
    encoded: Any = column.dictionary_encode()  # before the chunks are combined: numbers are smaller than texts
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary


def place_in_group(groups: NDArray[Any]) -> Ints:
    """Count the earlier entries of each entry's group: ``[7, 5, 7, 7]`` gives ``[0, 0, 1, 2]``."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    place = np.empty(len(groups), dtype=np.int64)
    place[order] = np.arange(len(groups)) - np.repeat(first, np.diff(first, append=len(groups)))
    return place


def counting(lengths: Ints) -> Ints:
    """Count from 0 to ``length - 1`` for one length after the other: ``[2, 3]`` gives ``[0, 1, 0, 1, 2]``."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
