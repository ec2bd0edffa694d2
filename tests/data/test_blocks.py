"""Whole lines of files, plain and compressed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.data.blocks import plain_suffix, read_blocks


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


@given(st.lists(st.text(max_size=8).map(lambda line: line.replace("\n", "")), min_size=1), st.integers(1, 40))
def test_blocks_are_the_lines_of_the_file(lines: list[str], size: int) -> None:
    data = "\n".join(lines).encode().removeprefix(b"\xef\xbb\xbf")
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        blocks = list(read_blocks(Path(file.name), size))
    assert b"".join(part.data for part in blocks) == data
    number = 1
    for part in blocks:
        assert part.first == number
        assert part.data.endswith(b"\n") or part is blocks[-1]
        expected = part.data.decode().removesuffix("\n").split("\n")
        assert part.lines().to_pylist() == [line.removesuffix("\r") for line in expected]
        number += len(expected)


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("", bytes), (".gz", gzip.compress), (".zst", zstd), (".bz2", bz2.compress), (".xz", lzma.compress)],
)
def test_compressed_files_read_as_plain_ones(suffix: str, compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    data = "".join(f"Zeile {number} „Wort“\n" for number in range(1000)).encode()
    path = tmp_path / f"lines.tsv{suffix}"
    path.write_bytes(compress(data))
    assert b"".join(part.data for part in read_blocks(path, 100)) == data
    assert plain_suffix(path) == ".tsv"
    if suffix:
        path.write_bytes(compress(data)[:-8])
        with pytest.raises(OSError, match=rf"lines\.tsv{suffix} cannot be read to its end"):
            list(read_blocks(path, 100))


def test_gzip_of_several_members_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"a\nb\n") + gzip.compress(b"c\n"))
    assert b"".join(part.data for part in read_blocks(tmp_path / "a.gz")) == b"a\nb\nc\n"


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"\xef\xbb\xbf1\ta\n")
    assert next(read_blocks(tmp_path / "a.tsv")).data == b"1\ta\n"


@given(st.lists(st.text(alphabet="ab\r\u2028\x0b ü中😀", max_size=8)), st.integers(1, 20))
def test_lines_of_text_end_at_line_feeds_only(lines: list[str], size: int) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.flush()
        found = [line for block in read_blocks(Path(file.name), size) for line in block.numbered_lines()]
    assert found == [(number, f"{line}\n") for number, line in enumerate(lines, 1)]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_text_that_is_not_utf8(size: int, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("gut\nschön\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"a\.txt:2: not UTF-8 \(invalid start byte at byte 4 of the line\)"):
        list(read_blocks(path, size))
