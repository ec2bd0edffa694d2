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

from st_hybrid.data.blocks import Block, check_utf8, plain_suffix, read_blocks


def block(data: bytes) -> Block:
    return Block(data, 1, data.count(b"\n") + (not data.endswith(b"\n")))


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


@given(st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), min_size=1), st.integers(1, 40))
def test_blocks_are_the_lines_of_the_file(lines: list[bytes], size: int) -> None:
    data = b"\n".join(lines).removeprefix(b"\xef\xbb\xbf")
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        blocks = list(read_blocks(Path(file.name), size))
    assert b"".join(part.data for part in blocks) == data
    number = 1
    for part in blocks:
        assert part.first == number
        assert part.lines == len(part.data.removesuffix(b"\n").split(b"\n"))
        assert part.data.endswith(b"\n") or part is blocks[-1]
        number += part.lines
        starts, ends = part.bounds()
        found = [part.data[start:end] for start, end in zip(starts, ends, strict=True)]
        assert found == [line.removesuffix(b"\r") for line in part.data.removesuffix(b"\n").split(b"\n")]


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


@given(st.lists(st.text(alphabet="ab\r ü中😀", max_size=8)))
def test_texts_between_tabs(texts: list[str]) -> None:
    part = block("".join(f"{number}\t{text}|\tc\n" for number, text in enumerate(texts)).encode())
    starts, ends = part.bounds()
    tabs = part.first_tabs(starts, ends)
    assert part.texts(starts, tabs).to_pylist() == [str(number) for number in range(len(texts))]
    assert part.texts(tabs + 1, ends).to_pylist() == [f"{text}|\tc" for text in texts]
    assert part.integers(starts, tabs).tolist() == list(range(len(texts)))


def test_a_line_without_a_tab() -> None:
    part = block(b"a\n\nb\tc\nd")
    assert part.first_tabs(*part.bounds()).tolist() == [-1, -1, 4, -1]


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), ("123456789012345678", 123456789012345678), ("1234567890123456789", -1)]
    + [(text, -1) for text in ("", "-1", "+1", " 1", "1 ", "1.0", "x", "٣", "1e3", "/", ":")],
)
def test_whole_numbers(text: str, number: int) -> None:
    part = block(f"{text}\n12\n".encode())
    assert part.integers(*part.bounds()).tolist() == [number, 12]


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    data = "gut\nschön\n".encode("latin-1")
    part = block(data)
    with pytest.raises(UnicodeDecodeError):
        part.texts(*part.bounds())
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.txt:2: not UTF-8 \(invalid start byte at byte 4 of the line\)"):
        check_utf8(tmp_path / "a.txt")
