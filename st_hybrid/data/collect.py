"""From batches of rows to a data set on disk: the checks that every reader shares."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray
from tqdm.auto import tqdm

from st_hybrid.data.report import ReadReport, Tally
from st_hybrid.files import temporary_folder
from st_hybrid.languages import check_language

Ints = NDArray[np.int64]

KEYS = ("id", "language", "query", "positive")
"""The columns of parallel rows, but for the negatives."""


class Batch(NamedTuple):
    """Some rows of a source.

    Args:
        table: The rows.
        where: Says where a row of the table stands, for messages: ``where(0)`` is ``"rows.jsonl:17"``.
    """

    table: pa.Table
    where: Callable[[int], str]


class Rows(NamedTuple):
    """What every reader returns.

    Args:
        rows: Parallel rows, for :func:`~st_hybrid.parallel_pairs`: ``id`` (text or integers) and the text columns
            ``language``, ``query``, ``positive`` and any ``negative…``. They are memory-mapped from a temporary file
            that goes when the process ends; ``save_to_disk`` or :func:`~st_hybrid.data.write_rows` keeps them.
        report: What was read, what was left out, and why.

    Example:
        ::

            rows, report = read_files("rows.jsonl.gz")
    """

    rows: Dataset
    report: ReadReport


def collect(
    batches: Iterable[Batch],
    tally: Tally,
    *,
    languages: Sequence[str] | None = None,
    check_languages: bool = True,
    scratch: str | Path | None = None,
    progress: bool = False,
) -> Rows:
    """Write parallel rows to an Arrow file batch by batch, without those that are of no use, and check the whole.

    A row without id, language or any of its texts is left out and counted. Rows of languages that were not asked for
    are, too. What makes the whole doubtful is an error: a code that is no language's, an id that has two rows in one
    language, negative columns that differ from file to file.

    Args:
        batches: Tables with the columns of :data:`KEYS` and the same ``negative…`` columns throughout.
        tally: The reader's counts, which get those of this function.
        languages: Languages to keep; by default all.
        check_languages: Refuse codes that are no language's.
        scratch: Folder on whose disk the rows are put while the process runs; by default the system's for temporary
            files.
        progress: Show how many rows have come.

    Returns:
        The rows and the report.

    Raises:
        ValueError: As above, or no row is left.
    """
    folder = temporary_folder(scratch)
    found: Counter[str] = Counter()
    known: set[str] = set()
    parts: list[tuple[Batch, Ints]] = []
    first, batches = _first(batches, tally)
    schema = _schema(first.table)
    with (
        pa.OSFile(str(folder / "rows.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as writer,
        tqdm(unit=" rows", disable=None if progress else True) as bar,
    ):
        for batch in batches:
            tally.read += batch.table.num_rows
            kept = _useful(batch, tally, languages)
            table = _conformed(batch, schema).take(pa.array(kept))
            counts = pc.value_counts(table["language"].combine_chunks()).to_pylist()
            if check_languages and (new := {part["values"] for part in counts} - known):
                _check_codes(new, batch)
                known |= new
            found.update({part["values"]: part["counts"] for part in counts})
            writer.write_table(table)
            if len(kept):
                parts.append((batch._replace(table=None), kept))
            bar.update(batch.table.num_rows)
    rows = Dataset.from_file(str(folder / "rows.arrow"))
    groups = _check_unique(rows, parts)
    report = ReadReport(tally.sources, tally.read, len(rows), groups, tally.dropped, dict(found))
    if not len(rows):
        raise ValueError(f"No row is left: {report}.")
    if lacking := [code for code in languages or () if code not in found]:
        raise ValueError(f"No row is in {', '.join(lacking)}, only in {', '.join(sorted(found))}: {report}.")
    return Rows(rows, report)


def interleaved(parts: Sequence[pa.Table]) -> pa.Table:
    """Equally long tables as one, the first row of each, then the second of each, and so on."""
    rows = len(parts[0])
    order = np.arange(rows * len(parts)).reshape(len(parts), rows).T.ravel()
    return pa.concat_tables(parts).take(pa.array(order))


def blank(column: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """Which texts are null, empty or nothing but white space."""
    return np.asarray(pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True), dtype=bool)


def _first(batches: Iterable[Batch], tally: Tally) -> tuple[Batch, Iterator[Batch]]:
    iterator = iter(batches)
    first = next(iterator, None)
    if first is None and tally.dropped:
        raise ValueError(f"No row is left: {ReadReport(tally.sources, tally.read, 0, 0, tally.dropped, {})}.")
    if first is None:
        raise ValueError(f"There are no rows in {', '.join(tally.sources)}.")
    return first, itertools.chain([first], iterator)


def _schema(table: pa.Table) -> pa.Schema:
    negatives = [name for name in table.column_names if name not in KEYS]
    identifier = pa.int64() if pa.types.is_integer(table["id"].type) else pa.string()
    return pa.schema([("id", identifier), *((name, pa.string()) for name in (*KEYS[1:], *negatives))])


def _conformed(batch: Batch, schema: pa.Schema) -> pa.Table:
    table = batch.table
    if set(table.column_names) != set(schema.names):
        raise ValueError(
            f"{batch.where(0)}: here the columns are {', '.join(table.column_names)}, before they were "
            f"{', '.join(schema.names)}. Give all rows the same negatives."
        )
    if pa.types.is_integer(schema.field("id").type) != pa.types.is_integer(table["id"].type):
        raise ValueError(f"{batch.where(0)}: ids are {table['id'].type} here and {schema.field('id').type} before.")
    return table.select(schema.names).cast(schema)


def _useful(batch: Batch, tally: Tally, languages: Sequence[str] | None) -> Ints:
    """Row numbers of the rows to keep; the others go by the first reason that holds."""
    table = batch.table
    useful = np.ones(table.num_rows, dtype=bool)

    def leave_out(bad: NDArray[np.bool_], reason: str) -> None:
        rows = np.flatnonzero(useful & bad)
        if len(rows):
            tally.drop(reason, len(rows), batch.where(int(rows[0])))
            useful[rows] = False

    identifier = table["id"]
    is_text = not pa.types.is_integer(identifier.type)
    leave_out(blank(identifier) if is_text else identifier.is_null().to_numpy(), "no id")
    leave_out(blank(table["language"]), "no language")
    if languages is not None:
        asked = pc.is_in(table["language"], value_set=pa.array(languages, table["language"].type))
        leave_out(~asked.to_numpy(), "language not asked for")
    for name in table.column_names:
        if name not in ("id", "language"):
            leave_out(blank(table[name]), f"no {name}")
    return np.flatnonzero(useful)


def _check_codes(codes: Iterable[str], batch: Batch) -> None:
    column = batch.table["language"]
    places = {code: pc.index(column, code).as_py() for code in codes}
    for code, place in sorted(places.items(), key=lambda item: item[1]):
        check_language(code, batch.where(place))


def _check_unique(rows: Dataset, parts: list[tuple[Batch, Ints]]) -> int:
    """Refuse an id with two rows in one language, and count the ids."""
    keys = rows.data.table.select(["id", "language"])
    encoded = [keys[name].combine_chunks().dictionary_encode() for name in ("id", "language")]
    group, language = (part.indices.to_numpy().astype(np.int64) for part in encoded)
    number = group * (len(encoded[1].dictionary) + 1) + language
    order = np.argsort(number, kind="stable")
    again = np.flatnonzero(np.diff(number[order]) == 0)
    if len(again):
        before, after = order[again[0]], order[again[0] + 1]
        identifier, code = (keys[name][int(after)].as_py() for name in ("id", "language"))
        raise ValueError(
            f"{_place(int(after), parts)}: the id {identifier!r} has a row in {code!r} already, at "
            f"{_place(int(before), parts)}. An id has one row a language: give these rows ids of their own."
        )
    return len(encoded[0].dictionary)


def _place(row: int, parts: list[tuple[Batch, Ints]]) -> str:
    ends = list(itertools.accumulate(len(kept) for _, kept in parts))
    part = bisect_right(ends, row)
    batch, kept = parts[part]
    return batch.where(int(kept[row - (ends[part] - len(kept))]))
