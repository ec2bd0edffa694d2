"""Number equal values, and number the entries within a group, over whole arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def numbered(column: pa.Array | pa.ChunkedArray) -> tuple[Ints, pa.Array]:
    """Number the distinct values of a column in order of appearance.

    Args:
        column: The values, without nulls.

    Returns:
        The number of each row's value, shape ``(rows,)``, and the distinct values.
    """
    encoded: Any = column.dictionary_encode()  # before the chunks are combined: numbers are smaller than texts
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary


def place_in_group(groups: NDArray[Any]) -> Ints:
    """Count, for each entry, the earlier entries of the same group.

    Args:
        groups: The group of each entry, shape ``(n,)``.

    Returns:
        Places from 0, shape ``(n,)``.

    Example:
        ::

            import numpy as np
            from st_hybrid.grouping import place_in_group

            place_in_group(np.array([7, 5, 7, 7]))  # [0, 0, 1, 2]
    """
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    place = np.empty(len(groups), dtype=np.int64)
    place[order] = np.arange(len(groups)) - np.repeat(first, np.diff(first, append=len(groups)))
    return place


def counting(lengths: Ints) -> Ints:
    """``0 .. length - 1`` for each length, one after the other.

    Args:
        lengths: Shape ``(n,)``, not negative.

    Returns:
        Shape ``(lengths.sum(),)``.

    Example:
        ::

            import numpy as np
            from st_hybrid.grouping import counting

            counting(np.array([2, 3]))  # [0, 1, 0, 1, 2]
    """
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
