"""Files that are written whole or not at all, checksums, and the folders for caches and temporary files."""

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs
from safetensors import SafetensorError

_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process ends
_REFUSED = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
_OF_TORCH = ("PytorchStreamWriter", "inline_container", "iostream error", "file write failed")
_DAY = 24 * 60 * 60


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it into place when the block ends without an error.

    Another process sees the old file or the new one, never half of it. What a killed process left is removed.

    Args:
        path: File or folder to write; its parents are created. A folder that exists must be empty.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent, f".{path.name}.", ".part", untouched=_DAY)
    temporary = path.with_name(f".{path.name}.{_process()}-{uuid.uuid4().hex[:8]}.part")
    try:
        with writing(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        _remove(temporary)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Let an error of the disk name what could not be written, whichever library met it."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        number = getattr(error, "errno", None)
        of_torch = any(part in str(error) for part in _OF_TORCH)
        if number not in _REFUSED and not isinstance(error, SafetensorError) and not of_torch:
            raise
        reason = os.strerror(number) if number else str(error).partition("\n")[0]
        raise OSError(
            f"{path} cannot be written: {reason}. Make room, or write elsewhere; nothing else is lost."
        ) from error


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
    """Create a folder that is removed when the process ends, where the variable ``TMPDIR`` says.

    Folders that killed processes left there are removed.
    """
    _sweep(Path(tempfile.gettempdir()), "st-hybrid-")
    _FOLDERS.append(tempfile.TemporaryDirectory(prefix=f"st-hybrid-{_process()}-"))
    return Path(_FOLDERS[-1].name)


def _machine() -> str:
    """Stands for the machine, and the container, in which the numbers of processes are known."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{zlib.crc32(f'{platform.node()} {space}'.encode()):08x}"


def _process() -> str:
    return f"{_machine()}-{os.getpid()}"


def _sweep(folder: Path, begin: str, end: str = "", *, untouched: float | None = None) -> None:
    """Remove what processes of this machine left that are gone, and what was not touched for some seconds."""
    owner = re.compile(rf"{re.escape(begin)}{_machine()}-(\d+)-\w+{re.escape(end)}")
    with os.scandir(folder) as entries:
        own = [Path(entry) for entry in entries if entry.name.startswith(begin) and entry.name.endswith(end)]
    for path in own:
        match = owner.fullmatch(path.name)
        try:
            old = untouched is not None and time.time() - path.stat().st_mtime > untouched
        except OSError:  # gone by now
            continue
        if old or (match and not _alive(int(match[1]))):
            _remove(path)


def _alive(process: int) -> bool:
    if os.name == "nt":  # where signal 0 is Ctrl+C
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
