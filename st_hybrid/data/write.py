"""Parallel rows to a file or a folder that other tools read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
from datasets import Dataset

from st_hybrid.data.blocks import plain_suffix

_CODECS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


def check_output(path: str | Path) -> Path:
    """Refuse a name that :func:`write_rows` cannot write to, before long work.

    Args:
        path: As for :func:`write_rows`.

    Returns:
        The path.

    Raises:
        ValueError: The suffix says no known format.
        FileExistsError: A folder is to be written and is there already.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not suffix:
        if path.exists():
            raise FileExistsError(f"{path} is there already. Choose another folder, or remove it.")
    elif suffix != ".parquet" and (plain_suffix(path) != ".jsonl" or suffix not in (".jsonl", *_CODECS)):
        raise ValueError(
            f"{path}: rows are written as .jsonl (or with {', '.join(_CODECS)}), as .parquet, or, without a suffix, as "
            "a folder of save_to_disk."
        )
    return path


def write_rows(rows: Dataset, path: str | Path) -> None:
    """Write rows in the format that the name's suffix says; the file appears when it is whole.

    Args:
        rows: Parallel rows, or any data set.
        path: ``.jsonl``, ``.jsonl.gz``, ``.jsonl.zst``, ``.jsonl.bz2`` or ``.parquet``; a name without a suffix is a
            folder as of ``Dataset.save_to_disk``, the fastest to load again. Folders above it are made.

    Raises:
        ValueError: The suffix says no known format.
        FileExistsError: A folder is to be written and is there already.

    Example:
        ::

            from st_hybrid.data import read_files, write_rows

            write_rows(read_files("wide.csv").rows, "rows.jsonl.gz")
    """
    path = check_output(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        if path.suffix.lower() == ".parquet":
            rows.to_parquet(part)
        elif path.suffix:
            with pa.output_stream(str(part), compression=_CODECS.get(path.suffix.lower())) as stream:
                rows.to_json(stream, force_ascii=False)
        else:
            rows.save_to_disk(part)
        part.replace(path)
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)
