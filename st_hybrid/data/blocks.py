"""Text files, plain or compressed, in blocks of whole lines with line numbers."""

from __future__ import annotations

import io
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
"""Suffixes of compressed files that can be read."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Block(NamedTuple):
    """Whole lines of a file.

    Args:
        data: Their bytes.
        first: The number of the first line in its file, from 1.
    """

    data: bytes
    first: int

    def lines(self) -> pa.LargeBinaryArray:
        """The lines, without line breaks."""
        whole = pa.array([self.data.removesuffix(b"\n")], pa.large_binary())
        lines = pc.list_flatten(pc.split_pattern(whole, b"\n"))
        return pc.replace_substring_regex(lines, r"\r$", "") if b"\r" in self.data else lines


def plain_suffix(path: Path) -> str:
    """The suffix in lower case, without that of a compression: ``.tsv`` for ``rows.TSV.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def open_input(path: Path) -> Any:
    """Open a file as a stream of decompressed bytes."""
    return lzma.open(path) if path.suffix.lower() == ".xz" else pa.input_stream(str(path))


def read_blocks(path: Path, size: int = 1 << 24) -> Iterator[Block]:
    """Read a file in blocks of whole lines, without a byte order mark.

    Args:
        path: The file, plain or compressed.
        size: Bytes to read at once; a line may be longer.

    Yields:
        The blocks in order; none for an empty file.

    Raises:
        OSError: The file cannot be read or decompressed; the message names it.
    """
    first, rest = 1, [b""]  # the number of the next line, and the bytes read of it
    with open_input(path) as stream:
        while chunk := _read(stream, size, path):
            rest.append(chunk)
            if cut := chunk.rfind(b"\n") + 1:
                data = b"".join([*rest[:-1], memoryview(chunk)[:cut]])
                rest = [chunk[cut:]]
                yield Block(data.removeprefix(_BYTE_ORDER_MARK) if first == 1 else data, first)
                first += data.count(b"\n")
    data = b"".join(rest)
    if data := data.removeprefix(_BYTE_ORDER_MARK) if first == 1 else data:
        yield Block(data, first)


def read_text(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file as text, with their line breaks and numbers."""
    for block in read_blocks(path):
        try:
            yield from enumerate(io.StringIO(block.data.decode(), newline="\n"), block.first)
        except UnicodeDecodeError as error:
            line = block.data.rfind(b"\n", 0, error.start) + 1
            number = block.first + block.data.count(b"\n", 0, error.start)
            place = f"{error.reason} at byte {error.start - line + 1} of the line"
            raise ValueError(f"{path}:{number}: not UTF-8 ({place}). Convert the file.") from error


def utf8(column: pa.LargeBinaryArray, path: Path) -> pa.StringArray:
    """Bytes of a file as text.

    Raises:
        ValueError: They are not UTF-8; the message names the file and the line.
    """
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        for _ in read_text(path):  # raises an error that names the line
            pass
        raise


def _read(stream: Any, size: int, path: Path) -> bytes:
    try:
        return bytes(stream.read(size))
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise OSError(f"{path} cannot be read to its end: {error}. Download or compress it again.") from error
