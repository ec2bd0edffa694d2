"""Parallel rows from a file, a folder or the hub."""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset, DatasetDict, load_dataset, load_from_disk

# A file's loader by the suffix that is left once a compression's is taken off.
_LOADERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
_COMPRESSIONS = {".gz", ".zst", ".bz2", ".xz"}


def load_rows(data: str | Path, *, split: str = "train", config: str | None = None) -> Dataset:
    """Load parallel rows, whole, as a ``datasets.Dataset``.

    Args:
        data: A file (JSON lines, CSV, TSV or Parquet, plain or compressed), a folder of ``Dataset.save_to_disk``, or
            the name of a data set on the hub.
        split: Split to take, for a folder with several and for the hub.
        config: Configuration (subset) of a data set on the hub.

    Raises:
        FileNotFoundError: There is neither such a file or folder nor such a data set.
        ValueError: The file's kind is not known, or the folder has no such split.

    Example:
        ::

            from st_hybrid.sources.files import load_rows

            rows = load_rows("rows.jsonl.gz")
    """
    path = Path(data)
    if path.is_file():
        suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in _COMPRESSIONS]
        loader = _LOADERS.get(suffixes[-1] if suffixes else "")
        if loader is None:
            raise ValueError(
                f"{path} is none of {', '.join(_LOADERS)} (plain or compressed). Convert it to one of them."
            )
        options = {"delimiter": "\t"} if suffixes[-1] == ".tsv" else {}
        return load_dataset(loader, data_files=str(path), split="train", **options)
    if path.is_dir():
        loaded = load_from_disk(path)
        if isinstance(loaded, DatasetDict):
            if split not in loaded:
                raise ValueError(f"{path} has the splits {', '.join(loaded)}, not {split!r}. Choose one with --split.")
            return loaded[split]
        return loaded
    try:
        return load_dataset(str(data), config, split=split)
    except (FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(
            f"{data} is neither a file or folder here nor a data set that the hub gives. Check the path or the name, "
            "and the network if it is on the hub."
        ) from error
