"""Parallel rows from a data set of the Hugging Face hub, whole or streamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import load_dataset

from st_hybrid.data.collect import Rows, collect
from st_hybrid.data.forms import Columns, Form
from st_hybrid.data.report import Tally
from st_hybrid.data.tables import BATCH_ROWS, NamedBatch, typed


def read_hub(
    name: str,
    *,
    split: str = "train",
    revision: str | None = None,
    streaming: bool = False,
    max_rows: int | None = None,
    columns: Mapping[str, str] | None = None,
    form: Form = "auto",
    language: str | None = None,
    languages: Sequence[str] | None = None,
    check_languages: bool = True,
    scratch: str | Path | None = None,
    progress: bool = False,
) -> Rows:
    """Read parallel rows from a data set of the hub, or from a folder that ``datasets.load_dataset`` reads.

    Long and wide form are told apart as in :func:`~st_hybrid.data.read_files`.

    Args:
        name: The data set's name, with its configuration after a colon where it has several: ``"user/set:default"``.
        split: The split to read.
        revision: Branch, tag or commit.
        streaming: Read over the network as rows are needed, and keep no copy of the files; the way to take the first
            ``max_rows`` of a large data set.
        max_rows: Read so many rows of the data set, from its beginning; by default all.
        columns: The data set's names of the columns, as for :func:`~st_hybrid.data.read_files`.
        form: As for :func:`~st_hybrid.data.read_files`; so are the other arguments.
        language: The language of all rows, where no column says.
        languages: Languages to read; by default all.
        check_languages: Refuse codes that are no language's.
        scratch: Folder on whose disk the rows are put while the process runs.
        progress: Show how many rows have come.

    Returns:
        The rows and a report of what was left out and why.

    Raises:
        FileNotFoundError: The hub has no such data set, or cannot be reached.
        ValueError: There is no such configuration or split, a column is missing, a language's code is none, or an id
            has two rows in one language.

    Example:
        ::

            from st_hybrid.data import read_hub

            rows, report = read_hub("user/faq:v2", columns={"query": "question"}, streaming=True, max_rows=100_000)
    """
    read = Columns.of(columns, form, language, languages)
    name, _, config = name.partition(":")
    try:
        dataset = load_dataset(name, config or None, split=split, revision=revision, streaming=streaming)
    except (FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(
            f"{name} is neither a file or folder here nor a data set that the hub gives. Check the path or the name, "
            "and the network if it is on the hub."
        ) from error
    tally = Tally()
    return collect(
        read.rows(_batches(dataset, name, read, max_rows), name, tally),
        tally,
        languages=languages,
        check_languages=check_languages,
        scratch=scratch,
        progress=progress,
    )


def _batches(dataset: Any, name: str, read: Columns, max_rows: int | None) -> Iterator[NamedBatch]:
    if max_rows is not None:
        dataset = dataset.take(max_rows)
    before = 0
    for batch in dataset.with_format("arrow").iter(BATCH_ROWS):
        columns = {column: type_ for column in batch.column_names if (type_ := read.wanted(column)) is not None}
        table = typed(batch, columns, name) if columns else pa.table({})
        yield NamedBatch(table, partial(_place, name, before), list(batch.column_names))
        before += batch.num_rows


def _place(name: str, before: int, row: int) -> str:
    return f"{name}, row {before + row + 1:,}"
