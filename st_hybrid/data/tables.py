"""Rows of any source as Arrow tables, batch by batch: JSON lines, CSV, TSV, Parquet, and what ``datasets`` loads.

Local files are parsed line by line, so that every message can name the line. ``load_dataset`` reads the rest; of files
it guesses types from the first rows (``"2011-01-01"`` becomes a date), and refuses columns that only later rows have.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import DatasetDict, load_dataset, load_from_disk

from st_hybrid.data.blocks import COMPRESSIONS, plain_suffix, read_text
from st_hybrid.data.collect import Place
from st_hybrid.grouping import Ints

Wanted = Callable[[str], pa.DataType | None]
"""The type to read a column of a name as; None leaves the column out."""

IDENTIFIER = pa.dictionary(pa.int32(), pa.string())
"""The type to want for ids: they are read as text or as whole numbers, whichever the source has."""

TRANSLATION = "translation"
"""The column in which OPUS's data sets on the hub hold a text in both languages."""

_ROWS = 5_000  # rows per batch; in wide form a row may hold texts in dozens of languages
_JSON, _CSV = (".jsonl", ".json"), (".csv", ".tsv")


class NamedBatch(NamedTuple):
    """Rows of a source under the source's column names."""

    table: pa.Table  # the wanted columns
    place: Place
    columns: list[str]  # names of all columns, and the fields of the column ``translation``


class Source(NamedTuple):
    """A file, a folder or a data set on the hub; the fields are arguments of :func:`~st_hybrid.data.open_rows`."""

    name: str
    split: str = "train"
    revision: str | None = None
    streaming: bool = False

    def read(self, wanted: Wanted) -> Iterator[NamedBatch]:
        """Read the source batch by batch, in its order.

        Raises:
            FileNotFoundError: There is no such file, folder or data set.
            ValueError: The source is malformed, or an option does not apply to it; the message names the line.
        """
        path = Path(self.name)
        kind = plain_suffix(path)
        saved = any((path / file).is_file() for file in ("dataset_dict.json", "state.json"))
        if (saved or path.is_file()) and (self.streaming or self.revision is not None):
            raise ValueError(f"{path} is on this machine; streaming and revision are for data sets on the hub.")
        if not path.exists() and kind in (*_JSON, *_CSV, ".parquet"):
            raise FileNotFoundError(f"There is no file {path}.")
        if not path.is_file():
            return _batches(self._saved(path) if saved else self._load(path), self.name, wanted)
        if self.split != "train":
            raise ValueError(f"{path} is a file and has no split {self.split!r}.")
        if kind in _JSON and any(text.strip()[:2] in ("[", "[{") for _, text in islice(read_text(path), 1)):
            array = load_dataset("json", data_files=self.name, split="train", streaming=True)
            return _batches(array, self.name, wanted)
        if kind in (*_JSON, *_CSV):
            return _read_text(path, wanted)
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path, wanted)
        raise ValueError(
            f"{path} is none of .jsonl, .json, .csv, .tsv (plain, or with {', '.join(COMPRESSIONS)}) and .parquet. "
            "Convert it to one of them."
        )

    def _saved(self, path: Path) -> Any:
        saved = load_from_disk(path)
        splits = saved if isinstance(saved, DatasetDict) else {"train": saved}
        if self.split not in splits:
            raise ValueError(f"{path} has the splits {', '.join(splits)}, not {self.split!r}. Choose one of them.")
        return splits[self.split]

    def _load(self, path: Path) -> Any:
        name, _, config = (self.name, "", "") if path.exists() else self.name.partition(":")
        options = {"split": self.split, "revision": self.revision, "streaming": self.streaming}
        try:
            return load_dataset(name, config or None, **options)
        except (FileNotFoundError, ConnectionError) as error:
            raise FileNotFoundError(
                f"{name} is neither a file or folder nor a data set that the hub gives. Check the path or the name, "
                "and the network if it is on the hub."
            ) from error


def _batches(dataset: Any, name: str, wanted: Wanted) -> Iterator[NamedBatch]:
    before = 0
    for batch in dataset.with_format("arrow").iter(_ROWS):
        yield _named(batch, batch.schema, name, wanted, before)
        before += batch.num_rows


def _read_parquet(path: Path, wanted: Wanted) -> Iterator[NamedBatch]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not Parquet: {error}.") from error
    with file:
        before = 0
        for batch in file.iter_batches(_ROWS, columns=list(filter(wanted, file.schema_arrow.names))):
            yield _named(batch, file.schema_arrow, str(path), wanted, before)
            before += batch.num_rows


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
    both = schema.field(TRANSLATION).type if TRANSLATION in schema.names else None
    fields = [field.name for field in both] if isinstance(both, pa.StructType) else []
    return NamedBatch(pa.table(arrays), lambda row: f"{source}, row {before + row + 1:,}", [*schema.names, *fields])


def _read_text(path: Path, wanted: Wanted) -> Iterator[NamedBatch]:
    kind = plain_suffix(path)
    records = _json_rows(path) if kind in _JSON else _csv_rows(path, "\t" if kind == ".tsv" else ",", wanted)
    names: dict[str, None] = {}
    identifier: pa.DataType | None = None  # the type of the first ids holds for all
    while chunk := list(islice(records, _ROWS)):
        rows, place = [row for _, row in chunk], partial(_line, path, np.array([line for line, _ in chunk]))
        names |= dict.fromkeys(name for row in rows for name in row)
        arrays = {}
        for name in names:
            values, type_ = [row.get(name) for row in rows], wanted(name)
            if type_ == IDENTIFIER:
                first = next((value for value in values if value is not None), None)
                identifier = identifier or (pa.int64() if type(first) is int else pa.string())
                type_ = identifier
            if type_ is not None:
                arrays[name] = _array(values, type_, name, place)
        both = rows[0].get(TRANSLATION)
        yield NamedBatch(pa.table(arrays), place, [*names, *(both if isinstance(both, dict) else ())])


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
        raise


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in read_text(path):
        if line.strip():
            try:
                row = json.loads(line.strip())
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}:{number}: not valid JSON: {error.msg} (column {error.colno}).") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}:{number}: not an object with the columns as its keys.")
            yield number, row


def _csv_rows(path: Path, delimiter: str, wanted: Wanted) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(1 << 30)
    hint = f"Put values with a {'comma' if delimiter == ',' else 'tab'}, a quotation mark or a line break in quotes."
    raw: list[str] = []  # the lines of a record
    texts = (raw.append(text) or text for _, text in read_text(path))  # type: ignore[func-returns-value]
    names: list[str] = []
    line = 1
    try:
        for values in csv.reader(texts, delimiter=delimiter, strict=True):
            if not names:
                names = values
                if twice := [name for name in names if names.count(name) > 1 and wanted(name)]:
                    raise ValueError(f"{path}:1: the column {twice[0]!r} occurs twice.")
            elif values:
                if len(values) != len(names):
                    raise ValueError(f"{path}:{line}: {len(values)} columns, where the header has {len(names)}. {hint}")
                if delimiter == "\t" and len(raw) > 1 and all(text.count("\t") == len(names) - 1 for text in raw):
                    raise csv.Error("each of the lines that it joins has all columns")
                yield line, dict(zip(names, values, strict=True))
            line += len(raw)
            raw.clear()
    except csv.Error as error:
        raise ValueError(f"{path}:{line}: a quotation mark is not closed ({error}). {hint}") from error
    if not names:
        raise ValueError(f"{path} is empty; its first line should name the columns.")
