"""Rows of any source as Arrow tables, batch by batch: JSON lines, CSV, TSV, Parquet, and what ``datasets`` loads.

Arrow parses text files wherever Python would read the same, otherwise Python does and names the line of what is wrong.
``load_dataset`` reads the rest; of files it guesses types (``"2011-01-01"`` becomes a date).
"""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq
from datasets import DatasetDict, load_dataset, load_from_disk

from st_hybrid.data.blocks import COMPRESSIONS, Block, plain_suffix, read_blocks
from st_hybrid.data.collect import Place
from st_hybrid.grouping import Ints

Wanted = Callable[[str], pa.DataType | None]
"""The type to read a column of a name as; None leaves the column out."""

IDENTIFIER = pa.dictionary(pa.int32(), pa.string())
"""The type to want for ids: they are read as text or as whole numbers, whichever the source has first."""

TRANSLATION = "translation"
"""The column in which OPUS's data sets on the hub hold a text in both languages."""

_ROWS = 5_000  # rows per batch; in wide form a row may hold texts in dozens of languages
_BLOCK = 1 << 22  # bytes of a text file per batch
_JSON, _CSV = (".jsonl", ".json"), (".csv", ".tsv")
TABULAR = (*_JSON, *_CSV, ".parquet")
"""Suffixes of files whose columns have names."""


class NamedBatch(NamedTuple):
    """The wanted columns of some rows, their places, and the names of all columns and of ``translation``'s fields."""

    table: pa.Table
    place: Place
    columns: list[str]


class Source(NamedTuple):
    """A file, a folder or a data set on the hub; the fields are arguments of :func:`~st_hybrid.data.open_rows`."""

    name: str
    split: str = "train"
    revision: str | None = None
    streaming: bool = False

    def columns(self) -> list[str]:
        """The names of the columns, and of the fields of a column ``translation``; none without rows."""
        first = next(self.read(lambda name: None), None)
        return [] if first is None else first.columns

    def read(self, wanted: Wanted) -> Iterator[NamedBatch]:
        """Read the source batch by batch, in its order."""
        path = Path(self.name)
        kind = plain_suffix(path)
        if not path.exists() and kind in TABULAR:
            raise FileNotFoundError(f"There is no file {path}.")
        if not path.is_file():
            return _batches(self.load(), self.name, wanted)
        self._check_options(path)
        if kind in _JSON:
            if any(block.data.split(b"\n")[0].strip()[:2] in (b"[", b"[{") for block in islice(read_blocks(path), 1)):
                return _read_array(path, wanted)
            return _read_json(path, wanted)
        if kind in _CSV:
            return _read_csv(path, "\t" if kind == ".tsv" else ",", wanted)
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path, wanted)
        raise ValueError(
            f"{path} is none of .jsonl, .json, .csv, .tsv (plain, or with {', '.join(COMPRESSIONS)}) and .parquet. "
            "Convert it to one of them."
        )

    def load(self) -> Any:
        """The data set as ``datasets`` loads it, of a Parquet file, a folder or the hub."""
        path = Path(self.name)
        saved = any((path / file).is_file() for file in ("dataset_dict.json", "state.json"))
        if saved or path.is_file():
            self._check_options(path)
        if path.is_file():
            return load_dataset("parquet", data_files=self.name, split="train")
        if saved:
            parts = load_from_disk(path)
            parts = parts if isinstance(parts, DatasetDict) else {"train": parts}
            if self.split not in parts:
                raise ValueError(f"{path} has the splits {', '.join(parts)}, not {self.split!r}. Choose one of them.")
            return parts[self.split]
        name, _, config = (self.name, "", "") if path.exists() else self.name.partition(":")
        try:
            options = {"split": self.split, "revision": self.revision, "streaming": self.streaming}
            return load_dataset(name, config or None, **options)
        except (FileNotFoundError, ConnectionError) as error:
            raise FileNotFoundError(
                f"{name} is neither a file or folder nor a data set that the hub gives. Check the path or the name, "
                "and the network if it is on the hub."
            ) from error

    def _check_options(self, path: Path) -> None:
        if self.streaming or self.revision is not None:
            raise ValueError(f"{path} is on this machine; streaming and revision are for data sets on the hub.")
        if path.is_file() and self.split != "train":
            raise ValueError(f"{path} is a file and has no split {self.split!r}.")


def _batches(dataset: Any, name: str, wanted: Wanted) -> Iterator[NamedBatch]:
    before = 0
    for batch in dataset.with_format("arrow").iter(_ROWS):
        yield _named(batch, batch.schema, name, wanted, before)
        before += batch.num_rows


def _read_parquet(path: Path, wanted: Wanted) -> Iterator[NamedBatch]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not Parquet: {_first_line(error)}.") from error
    with file:
        before, batches = 0, file.iter_batches(_ROWS, columns=list(filter(wanted, file.schema_arrow.names)))
        while True:
            try:
                if (batch := next(batches, None)) is None:
                    return
                batch.validate(full=True)  # texts are UTF-8
            except (pa.ArrowException, OSError) as error:
                place = f"{path}, after row {before:,}"
                raise ValueError(f"{place}: the file is damaged ({_first_line(error)}). Write it again.") from error
            yield _named(batch, file.schema_arrow, str(path), wanted, before)
            before += batch.num_rows


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _named(batch: pa.RecordBatch | pa.Table, schema: pa.Schema, source: str, wanted: Wanted, before: int) -> NamedBatch:
    """The wanted columns of a batch, in the types that they were wanted in."""
    arrays = {}
    for name in batch.schema.names:
        if (type_ := wanted(name)) is None:
            continue
        array = batch.column(name)
        kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
        if type_ == IDENTIFIER:
            type_ = pa.int64() if pa.types.is_integer(kind) else pa.string()
        is_text = any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))
        if type_ == pa.string() and not is_text and not pa.types.is_null(kind):
            raise ValueError(f"{source}: the column {name!r} holds {kind}, not text.")
        arrays[name] = array.cast(type_)
    return NamedBatch(pa.table(arrays), lambda row: f"{source}, row {before + row + 1:,}", _names(schema))


def _names(schema: pa.Schema) -> list[str]:
    both = schema.field(TRANSLATION).type if TRANSLATION in schema.names else None
    return [*schema.names, *([field.name for field in both] if isinstance(both, pa.StructType) else ())]


def _read_json(path: Path, wanted: Wanted) -> Iterator[NamedBatch]:
    names: dict[str, None] = {}  # of all columns found so far
    types: dict[str, pa.DataType] = {}  # of those that are wanted
    for block in read_blocks(path, _BLOCK):
        if (table := _json_by_arrow(block.data, names, types, wanted)) is not None:
            lines = np.arange(block.first, block.first + len(table))
            yield NamedBatch(table, partial(_line, path, lines), list(names))
        elif records := list(json_records(path, block)):
            numbers, rows = zip(*records, strict=True)
            yield _by_python(rows, partial(_line, path, np.array(numbers)), names, types, wanted)


def _json_by_arrow(
    data: bytes, names: dict[str, None], types: dict[str, pa.DataType], wanted: Wanted
) -> pa.Table | None:
    """Parse lines of an object each; None if a line is anything else, or a value is not of its column's type."""
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    if not data.startswith(b"{") or data.count(b"\n{") + 1 != lines:
        return None
    whole = pajson.ReadOptions(use_threads=False, block_size=len(data) + 1)
    found = dict(types)
    while True:
        try:
            schema = pa.schema(list(found.items()))
            table = pajson.read_json(pa.BufferReader(data), whole, pajson.ParseOptions(explicit_schema=schema))
        except pa.ArrowInvalid:
            return None
        names |= dict.fromkeys(_names(table.schema))
        new = {name: type_ for name in table.column_names if name not in found and (type_ := wanted(name))}
        if not new:
            types |= found
            return table.select(schema.names).cast(schema) if found and len(table) == lines else None
        for name, type_ in new.items():  # of which Arrow has guessed the type: a date for what looks like one
            is_number = pa.types.is_integer(table[name].type)
            found[name] = (pa.int64() if is_number else pa.string()) if type_ == IDENTIFIER else type_


def _read_array(path: Path, wanted: Wanted) -> Iterator[NamedBatch]:
    """The rows of a file that is one array of objects."""
    text = b"".join(block.data for block in read_blocks(path))
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON: {error}.") from error
    names: dict[str, None] = {}
    types: dict[str, pa.DataType] = {}
    for start in range(0, len(content), _ROWS):
        rows = content[start : start + _ROWS]
        place = partial(_numbered, path, start + 1)
        if wrong := [number for number, row in enumerate(rows) if not isinstance(row, dict)]:
            raise ValueError(f"{place(wrong[0])}: not an object with the columns as its keys.")
        yield _by_python(rows, place, names, types, wanted)


def json_records(path: Path, block: Block) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number and the content of each line of JSON lines that is not blank."""
    for number, line in block.numbered_lines():
        if line.strip():
            try:
                row = json.loads(line.strip())
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}:{number}: not valid JSON: {error.msg} (column {error.colno}).") from error
            except (ValueError, RecursionError) as error:  # a number of thousands of digits, or as many brackets
                raise ValueError(f"{path}:{number}: not valid JSON: {error}.") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}:{number}: not an object with the columns as its keys.")
            yield number, row


def _read_csv(path: Path, delimiter: str, wanted: Wanted) -> Iterator[NamedBatch]:
    csv.field_size_limit(1 << 30)
    hint = f"Put values with a {'comma' if delimiter == ',' else 'tab'}, a quotation mark or a line break in quotes."
    line = 1
    blocks = read_blocks(path, _BLOCK)
    try:
        block = next(blocks, Block(b"", 1))
        reader = csv.reader((text for _, text in block.numbered_lines()), delimiter=delimiter, strict=True)
        if (names := next(filter(None, reader), None)) is None:
            raise ValueError(f"{path} is empty; its first line should name the columns.")
        if twice := [name for name in names if names.count(name) > 1 and wanted(name)]:
            raise ValueError(f"{path}:1: the column {twice[0]!r} occurs twice.")
        line += reader.line_num
        data = (block.data.removesuffix(b"\n") + b"\n").split(b"\n", reader.line_num)[-1]
        while (found := _csv_by_arrow(data, names, delimiter, wanted)) is not None:
            table, lines, end = found
            yield NamedBatch(table, partial(_line, path, line + lines), names)
            line += data.count(b"\n", 0, end)
            data = data[end:] + next(blocks, Block(b"", 1)).data
        texts = (text for block in chain([Block(data, line)], blocks) for _, text in block.numbered_lines())
        reader, before = csv.reader(texts, delimiter=delimiter, strict=True), line
        records: list[tuple[int, dict[str, Any]]] = []

        def composed() -> NamedBatch:
            numbers, rows = zip(*records, strict=True)
            return _by_python(rows, partial(_line, path, np.array(numbers)), dict.fromkeys(names), {}, wanted)

        for values in reader:
            if values:
                if len(values) != len(names):
                    raise ValueError(f"{path}:{line}: {len(values)} columns, where the header has {len(names)}. {hint}")
                joined = delimiter.join(values).split("\n")
                if delimiter == "\t" and len(joined) > 1 and all(text.count("\t") == len(names) - 1 for text in joined):
                    raise csv.Error("each of the lines that it joins has all columns")
                records.append((line, dict(zip(names, values, strict=True))))
            line = before + reader.line_num
            if len(records) == _ROWS:
                yield composed()
                records.clear()
        if records:
            yield composed()
    except csv.Error as error:
        raise ValueError(f"{path}:{line}: a quotation mark is not closed ({error}). {hint}") from error


def _csv_by_arrow(data: bytes, names: list[str], delimiter: str, wanted: Wanted) -> tuple[pa.Table, Ints, int] | None:
    """Parse the whole records of some data; return also the line of each, from 0, and the byte where they end.

    None where parsers differ: a quotation mark is not at the end of a value, or TSV has line breaks in quotes.
    """
    text = np.frombuffer(b"\n%b\n" % data, np.uint8)
    marks, breaks = np.flatnonzero(text == ord('"')), np.flatnonzero(text == ord("\n"))
    between = np.searchsorted(marks, breaks) % 2 == 0  # breaks that are not in quotes
    beside = np.concatenate([text[marks[::2] - 1], text[marks[1::2] + 1]])
    usual = np.isin(beside, np.frombuffer(f'{delimiter}"\r\n'.encode(), np.uint8)).all()
    if not usual or data.count(b"\r") != data.count(b"\r\n") or (delimiter == "\t" and not between.all()):
        return None
    ends = breaks[between]
    blank = (np.diff(ends) == 1) | ((np.diff(ends) == 2) & (text[ends[:-1] + 1] == ord("\r")))
    types = {name: pa.string() if type_ == IDENTIFIER else type_ for name in names if (type_ := wanted(name))}
    try:
        table = pacsv.read_csv(
            pa.BufferReader(data[: ends[-1]]),
            pacsv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
            pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            pacsv.ConvertOptions(column_types=types, include_columns=list(types), check_utf8=False),
        )
    except pa.ArrowException:  # also for no records, or types that CSV does not have
        return None
    lines = np.flatnonzero(between)[:-1][~blank]
    return (table.select(list(types)), lines, int(ends[-1])) if table.num_rows == len(lines) else None


def _numbered(path: Path, first: int, row: int) -> str:
    return f"{path}, row {first + row:,}"


def _line(path: Path, lines: Ints, row: int) -> str:
    return f"{path}:{lines[row]}"


def _array(values: list[Any], type_: pa.DataType, name: str, place: Place) -> pa.Array:
    """Python's values as an array; an error names the line of the first that does not fit."""
    if pa.types.is_integer(type_):  # pyarrow would truncate 1.5
        values = [repr(value) if isinstance(value, float) else value for value in values]
    refusals = (pa.ArrowException, OverflowError, UnicodeError)
    try:
        return pa.array(values, type_)
    except refusals:
        for row, value in enumerate(values):
            try:
                pa.scalar(value, type_)
            except refusals as error:
                shown = json.dumps(value, ensure_ascii=isinstance(error, UnicodeError))
                expected = {pa.string(): "text", pa.int64(): "a whole number of at most 64 bits"}.get(type_, str(type_))
                raise ValueError(
                    f"{place(row)}: {name!r} is {shown if len(shown) <= 40 else f'{shown[:37]}...'}, not {expected}."
                    + (" Half of a surrogate pair is no text." if isinstance(error, UnicodeError) else "")
                    + (" Make all ids text." if pa.types.is_integer(type_) else "")
                ) from error
        raise ValueError(f"{place(0)}, or below: {name!r} holds values of several kinds, not {type_}.") from None


def _by_python(
    rows: Sequence[dict[str, Any]],
    place: Place,
    names: dict[str, None],
    types: dict[str, pa.DataType],
    wanted: Wanted,
) -> NamedBatch:
    """Rows as a batch; adds to the names of columns, and to what they are read as."""
    for row in rows:
        both = row.get(TRANSLATION)
        names |= dict.fromkeys([*row, *(both if isinstance(both, dict) else ())])
    arrays = {}
    for name in names:
        values = [row.get(name) for row in rows]
        if (type_ := types.get(name) or wanted(name)) == IDENTIFIER:
            known = next((value for value in values if value is not None), None)
            type_ = pa.int64() if type(known) is int else pa.string()
        if type_ is not None:
            types[name] = type_
            arrays[name] = _array(values, type_, name, place)
    return NamedBatch(pa.table(arrays), place, list(names))
