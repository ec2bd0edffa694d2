"""Files as they are, with every row and column: what a check must see, and the readers of parallel rows leave out."""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset, load_dataset

from st_hybrid.data import load_rows
from st_hybrid.data.blocks import plain_suffix

_LOADERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}


def load_as_it_is(data: str | Path, *, split: str = "train") -> Dataset:
    """Load rows without leaving out those that are empty.

    Args:
        data: A file (JSON lines, CSV, TSV or Parquet, plain or compressed); or what
            :func:`~st_hybrid.data.load_rows` takes besides: a folder of ``save_to_disk``, or a hub name.
        split: Split of a folder or of the hub.

    Raises:
        FileNotFoundError: There is no such file, folder or data set.
        ValueError: The file is of another kind.
    """
    path = Path(data)
    if not path.is_file():
        return load_rows(data, split=split)
    suffix = plain_suffix(path)
    if (loader := _LOADERS.get(suffix)) is None:
        raise ValueError(f"{path} is none of {', '.join(_LOADERS)}. Convert it to one of them.")
    options = {"delimiter": "\t"} if suffix == ".tsv" else {}
    return load_dataset(loader, data_files=str(path), split="train", **options)
