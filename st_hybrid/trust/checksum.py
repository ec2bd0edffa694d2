"""SHA-256 sums of files and folders."""

from __future__ import annotations

import hashlib
from pathlib import Path

from st_hybrid.retrieval.download import file_sha256


def checksum(path: str | Path) -> str:
    """Sum up the bytes of a file, or the names and bytes of all files of a folder.

    Args:
        path: The file or folder.

    Returns:
        A SHA-256 sum in hexadecimal; a file's is what ``sha256sum`` prints.

    Raises:
        FileNotFoundError: There is no such file or folder.
    """
    path = Path(path)
    if not path.is_dir():
        return file_sha256(path)
    whole = hashlib.sha256()
    for one in sorted(part for part in path.rglob("*") if part.is_file()):
        whole.update(f"{file_sha256(one)} {one.relative_to(path).as_posix()}\n".encode())
    return whole.hexdigest()
