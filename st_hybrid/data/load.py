"""Parallel rows by a name alone: a file, a folder or a data set of the hub."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets import Dataset, DatasetDict, load_from_disk

from st_hybrid.data.forms import COLUMNS
from st_hybrid.data.hub import read_hub
from st_hybrid.data.table_files import read_files

logger = logging.getLogger(__name__)


def load_rows(data: str | Path, *, split: str = "train", columns: Mapping[str, str] | None = None) -> Dataset:
    """Load parallel rows, whatever holds them.

    Rows that lack a text are left out, with a warning that says how many and where. Any text will do for a language.

    Args:
        data: A file as for :func:`~st_hybrid.data.read_files`, a folder of ``Dataset.save_to_disk``, or the name of
            a data set on the hub, with a configuration after a colon. A folder of ``save_to_disk`` is taken as it is.
        split: Split to take, for a folder with several and for the hub.
        columns: The source's names of ``id``, ``language``, ``query``, ``positive`` and ``negative`` where it has
            others.

    Returns:
        The rows, with the columns ``id``, ``language``, ``query``, ``positive`` and any ``negative…``.

    Raises:
        FileNotFoundError: There is neither such a file or folder nor such a data set.
        ValueError: The data are malformed, or have no such split or columns.

    Example:
        ::

            from st_hybrid.data import load_rows

            rows = load_rows("rows.jsonl.gz")
    """
    path = Path(data)
    if path.is_dir() and any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return _saved(path, split, columns or {})
    if path.is_file():
        rows, report = read_files(path, columns=columns, check_languages=False, progress=True)
    else:
        rows, report = read_hub(str(data), split=split, columns=columns, check_languages=False, progress=True)
    if report.dropped:
        logger.warning("%s: %s", data, report)
    return rows


def load_row_sets(
    data: Sequence[str | Path], *, split: str = "train", columns: Mapping[str, str] | None = None
) -> DatasetDict:
    """Load several sets of parallel rows, kept apart.

    Trained on together, each batch comes from one of them, and they are drawn by size.

    Args:
        data: Each as for :func:`load_rows`.
        split: As for :func:`load_rows`, of each.
        columns: As for :func:`load_rows`, of each.

    Returns:
        The sets by the names of their files, folders or data sets; a name that comes again gets a number.

    Raises:
        FileNotFoundError: As :func:`load_rows`.
        ValueError: As :func:`load_rows`.

    Example:
        ::

            from st_hybrid import HybridTrainer, parallel_pairs
            from st_hybrid.data import load_row_sets

            rows = load_row_sets(["faq.jsonl", "user/bitext"])
            HybridTrainer(model=model, train_dataset=parallel_pairs(rows)).train()
    """
    names: dict[str, str | Path] = {}
    for one in data:
        base = name = Path(one).name.split(".")[0] if Path(one).exists() else str(one)
        number = 1
        while name in names:
            name = f"{base}-{(number := number + 1)}"
        names[name] = one
    return DatasetDict({name: load_rows(one, split=split, columns=columns) for name, one in names.items()})


def _saved(path: Path, split: str, columns: Mapping[str, str]) -> Dataset:
    rows = load_from_disk(path)
    if isinstance(rows, DatasetDict):
        if split not in rows:
            raise ValueError(f"{path} has the splits {', '.join(rows)}, not {split!r}. Choose one with --split.")
        rows = rows[split]
    given = {**COLUMNS, **columns}
    negative = given.pop("negative")
    if missing := [name for name in given.values() if name not in rows.column_names]:
        raise ValueError(
            f"{path} has no column {', '.join(map(repr, missing))}; its columns are "
            f"{', '.join(map(repr, rows.column_names))}."
        )
    negatives = [name for name in rows.column_names if name.startswith(negative) and name not in given.values()]
    renamed = {name: role for role, name in given.items() if name != role}
    renamed |= {name: "negative" + name.removeprefix(negative) for name in negatives if negative != "negative"}
    return rows.select_columns([*given.values(), *negatives]).rename_columns(renamed)
