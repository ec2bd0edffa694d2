"""Fetch one file over HTTPS: resumed where it stopped, verified by its SHA-256, then moved into place at once.

requests brings connections, certificates, proxies and redirects, filelock the exclusion of other processes. What is
added here is what no maintained downloader does together. pooch verifies, but starts from the first byte again after a
dropped connection. The Hugging Face client's transfer resumes, but does not verify, and follows a redirect to any
address. Neither bounds what a server can make it store.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filelock import FileLock
from rich.progress import Progress, TaskID

from st_hybrid.files import sha256 as file_sha256

if TYPE_CHECKING:
    import requests

_CHUNK = 1 << 14  # bytes; what a dropped connection loses at most
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # states of a server that pass
_LONGEST_WAIT = 8.0  # seconds


class DownloadError(OSError):
    """A file could not be fetched, or what came is not the file that was asked for."""


def has_sha256(path: Path, digest: str) -> bool:
    """Whether there is a file at ``path`` with this SHA-256."""
    return path.is_file() and file_sha256(path) == digest.lower()


def fetch(
    url: str,
    target: str | Path,
    *,
    sha256: str,
    max_bytes: int,
    allow_http: bool = False,
    retries: int = 4,
    timeout: float = 30.0,
    progress: Progress | None = None,
) -> Path:
    """Fetch a file whose SHA-256 is known, unless it is in place already.

    Bytes go to ``<target>.part`` and are kept there when a connection drops or the process dies; the next try, of this
    call or a later one, asks for the rest only. Nothing stands at ``target`` that was not verified. Several
    processes may ask for the same file at once: one fetches it while the others wait (``<target>.lock``).

    Args:
        url: Where the file is, an ``https`` address.
        target: Where it is put; folders on the way are made.
        sha256: SHA-256 of the file, 64 hexadecimal digits. A file in place with another one is fetched again.
        max_bytes: Refuse anything longer, before or while it comes.
        allow_http: Admit an ``http`` address, for a mirror or a test server. A redirect to a scheme other than that of
            ``url`` is refused in any case.
        retries: How often it is tried again, after a pause, when the connection fails or drops or the server says that
            it is busy.
        timeout: Seconds to wait for a connection, and for each next bytes.
        progress: Where to show the bytes as they come.

    Returns:
        ``target``.

    Raises:
        DownloadError: The server refuses, connections fail too often, or the file is too long or has another SHA-256,
            even when fetched anew from its first byte.
        ValueError: The address is not one of ``https``, or ``sha256`` is none.

    Example:
        ::

            from st_hybrid.evaluation.download import fetch

            fetch(
                "https://raw.githubusercontent.com/google-research-datasets/lareqa/"
                "9bc8c7fb6dd8d01d72a05a93c2cb96882b0d299c/xquad-r/en.json",
                "en.json",
                sha256="7b0954f39297c27a31fef610f0883337dd2907fa8699151dc922afdd0fa12ffe",
                max_bytes=10_000_000,
            )
    """
    target = Path(target)
    sha256 = sha256.lower()
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(f"sha256 must be 64 hexadecimal digits, got {sha256!r}.")
    schemes = ("https", "http") if allow_http else ("https",)
    address = urlsplit(url)
    if address.scheme not in schemes or not address.hostname:
        raise ValueError(f"The address must begin with {' or '.join(f'{s}://' for s in schemes)}, got {url!r}.")
    # Before the lock: a file that is there may lie in a folder where nobody can write.
    if has_sha256(target, sha256):
        return target

    progress = progress if progress is not None else Progress(disable=True)
    task = progress.add_task(f"{target.name} (waiting)", total=None)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f"{target.name}.lock")):
        progress.update(task, description=target.name)
        if has_sha256(target, sha256):  # another process fetched it meanwhile
            progress.remove_task(task)
            return target
        part = target.with_name(f"{target.name}.part")
        transfer = _Transfer(url, part, max_bytes, retries, timeout, progress, task)
        found = transfer.run()
        if found != sha256:
            # Bytes of an earlier call may be of another version of the file, or damaged: once more, without them.
            part.unlink()
            found = transfer.run()
        if found != sha256:
            part.unlink()
            raise DownloadError(
                f"What came from {url} has the SHA-256 {found}, expected is {sha256}: it is not that file, and was "
                "not kept. Something on the way, such as a proxy or a login page, may have answered in its place."
            )
        os.replace(part, target)
    return target


@dataclass(frozen=True)
class _Transfer:
    """Fill the part file from the server."""

    url: str
    part: Path
    max_bytes: int
    retries: int
    timeout: float
    progress: Progress
    task: TaskID

    def run(self) -> str:
        """Fetch what the part file lacks, see it safe on the disk and return its SHA-256."""
        import requests  # takes a while, and most calls find the file in place
        from requests.adapters import HTTPAdapter

        if self.part.is_symlink() or self._size() > self.max_bytes:
            self.part.unlink()
        with requests.Session() as session:
            # Redirects can only lead to where an adapter stands.
            session.adapters.clear()
            session.mount(f"{urlsplit(self.url).scheme}://", HTTPAdapter())
            session.max_redirects = 5
            failure: BaseException = ConnectionError()
            for attempt in range(self.retries + 1):
                if attempt:
                    time.sleep(min(2.0 ** (attempt - 2), _LONGEST_WAIT))  # half a second, one, two …
                try:
                    self._try(session)
                    break
                except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                    failure = error
                except requests.exceptions.InvalidSchema as error:
                    raise DownloadError(
                        f"{self.url} redirects to another kind of address, which is refused: {error}"
                    ) from error
                except requests.RequestException as error:
                    raise DownloadError(f"{self.url} cannot be fetched: {error}") from error
            else:
                kept = f" The {size:,} bytes that came are kept, to go on from." if (size := self._size()) else ""
                raise DownloadError(
                    f"{self.url} cannot be fetched, tried {self.retries + 1} times: {_root(failure)}.{kept}"
                ) from failure
        with self.part.open("rb+") as file:
            os.fsync(file.fileno())
        return file_sha256(self.part)

    def _try(self, session: requests.Session) -> None:
        """One request for what is lacking; a ``ConnectionError`` if that is worth another."""
        import requests

        start = self._size()
        # Uncompressed, so that the server counts the same bytes as the part file.
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with session.get(self.url, headers=headers, timeout=self.timeout, stream=True) as response:
            status = response.status_code
            if status == 416 and start:
                return  # nothing comes after what is there: the file is whole, or its checksum will tell
            if status in _TRY_AGAIN:
                raise requests.ConnectionError(f"the server answers {status} {response.reason}")
            if status not in (200, 206):
                raise DownloadError(f"{self.url} cannot be fetched: the server answers {status} {response.reason}.")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise DownloadError(f"{self.url} cannot be fetched: the server compresses it, though asked not to.")

            length = re.fullmatch(r"[0-9]{1,18}", response.headers.get("Content-Length", ""))
            total = int(length[0]) if length else None
            if status == 206:
                content_range = response.headers.get("Content-Range", "")
                span = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18}|\*)", content_range)
                if not span or int(span[1]) != start:
                    self.part.unlink(missing_ok=True)
                    raise requests.ConnectionError("the server sent another part of the file than it was asked for")
                total = None if span[2] == "*" else int(span[2])
            else:
                start = 0  # the whole file comes, whatever was asked for
            if total is not None and total > self.max_bytes:
                raise self._too_long(f"{total:,}")

            self.progress.update(self.task, total=total, completed=start)
            fits = True
            with self.part.open("ab" if start else "wb") as file:
                for chunk in response.iter_content(_CHUNK):
                    fits = file.tell() + len(chunk) <= self.max_bytes
                    if not fits:
                        break
                    file.write(chunk)
                    file.flush()  # a killed process keeps what came
                    self.progress.update(self.task, completed=file.tell())
        if not fits:
            raise self._too_long("more")
        if total is not None and (size := self._size()) < total:
            raise requests.ConnectionError(f"the connection ended after {size:,} of {total:,} bytes")

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _too_long(self, found: str) -> DownloadError:
        self.part.unlink(missing_ok=True)
        return DownloadError(
            f"{self.url} is refused: at most {self.max_bytes:,} bytes were expected, and it has {found}."
        )


def _root(error: BaseException) -> BaseException:
    """What a chain of exceptions began with: "connection refused", under what the libraries say about it."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error
