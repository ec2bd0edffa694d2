"""Files that are written whole or not at all, checksums, and the folders for caches and temporary files."""

import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process ends


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it into place when the block ends without an error.

    Another process sees the old file or the new one, never half of it.

    Args:
        path: File or folder to write; its parents are created. A folder that exists must be empty.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any) -> None:
    """Write indented JSON in UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files in a folder, as 64 hexadecimal digits."""
    path, digest = Path(path), hashlib.sha256()
    if path.is_dir():
        for file in sorted(part for part in path.rglob("*") if part.is_file()):
            digest.update(f"{sha256(file)} {file.relative_to(path).as_posix()}\n".encode())
    else:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):  # hashlib.file_digest needs Python 3.11
                digest.update(block)
    return digest.hexdigest()


def cache_folder() -> Path:
    """The folder in the variable ``ST_HYBRID_CACHE``, or the user's cache folder for st-hybrid."""
    named = os.environ.get("ST_HYBRID_CACHE")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("st-hybrid", appauthor=False)


def temporary_folder() -> Path:
    """Create a folder that is removed when the process ends, where the variable ``TMPDIR`` says."""
    _FOLDERS.append(tempfile.TemporaryDirectory(prefix="st-hybrid-"))
    return Path(_FOLDERS[-1].name)
