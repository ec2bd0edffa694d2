"""Text files, plain or compressed, in blocks of whole lines."""

import io
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
"""Suffixes of compressed files that can be read."""


class Block(NamedTuple):
    """Whole lines of a file: their bytes, which are UTF-8, and the number of the first in the file, from 1."""

    data: bytes
    first: int

    def lines(self) -> pa.LargeStringArray:
        """The lines, without line breaks."""
        whole = pa.array([self.data.removesuffix(b"\n")], pa.large_string())
        lines = pc.list_flatten(pc.split_pattern(whole, "\n"))
        return pc.replace_substring_regex(lines, r"\r$", "") if b"\r" in self.data else lines

    def numbered_lines(self) -> Iterator[tuple[int, str]]:
        """The number and the text of each line, with its line break."""
        return enumerate(io.StringIO(self.data.decode(), newline="\n"), self.first)


def plain_suffix(path: Path) -> str:
    """The suffix in lower case, without that of a compression: ``.tsv`` for ``rows.TSV.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in COMPRESSIONS]
    return suffixes[-1] if suffixes else ""


def open_input(path: Path) -> Any:
    """Open a file as a stream of decompressed bytes."""
    return lzma.open(path) if path.suffix.lower() == ".xz" else pa.input_stream(str(path))


def read_blocks(path: Path, size: int = 1 << 24) -> Iterator[Block]:
    """Read a file, plain or compressed, in blocks of about ``size`` bytes, without a byte order mark.

    Raises:
        OSError: The file cannot be read or decompressed.
        ValueError: The file is not UTF-8; the message names the line.
    """
    first, rest = 1, [b""]  # the number of the next line, and the bytes read of it
    with open_input(path) as stream:
        while chunk := _read(stream, size, path):
            rest.append(chunk)
            if cut := chunk.rfind(b"\n") + 1:
                block = _block(b"".join([*rest[:-1], memoryview(chunk)[:cut]]), first, path)
                rest = [chunk[cut:]]
                yield block
                first += block.data.count(b"\n")
    if (block := _block(b"".join(rest), first, path)).data:
        yield block


def _read(stream: Any, size: int, path: Path) -> bytes:
    try:
        return bytes(stream.read(size))
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise OSError(f"{path} cannot be read to its end: {error}. Download or compress it again.") from error


def _block(data: bytes, first: int, path: Path) -> Block:
    if first == 1:
        data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        pa.array([data], pa.large_binary()).cast(pa.large_string())  # faster than decode
    except pa.ArrowInvalid:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            line = first + data.count(b"\n", 0, error.start)
            byte = error.start - data.rfind(b"\n", 0, error.start)
            raise ValueError(
                f"{path}:{line}: not UTF-8 ({error.reason} at byte {byte} of the line). Convert the file."
            ) from error
    return Block(data, first)
