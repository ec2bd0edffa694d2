"""Parallel rows from local files: JSON lines, CSV, TSV and Parquet, in long or in wide form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from st_hybrid.data.collect import Batch, Rows, collect
from st_hybrid.data.forms import Columns, Form
from st_hybrid.data.report import Tally
from st_hybrid.data.tables import read_tables

Paths = str | Path | Sequence[str | Path]


def read_files(
    paths: Paths,
    *,
    columns: Mapping[str, str] | None = None,
    form: Form = "auto",
    language: str | None = None,
    languages: Sequence[str] | None = None,
    check_languages: bool = True,
    scratch: str | Path | None = None,
    progress: bool = False,
) -> Rows:
    """Read parallel rows from files, whatever their columns are called.

    Long form has a row a language: ``id``, ``language``, ``query``, ``positive`` and any ``negative…``. Wide form has a
    row a group and a column a language: ``id``, ``query_de``, ``positive_de``, ``query_en`` and so on, and
    ``negative_de`` or ``negative_1_de``; without ``id`` the rows are numbered. The languages are found in the names of
    the columns, and a group may lack any of them.

    Args:
        paths: One file or several: ``.jsonl``, ``.csv``, ``.tsv``, each plain or as ``.gz``, ``.zst``, ``.bz2`` or
            ``.xz``, and ``.parquet``. CSV and TSV have a header, and quotation marks as pandas and datasets write them.
        columns: The files' names of ``id``, ``language``, ``query``, ``positive`` and ``negative`` where they have
            others: ``{"query": "question"}``. In wide form the names begin so.
        form: ``"long"``, ``"wide"`` or, by what the columns are called, ``"auto"``.
        language: The language of all rows, where no column says; then ids may be missing as well. For rows in one
            language, to be translated.
        languages: Languages to read; by default all.
        check_languages: Refuse codes that are no language's.
        scratch: Folder on whose disk the rows are put while the process runs; by default the system's for temporary
            files.
        progress: Show how many rows have come.

    Returns:
        The rows and a report of what was left out and why.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is malformed, a column is missing, a language's code is none, or an id has two rows in one
            language; the message names file and line.

    Example:
        ::

            from st_hybrid.data import read_files

            rows, report = read_files("wide.csv.gz", columns={"query": "question", "positive": "answer"})
    """
    read = Columns.of(columns, form, language, languages)
    files = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if missing := [str(path) for path in files if not path.is_file()]:
        raise FileNotFoundError(f"There is no file {', '.join(missing)}.")
    tally = Tally()

    def batches() -> Iterator[Batch]:
        for path in files:
            yield from read.rows(read_tables(path, read.wanted), str(path), tally)

    return collect(
        batches(), tally, languages=languages, check_languages=check_languages, scratch=scratch, progress=progress
    )
