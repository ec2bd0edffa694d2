"""Write rows to a file or a folder that other tools read."""

from pathlib import Path

import pyarrow as pa
from datasets import Dataset

from st_hybrid.data.blocks import plain_suffix
from st_hybrid.files import replacing

_CODECS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


def check_output(path: str | Path) -> Path:
    """Return a path that :func:`write_rows` can write to, or raise as it does, before long work."""
    path = Path(path)
    suffix = path.suffix.lower()
    if not suffix and path.exists():
        raise FileExistsError(f"{path} exists. Choose another folder, or remove it.")
    if suffix not in ("", ".parquet") and (plain_suffix(path) != ".jsonl" or suffix not in (".jsonl", *_CODECS)):
        raise ValueError(
            f"{path}: cannot write {suffix}. Rows are written as .jsonl (also with {', '.join(_CODECS)}), as .parquet "
            "or, without a suffix, as a folder of save_to_disk."
        )
    return path


def write_rows(rows: Dataset, path: str | Path) -> None:
    """Write rows in the format of the path's suffix. The file appears when it is complete.

    Args:
        rows: Parallel rows, or any data set.
        path: ``.jsonl``, ``.jsonl.gz``, ``.jsonl.zst``, ``.jsonl.bz2`` or ``.parquet``. Without a suffix, a folder of
            ``Dataset.save_to_disk``. Missing parent folders are created.

    Raises:
        ValueError: The suffix names no known format.
        FileExistsError: A folder of that name exists.

    Example:
        ::

            from datasets import Dataset
            from st_hybrid.data import write_rows

            rows = Dataset.from_list([{"id": 1, "language": "de", "query": "Wo?", "positive": "Hier."}])
            write_rows(rows, "rows.jsonl.gz")
    """
    path = check_output(path)
    with replacing(path) as part:
        if path.suffix.lower() == ".parquet":
            rows.to_parquet(part)
        elif path.suffix:
            with pa.output_stream(str(part), compression=_CODECS.get(path.suffix.lower())) as stream:
                rows.to_json(stream, force_ascii=False)
        else:
            rows.save_to_disk(part)
