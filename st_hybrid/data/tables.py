"""JSON lines, CSV, TSV and Parquet as batches of Arrow tables, with errors at file and line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from st_hybrid.data.blocks import COMPRESSIONS, Block, check_utf8, open_input, plain_suffix, read_blocks

Wanted = Callable[[str], pa.DataType | None]
"""Says as what type to read a column of a name; None leaves it out."""

IDENTIFIER = pa.dictionary(pa.int32(), pa.string())
"""The type to want of ids: they come as text or as whole numbers, whichever the file has."""

BATCH_ROWS = 5_000
"""Rows to read at once of what counts in rows; of wide form, each may hold texts in dozens of languages."""

_BATCH = 1 << 24  # bytes of CSV to parse at once
_KEY = re.compile(rb'"([\w.-]+)"\s*:')  # names of other characters must be in the file's first line


class NamedBatch(NamedTuple):
    """Rows of a file, under the file's own column names.

    Args:
        table: The columns that were wanted and are there.
        where: Says where a row of the table stands: ``rows.jsonl:17``, or ``rows.csv, row 16``.
        columns: The names of all columns, for messages.
    """

    table: pa.Table
    where: Callable[[int], str]
    columns: list[str]


def read_tables(path: Path, wanted: Wanted) -> Iterator[NamedBatch]:
    """Read a file of rows batch by batch.

    In CSV and TSV a value may stand in double quotes, as pandas and datasets write them; a value that begins with a
    quotation mark of its own must.

    Args:
        path: JSON lines (``.jsonl``, ``.json``), CSV or TSV with a header, each plain or compressed, or Parquet.
        wanted: Which columns to read, and as what.

    Yields:
        Batches of rows in the file's order. A column that a line of JSON leaves out is null there.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is of another kind, or malformed; the message names the line or row.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    kind = plain_suffix(path)
    if kind in (".jsonl", ".json"):
        yield from _read_json(path, wanted)
    elif kind in (".csv", ".tsv"):
        yield from _read_csv(path, wanted, "\t" if kind == ".tsv" else ",")
    elif path.suffix.lower() == ".parquet":
        yield from _read_parquet(path, wanted)
    else:
        raise ValueError(
            f"{path} is none of .jsonl, .json, .csv, .tsv (plain, or with {', '.join(COMPRESSIONS)}) and .parquet. "
            "Convert it to one of them."
        )


def _read_json(path: Path, wanted: Wanted) -> Iterator[NamedBatch]:
    identifier: pa.DataType | None = None  # as the first rows have it
    first: list[str] = []
    for block in read_blocks(path):
        if block.first == 1:
            first = _first_keys(path, block)
        if not block.data.strip():
            continue
        names = list(dict.fromkeys([*first, *(name.decode() for name in dict.fromkeys(_KEY.findall(block.data)))]))
        columns = {name: type_ for name in names if (type_ := wanted(name)) is not None}
        table = None
        for possible in [identifier] if identifier else [pa.string(), pa.int64()]:
            fields = [(name, possible if type_ == IDENTIFIER else type_) for name, type_ in columns.items()]
            try:
                table = _parse_json(block, pa.schema(fields))
            except (pa.ArrowInvalid, UnicodeDecodeError) as error:
                failure = error
            else:
                if IDENTIFIER in columns.values():
                    identifier = possible
                break
        if table is None:
            check_utf8(path)
            _explain_json(path, block, columns, identifier)
            raise ValueError(f"{path}, from line {block.first:,} on: {failure}.") from failure
        if table.num_rows or not columns:
            yield NamedBatch(table, _json_places(path, block, table.num_rows), names)


def _first_keys(path: Path, block: Block) -> list[str]:
    """The names that the first line has, whatever characters they are of."""
    start = block.data.lstrip()
    if start[:1] == b"[":
        raise ValueError(f"{path} is one JSON array. Write an object a line, for example with jq -c '.[]'.")
    try:
        return list(json.loads(start.split(b"\n", 1)[0]))
    except (ValueError, TypeError):
        return []  # the parser will object to it too


def _parse_json(block: Block, schema: pa.Schema) -> pa.Table:
    table = pajson.read_json(
        pa.BufferReader(block.data),
        read_options=pajson.ReadOptions(use_threads=False, block_size=len(block.data) + 1),
        parse_options=pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
    table.validate(full=True)
    return table


def _json_places(path: Path, block: Block, rows: int) -> Callable[[int], str]:
    if rows == block.lines:
        return partial(_line, path, block.first)
    filled = [number for number, line in enumerate(block.data.split(b"\n"), block.first) if line.strip()]
    return lambda row: f"{path}:{filled[row]}"


def _explain_json(path: Path, block: Block, columns: Mapping[str, pa.DataType], identifier: pa.DataType | None) -> None:
    """Find the line that the parser objected to, one by one."""
    for number, line in enumerate(block.data.split(b"\n"), block.first):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not valid JSON: {error.msg} (column {error.colno}).") from error
        if not isinstance(row, dict):
            raise ValueError(f"{where}: not an object with the columns as its keys.")
        for name, type_ in columns.items():
            value = row.get(name)
            if type_ == IDENTIFIER:
                kind = pa.int64() if isinstance(value, int) and not isinstance(value, bool) else pa.string()
                if kind == pa.string() and not isinstance(value, str | None):
                    raise ValueError(f"{where}: {name!r} is {_shown(value)}, neither text nor a whole number.")
                identifier = identifier or (None if value is None else kind)
                if value is not None and kind != identifier:
                    raise ValueError(
                        f"{where}: {name!r} is {_shown(value)}, unlike the rows before, whose ids are "
                        f"{'text' if identifier == pa.string() else 'whole numbers'}. Make all of them text."
                    )
            elif pa.types.is_string(type_) and not isinstance(value, str | None):
                raise ValueError(f"{where}: {name!r} is {_shown(value)}, not text.")


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _read_csv(path: Path, wanted: Wanted, delimiter: str) -> Iterator[NamedBatch]:
    first = next(read_blocks(path), None)
    if first is None:
        raise ValueError(f"{path} is empty; its first line should name the columns.")
    try:
        names = next(csv.reader(io.StringIO(first.data.decode(errors="replace"), newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise ValueError(f"{path}:1: not a line of column names: {error}.") from error
    columns = {
        name: pa.string() if type_ == IDENTIFIER else type_ for name in names if (type_ := wanted(name)) is not None
    }
    if twice := [name for name, times in Counter(names).items() if times > 1 and name in columns]:
        raise ValueError(f"{path}:1: the column {twice[0]!r} comes twice.")
    if not columns:  # Arrow would take that for all of them
        yield NamedBatch(pa.table({}), partial(_row, path, 0), names)
        return
    try:
        with (
            open_input(path) as stream,
            pacsv.open_csv(
                stream,
                pacsv.ReadOptions(block_size=_BATCH),
                pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                pacsv.ConvertOptions(include_columns=list(columns), column_types=columns),
            ) as reader,
        ):
            before = 0
            for batch in reader:
                yield NamedBatch(pa.Table.from_batches([batch]), partial(_row, path, before), names)
                before += batch.num_rows
    except pa.ArrowInvalid as error:
        check_utf8(path)
        _explain_csv(path, delimiter, len(names))
        raise ValueError(f"{path}: {error}. A quotation mark may have no second one.") from error


def _explain_csv(path: Path, delimiter: str, columns: int) -> None:
    """Find the line whose number of columns is another than the header's."""
    csv.field_size_limit(1 << 30)
    with open_input(path) as stream:
        lines = csv.reader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), delimiter=delimiter)
        for values in lines:
            if values and len(values) != columns:
                raise ValueError(
                    f"{path}:{lines.line_num}: {len(values)} columns, where the header has {columns}. Values with a "
                    f"{'tab' if delimiter == chr(9) else 'comma'}, a quotation mark or a line break stand in quotes."
                )


def _read_parquet(path: Path, wanted: Wanted) -> Iterator[NamedBatch]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not Parquet: {error}.") from error
    with file:
        names = file.schema_arrow.names
        columns = {name: type_ for name in names if (type_ := wanted(name)) is not None}
        before = 0
        for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
            yield NamedBatch(typed(batch, columns, path), partial(_row, path, before), names)
            before += batch.num_rows


def typed(batch: pa.RecordBatch | pa.Table, columns: Mapping[str, pa.DataType], source: object) -> pa.Table:
    """The wanted columns of a batch in the types that they were wanted in.

    Args:
        batch: Columns of any types.
        columns: The types wanted; :data:`IDENTIFIER` for text or integers.
        source: What messages call the source.

    Raises:
        ValueError: A column has a type that cannot be read as the one wanted.
    """
    arrays = {}
    for name, type_ in columns.items():
        array = batch.column(name)
        kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
        if type_ == IDENTIFIER:
            type_ = pa.int64() if pa.types.is_integer(kind) else pa.string()
        is_text = any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))
        if type_ == pa.string() and not is_text and not pa.types.is_null(kind):
            raise ValueError(f"{source}: the column {name!r} holds {kind}, not text.")
        arrays[name] = array.cast(type_)
    return pa.table(arrays)


def _line(path: Path, first: int, row: int) -> str:
    return f"{path}:{first + row}"


def _row(path: Path, before: int, row: int) -> str:
    return f"{path}, row {before + row + 1:,}"
