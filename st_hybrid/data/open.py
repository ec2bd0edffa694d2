"""Open parallel rows, whatever holds them: the one opener of all commands and of Python."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from st_hybrid.data.collect import Batch, Rows, collect
from st_hybrid.data.forms import Layout, column_names
from st_hybrid.data.report import ReadReport
from st_hybrid.data.tables import NamedBatch, Source

logger = logging.getLogger(__name__)


def open_rows(
    data: str | Path | Sequence[str | Path],
    *,
    columns: Mapping[str, str] | None = None,
    language: str | None = None,
    languages: Sequence[str] | None = None,
    passage_language: str | None = None,
    negatives: int | None = None,
    split: str = "train",
    revision: str | None = None,
    streaming: bool = False,
    max_rows: int | None = None,
    keep_invalid: bool = False,
    check_languages: bool = True,
    show_progress_bar: bool = False,
) -> Rows:
    """Open parallel rows from files, folders or the Hugging Face hub.

    Long form has a row per language: ``id``, ``language``, ``query``, ``positive`` and any ``negative…``. Wide form has
    a row per group and columns per language: ``id``, ``query_de``, ``positive_de``, ``query_en`` and so on, with
    negatives as ``negative_de`` or ``negative_1_de``. A group may lack languages. Without ``id``, rows in wide form
    are numbered. A column ``text`` is both query and positive: a sentence that has translations. The column names tell
    the forms apart. Rows without id, language or one of the texts are left out.

    Args:
        data: Files, a folder of ``Dataset.save_to_disk`` or of data files, or the name of a data set on the hub, with a
            configuration after a colon: ``user/faq:v2``. Files are ``.jsonl``, ``.json``, ``.csv``, ``.tsv`` (also with
            ``.gz``, ``.zst``, ``.bz2``, ``.xz``) and ``.parquet``. CSV and TSV have a header, and quotation marks as
            pandas writes them.
        columns: Map ``id``, ``language``, ``query``, ``positive``, ``negative`` or ``passage_language`` to the source's
            column names: ``{"query": "question"}``. In wide form the columns begin with these names. With a key
            ``document`` the rows keep a column of that name where the source has it.
        language: Language of all rows, for sources without a language column; ids may then be missing too.
        languages: Languages to read; by default all.
        passage_language: Language of all passages, where queries are in another and no column has it. The rows then
            have a column ``passage_language``.
        negatives: Number of hard negatives per row, of layouts with lists of them. Rows with fewer are left out.
        split: Split to read, of a folder or a data set.
        revision: Branch, tag or commit on the hub.
        streaming: Read from the hub as rows are needed, without a copy of the files.
        max_rows: Read only this number of the source's rows, from the beginning.
        keep_invalid: Keep rows without id, language or text, repeated ids and unknown languages, to check them.
        check_languages: Refuse unknown language codes.
        show_progress_bar: Show the number of rows read.

    Returns:
        The rows and a report of what was left out and why.

    Raises:
        FileNotFoundError: A file, folder or data set does not exist, or the hub cannot be reached.
        ValueError: A source is malformed or lacks a column, or its rows are not valid; the message names file and line.

    Example:
        ::

            from st_hybrid.data import open_rows

            rows, report = open_rows("wide.csv", languages=["de", "en"])
    """
    names = column_names(columns, language=language, passage_language=passage_language, languages=languages)
    for option, value, least in (("max_rows", max_rows, 1), ("negatives", negatives, 0)):
        if value is not None and value < least:
            raise ValueError(f"{option} must be at least {least}, got {value}.")
    report = ReadReport()

    def batches() -> Iterator[Batch]:
        left = max_rows
        for one in map(str, [data] if isinstance(data, str | Path) else data):
            source = Source(one, split, revision, streaming)
            report.count(one, 0)  # an error names it
            if left == 0 or not (present := source.columns()):
                continue
            layout = Layout(one, present, names, language, languages, passage_language, negatives)
            found = source.read(layout.wanted)
            for batch in found if left is None else _first(found, left):
                before = report.sources[one]
                report.count(one, len(batch.table))
                if (rows := layout.rows(batch, before)) is not None:
                    yield rows
            if left is not None:
                left -= report.sources[one]

    return collect(
        batches(),
        report,
        languages=languages,
        keep_invalid=keep_invalid,
        check_languages=check_languages,
        show_progress_bar=show_progress_bar,
    )


def open_row_sets(data: Sequence[str | Path], **options: Any) -> DatasetDict:
    """Open several sets of parallel rows, to join them with :func:`~st_hybrid.join_rows` or to train on each.

    Rows that are left out are logged as a warning.

    Args:
        data: Each as for :func:`open_rows`.
        **options: Keyword arguments of :func:`open_rows`, for each set.

    Returns:
        The sets under the names of their files, folders or data sets; a name that occurs again gets a number.

    Example:
        ::

            from st_hybrid import join_rows, parallel_pairs
            from st_hybrid.data import open_row_sets

            pairs = parallel_pairs(join_rows(open_row_sets(["rows.jsonl", "wide.csv"])))
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
