"""Text files in blocks of whole lines, plain or compressed, with line numbers."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm.auto import tqdm

Ints = NDArray[np.int64]

COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
"""Suffixes of compressed files that can be read."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NEWLINE, _RETURN, _TAB = 10, 13, 9


class Block(NamedTuple):
    """Whole lines of a file.

    Args:
        data: Their bytes.
        first: The number of the first line in its file, from 1.
        lines: How many lines there are.
    """

    data: bytes
    first: int
    lines: int

    def bounds(self) -> tuple[Ints, Ints]:
        """Start and end of each line in ``data``, without its line break: two arrays of one entry a line."""
        data = np.frombuffer(self.data, dtype=np.uint8)
        ends = np.flatnonzero(data == _NEWLINE)
        if len(data) and data[-1] != _NEWLINE:  # the file's last line
            ends = np.append(ends, len(data))
        starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
        return starts, ends - ((ends > starts) & (data[np.maximum(ends, 1) - 1] == _RETURN))

    def first_tabs(self, starts: Ints, ends: Ints) -> Ints:
        """Where the first tab of each line is, or -1 for a line without one."""
        tabs = np.append(np.flatnonzero(np.frombuffer(self.data, dtype=np.uint8) == _TAB), len(self.data))
        first = tabs[np.searchsorted(tabs, starts)]
        return np.where(first < ends, first, -1)

    def texts(self, starts: Ints, ends: Ints) -> pa.StringArray:
        """The text between the given places, which do not overlap and are in order.

        Raises:
            UnicodeDecodeError: A text is not UTF-8.
        """
        if not len(starts):
            return pa.array([], pa.string())
        # Wanted and other spans in turn, as one array over the block itself: only what is wanted gets copied.
        offsets = np.stack([starts, ends], axis=1).ravel().astype(np.int32)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self.data)]
        spans = pa.StringArray.from_buffers(len(offsets) - 1, *buffers[1:])
        wanted = spans.take(pa.array(np.arange(0, len(offsets), 2)))
        try:
            wanted.validate(full=True)
        except pa.ArrowInvalid:
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                self.data[start:end].decode()
            raise
        return wanted

    def integers(self, starts: Ints, ends: Ints) -> Ints:
        """The whole numbers of up to 18 digits between the given places; -1 where something else stands there."""
        data = np.frombuffer(self.data, dtype=np.uint8)
        length = ends - starts
        valid = (length > 0) & (length <= 18)
        value = np.zeros(len(starts), dtype=np.int64)
        for place in range(int(length[valid].max(initial=0))):
            within = valid & (place < length)
            digit = data[np.where(within, starts + place, 0)].astype(np.int64) - ord("0")
            valid &= ~within | ((digit >= 0) & (digit <= 9))
            value = np.where(within, value * 10 + digit, value)
        return np.where(valid, value, -1)


def plain_suffix(path: Path) -> str:
    """The suffix of a file once a compression's is taken off, in lower case: ``.tsv`` for ``rows.TSV.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def open_input(path: Path) -> Any:
    """A stream of a file's bytes, decompressed."""
    return lzma.open(path) if path.suffix.lower() == ".xz" else pa.input_stream(str(path))


def read_blocks(path: Path, size: int = 1 << 24, *, progress: bool = False) -> Iterator[Block]:
    """Read a file in blocks of whole lines.

    Args:
        path: The file, plain or compressed.
        size: Bytes to read at once; a line may be longer.
        progress: Show how much of the file is read.

    Yields:
        The blocks in order. A file without lines gives none.

    Raises:
        OSError: The file cannot be read or decompressed; the message names it.
    """
    first, rest = 1, [b""]  # the number of the next line, and what has come of it
    compressed = path.suffix.lower() in COMPRESSIONS
    total = None if compressed else path.stat().st_size
    with (
        open_input(path) as stream,
        tqdm(desc=path.name, total=total, unit="B", unit_scale=True, disable=None if progress else True) as bar,
    ):
        while chunk := _read(stream, size, path):
            bar.update(len(chunk))
            if first == 1 and not any(rest):
                chunk = chunk.removeprefix(_BYTE_ORDER_MARK)
            cut = chunk.rfind(b"\n") + 1
            if not cut:
                rest.append(chunk)
                continue
            data = b"".join([*rest, memoryview(chunk)[:cut]])
            rest = [chunk[cut:]]
            block = Block(data, first, data.count(b"\n"))
            yield block
            first += block.lines
        if data := b"".join(rest):
            yield Block(data, first, 1)


def check_utf8(path: Path) -> None:
    """Find the line that is not UTF-8; slow, and meant for when there is one.

    Raises:
        ValueError: There is one; the message names it.
    """
    for block in read_blocks(path):
        for number, line in enumerate(block.data.split(b"\n"), block.first):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                place = f"{error.reason} at byte {error.start + 1} of the line"
                raise ValueError(f"{path}:{number}: not UTF-8 ({place}). Convert the file.") from error


def _read(stream: Any, size: int, path: Path) -> bytes:
    try:
        return bytes(stream.read(size))
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise OSError(f"{path} cannot be read to its end: {error}. Fetch or compress it again.") from error
