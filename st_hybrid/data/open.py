"""Open parallel rows, whatever holds them: the one opener of all commands and of Python."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from st_hybrid.data.collect import Batch, Rows, collect
from st_hybrid.data.forms import Columns
from st_hybrid.data.report import ReadReport
from st_hybrid.data.tables import NamedBatch, Source

logger = logging.getLogger(__name__)


def open_rows(
    data: str | Path | Sequence[str | Path],
    *,
    columns: Mapping[str, str] | None = None,
    language: str | None = None,
    languages: Sequence[str] | None = None,
    split: str = "train",
    revision: str | None = None,
    streaming: bool = False,
    max_rows: int | None = None,
    keep_invalid: bool = False,
    check_languages: bool = True,
    scratch: str | Path | None = None,
    show_progress_bar: bool = False,
) -> Rows:
    """Open parallel rows from files, folders or the Hugging Face hub.

    Long form has a row per language: ``id``, ``language``, ``query``, ``positive`` and any ``negative…``. Wide form has
    a row per group and columns per language: ``id``, ``query_de``, ``positive_de``, ``query_en`` and so on, with
    negatives as ``negative_de`` or ``negative_1_de``. A group may lack languages. Without ``id``, rows in wide form
    are numbered. The column names tell the forms apart. Rows without id, language or one of the texts are left out.

    Args:
        data: Files, a folder of ``Dataset.save_to_disk`` or of data files, or the name of a data set on the hub, with a
            configuration after a colon: ``user/faq:v2``. Files are ``.jsonl``, ``.json``, ``.csv``, ``.tsv`` (also with
            ``.gz``, ``.zst``, ``.bz2``, ``.xz``) and ``.parquet``. CSV and TSV have a header, and quotation marks as
            pandas writes them.
        columns: Map ``id``, ``language``, ``query``, ``positive`` or ``negative`` to the source's column names:
            ``{"query": "question"}``. In wide form the columns begin with these names.
        language: Language of all rows, for sources without a language column; ids may then be missing too.
        languages: Languages to read; by default all.
        split: Split to read, of a folder or a data set.
        revision: Branch, tag or commit on the hub.
        streaming: Read from the hub as rows are needed, without a copy of the files.
        max_rows: Read only this number of the source's rows, from the beginning.
        keep_invalid: Keep rows without id, language or text, repeated ids and unknown languages, to check them.
        check_languages: Refuse unknown language codes.
        scratch: Folder for temporary files, on a disk with room for the rows; by default the system's.
        show_progress_bar: Show the number of rows read.

    Returns:
        The rows and a report of what was left out and why.

    Raises:
        FileNotFoundError: A file, folder or data set does not exist, or the hub cannot be reached.
        ValueError: A source is malformed or lacks a column, or its rows are not valid; the message names file and line.

    Example:
        ::

            from datasets import Dataset
            from st_hybrid.data import open_rows

            Dataset.from_list([
                {"question_de": "Wo nisten Störche?", "answer_de": "Auf Dächern.",
                 "question_en": "Where do storks nest?", "answer_en": "On roofs."},
            ]).to_csv("wide.csv")
            rows, report = open_rows("wide.csv", columns={"query": "question", "positive": "answer"})
    """
    read = Columns(columns, language, languages)
    if max_rows is not None and max_rows < 1:
        raise ValueError(f"max_rows must be at least 1, got {max_rows}.")
    report = ReadReport()

    def batches() -> Iterator[Batch]:
        left = max_rows
        for name in map(str, [data] if isinstance(data, str | Path) else data):
            if left == 0:
                return
            found = Source(name, split, revision, streaming).read(read.wanted)
            yield from read.rows(found if left is None else _first(found, left), name, report)
            if left is not None:
                left -= report.sources[name]

    return collect(
        batches(),
        report,
        languages=languages,
        keep_invalid=keep_invalid,
        check_languages=check_languages,
        scratch=scratch,
        show_progress_bar=show_progress_bar,
    )


def open_row_sets(data: Sequence[str | Path], **options: Any) -> DatasetDict:
    """Open several sets of parallel rows, to train on them together: each batch comes from one set.

    Rows that are left out are logged as a warning.

    Args:
        data: Each as for :func:`open_rows`.
        **options: Keyword arguments of :func:`open_rows`, for each set.

    Returns:
        The sets under the names of their files, folders or data sets; a name that occurs again gets a number.

    Example:
        ::

            from datasets import Dataset
            from st_hybrid import parallel_pairs
            from st_hybrid.data import open_row_sets

            Dataset.from_list([{"id": 1, "language": "de", "query": "Wo?", "positive": "Hier."}]).to_json("faq.jsonl")
            pairs = parallel_pairs(open_row_sets(["faq.jsonl"]))["faq"]
    """
    sets = DatasetDict()
    for one in data:
        base = name = Path(one).name.split(".")[0] if Path(one).exists() else str(one)
        number = 1
        while name in sets:
            name = f"{base}-{(number := number + 1)}"
        sets[name], report = open_rows(one, **options)
        if report.dropped:
            logger.warning("%s: %s", one, report)
    return sets


def _first(batches: Iterator[NamedBatch], rows: int) -> Iterator[NamedBatch]:
    """The first rows of some batches."""
    for batch in batches:
        yield batch._replace(table=batch.table.slice(0, rows))
        rows -= batch.table.num_rows
        if rows <= 0:
            return
