"""From batches of rows to a data set on disk: the checks that all readers share."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray

from st_hybrid.data.report import ReadReport
from st_hybrid.files import temporary_folder, writing
from st_hybrid.grouping import Ints, numbered
from st_hybrid.languages import check_language, codes_of
from st_hybrid.progress import progress_bar
from st_hybrid.rows import DOCUMENT, PASSAGE_LANGUAGE, ROLES, is_empty, repeated_rows

Place = Callable[[int], str]
"""Names the place of a batch's row, for messages: ``rows.jsonl:17``."""


class Batch(NamedTuple):
    """Parallel rows of a source, and the place of each."""

    table: pa.Table
    place: Place


class Rows(NamedTuple):
    """Parallel rows and the report of how they were read.

    Args:
        rows: The columns ``id`` (text or integers), ``language``, ``query``, ``positive`` and any ``negative…`` (text).
            They are memory-mapped from a temporary file that is removed when the process ends;
            :func:`~st_hybrid.data.write_rows` keeps them.
        report: What was read, what was left out, and why.
    """

    rows: Dataset
    report: ReadReport


def collect(
    batches: Iterable[Batch],
    report: ReadReport,
    *,
    languages: Sequence[str] | None = None,
    keep_invalid: bool = False,
    check_languages: bool = True,
    show_progress_bar: bool = False,
) -> Rows:
    """Write batches of the same columns to an Arrow file, leave out and count invalid rows, and check the whole.

    The report has the reader's own counts already. The options are those of :func:`~st_hybrid.data.open_rows`.
    """
    parts: list[tuple[Place, Ints]] = []
    iterator = iter(batches)
    if (first := next(iterator, None)) is None:
        raise ValueError(
            f"No row is left: {report}." if report.dropped else f"There are no rows in {', '.join(report.sources)}."
        )
    schema = _schema(first.table)
    file = str(temporary_folder() / "rows.arrow")
    with (
        writing(file),
        pa.OSFile(file, "wb") as sink,
        pa.ipc.new_stream(sink, schema) as writer,
        progress_bar(None, "Reading", show=show_progress_bar, unit="rows") as advance,
    ):
        for batch in itertools.chain([first], iterator):
            report.read += batch.table.num_rows
            table = _conformed(batch, schema)
            kept = _wanted(table, batch.place, report, languages, keep_invalid)
            table = table.take(pa.array(kept))
            counts = {one["values"]: one["counts"] for one in pc.value_counts(table["language"]).to_pylist()}
            if check_languages and not keep_invalid:
                _check_codes(counts.keys() - report.languages.keys(), batch, "language")
                if PASSAGE_LANGUAGE in table.column_names:
                    _check_codes(table[PASSAGE_LANGUAGE].unique().to_pylist(), batch, PASSAGE_LANGUAGE)
            for code, count in counts.items():
                report.languages[code or ""] = report.languages.get(code or "", 0) + count
            writer.write_table(table)
            parts.append((batch.place, kept))
            advance(batch.table.num_rows)
    rows = Dataset.from_file(file)
    report.kept, report.groups = len(rows), _count_groups(rows.data.table, parts, keep_invalid)
    if not len(rows):
        raise ValueError(f"No row is left: {report}.")
    if lacking := [code for code in languages or () if not codes_of([code], report.languages)]:
        raise ValueError(f"No row is in {', '.join(lacking)}, only in {', '.join(sorted(report.languages))}: {report}.")
    return Rows(rows, report)


def interleaved(parts: Sequence[pa.Table]) -> pa.Table:
    """Join tables of one length: the first row of each, the second of each, and so on."""
    order = np.arange(len(parts[0]) * len(parts)).reshape(len(parts), -1).T.ravel()
    return pa.concat_tables(parts).take(pa.array(order))


def _schema(table: pa.Table) -> pa.Schema:
    identifier = pa.int64() if pa.types.is_integer(table["id"].type) else pa.string()
    negatives = [name for name in table.column_names if name not in ROLES]
    return pa.schema([("id", identifier), *((name, pa.string()) for name in (*ROLES[1:], *negatives))])


def _conformed(batch: Batch, schema: pa.Schema) -> pa.Table:
    table = batch.table
    if set(table.column_names) != set(schema.names):
        raise ValueError(
            f"{batch.place(0)}: the columns here are {', '.join(table.column_names)}, but before they were "
            f"{', '.join(schema.names)}. Give all rows the same negatives."
        )
    if pa.types.is_integer(schema.field("id").type) != pa.types.is_integer(table["id"].type):
        raise ValueError(
            f"{batch.place(0)}: ids are {table['id'].type} here but {schema.field('id').type} before. Make all text."
        )
    return table.select(schema.names).cast(schema)


def _wanted(
    table: pa.Table, place: Place, report: ReadReport, languages: Sequence[str] | None, keep_invalid: bool
) -> Ints:
    """Numbers of the rows to keep; each other row counts under the first reason that holds."""
    wanted = np.ones(len(table), dtype=bool)

    def leave_out(reason: str, bad: NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(wanted & bad)
        report.drop(reason, len(rows), lambda: place(int(rows[0])))
        wanted[rows] = False

    for name in table.column_names:
        if not keep_invalid and name != DOCUMENT:
            leave_out(f"no {name}", is_empty(table[name]))
        if name == "language" and languages is not None:
            codes = codes_of(languages, table[name].unique().to_pylist())
            asked = pc.is_in(table[name], pa.array(codes, pa.string()))
            leave_out("language not asked for", ~asked.to_numpy())
    return np.flatnonzero(wanted)


def _check_codes(codes: Iterable[str], batch: Batch, column: str) -> None:
    for place, code in sorted((pc.index(batch.table[column], code).as_py(), code) for code in codes):
        try:
            check_language(code, batch.place(place))
        except ValueError as error:
            raise ValueError(f"{error} To accept any text as a language, pass check_languages=False.") from None


def _count_groups(table: pa.Table, parts: Sequence[tuple[Place, Ints]], keep_invalid: bool) -> int:
    """Count the ids, and name the places of a row that repeats an id and language."""
    if keep_invalid:
        return len(table["id"].drop_null().unique())
    (group, ids), (language, codes) = numbered(table["id"]), numbered(table["language"])
    if len(again := repeated_rows(group, language, table)):
        row = int(again[0])
        first = int(np.argmax((group == group[row]) & (language == language[row])))
        raise ValueError(
            f"Each id must have one query per language and each positive once, but {_place(row, parts)} repeats "
            f"({ids[group[row]].as_py()!r}, {codes[language[row]].as_py()!r}) of {_place(first, parts)}. Give these "
            "rows ids of their own, or drop them."
        )
    return len(ids)


def _place(row: int, parts: Sequence[tuple[Place, Ints]]) -> str:
    ends = np.cumsum([len(kept) for _, kept in parts])
    part = int(np.searchsorted(ends, row, side="right"))
    place, kept = parts[part]
    return place(int(kept[row - ends[part]]))  # from its end
