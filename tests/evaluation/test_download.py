from __future__ import annotations

import gzip
import hashlib
import io
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress

from st_hybrid.evaluation import download
from st_hybrid.evaluation.download import DownloadError, fetch, has_sha256
from st_hybrid.files import sha256 as file_sha256

from .file_server import (
    Behaviour,
    FileServer,
    announce,
    drop_after,
    endless,
    ignore_range,
    other_body,
    pause_after,
    redirect,
    shift_range,
    short_range,
    status,
    truncate,
)

DATA = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
LOSS = 1 << 14  # bytes that a dropped connection may lose


@pytest.fixture
def served(server: FileServer) -> FileServer:
    server.files["/file.json"] = DATA
    return server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "file.json"


def get(server: FileServer, target: Path, **options: Any) -> Path:
    options = {"sha256": SHA256, "max_bytes": 1_000_000, "allow_http": True, "timeout": 20, **options}
    return fetch(f"{server.address}/file.json", target, **options)


def part_of(target: Path) -> Path:
    return target.with_name("file.json.part")


def leave_part(target: Path, content: bytes) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(content)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def assert_whole(target: Path) -> None:
    assert target.read_bytes() == DATA
    assert not part_of(target).exists()


def assert_nothing_stored(target: Path) -> None:
    assert not target.exists()
    assert not part_of(target).exists()


def start_process(server: FileServer, target: Path) -> subprocess.Popen[str]:
    """A process that says so and then fetches; it loads the module alone, not to wait for torch."""
    code = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('download', sys.argv[1])\n"
        "sys.modules['download'] = module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "assert 'requests' not in sys.modules, 'the import is slow and most calls find the file in place'\n"
        "import requests\n"
        "print('begins', flush=True)\n"
        "module.fetch(sys.argv[2], sys.argv[3], sha256=sys.argv[4], max_bytes=1000000, allow_http=True)\n"
    )
    command = [sys.executable, "-c", code, download.__file__, f"{server.address}/file.json", str(target), SHA256]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "begins\n"
    return process


def test_fetches_once(served: FileServer, target: Path) -> None:
    assert get(served, target) == target
    assert_whole(target)
    assert [(request.range, request.sent) for request in served.requests] == [(None, len(DATA))]
    assert served.requests[0].encodings == "identity"
    get(served, target, sha256=SHA256.upper())
    assert len(served.requests) == 1


def test_empty_file(server: FileServer, target: Path) -> None:
    server.files["/file.json"] = b""
    get(server, target, sha256=hashlib.sha256().hexdigest())
    assert target.read_bytes() == b""


def test_file_in_place_needs_no_writable_folder(served: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(DATA)
    get(served, target)
    assert list(target.parent.iterdir()) == [target]  # no lock, no part
    assert not served.requests


def test_damaged_file_in_place_is_fetched_again(served: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(DATA[:-1])
    get(served, target)
    assert_whole(target)


def test_damaged_file_in_place_stays_until_a_verified_one_is_there(served: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"damaged")
    served.behaviours = [other_body(b"a login page")] * 2
    with pytest.raises(DownloadError):
        get(served, target)
    assert target.read_bytes() == b"damaged"


@pytest.mark.parametrize("reset", [False, True])
def test_goes_on_after_a_drop_with_the_missing_bytes_only(served: FileServer, target: Path, reset: bool) -> None:
    sizes: list[int] = []

    def look(behaviour: Behaviour) -> Behaviour:
        def behave(handler: Any) -> None:
            sizes.append(part_of(target).stat().st_size)
            behaviour(handler)

        return behave

    served.behaviours = [
        pause_after(100_000, then_drop=True) if reset else drop_after(100_000),
        look(drop_after(50_000)),
        look(drop_after(10**6)),
    ]
    if reset:  # what is on its way when a connection is reset may be lost, so wait until it has come
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(get, served, target)
            wait_for(lambda: part_of(target).exists() and part_of(target).stat().st_size > 100_000 - LOSS)
            served.go_on.set()
            running.result()
    else:
        get(served, target)
    assert_whole(target)
    first, second = sizes
    assert 100_000 - LOSS < first <= 100_000
    assert first + 50_000 - LOSS < second <= first + 50_000
    assert [request.range for request in served.requests] == [None, f"bytes={first}-", f"bytes={second}-"]
    assert [request.sent for request in served.requests] == [100_000, 50_000, len(DATA) - second]


def test_a_later_call_goes_on(served: FileServer, target: Path) -> None:
    served.behaviours = [drop_after(100_000)]
    with pytest.raises(DownloadError, match=r"tried 1 times: .* bytes that came are kept"):
        get(served, target, retries=0)
    assert not target.exists()
    kept = part_of(target).stat().st_size
    assert 100_000 - LOSS < kept <= 100_000
    get(served, target)
    assert_whole(target)
    assert served.requests[1].range == f"bytes={kept}-"
    assert served.requests[1].sent == len(DATA) - kept


def test_goes_on_after_a_restart_of_the_server(
    served: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_LONGEST_WAIT", 0.3)
    served.behaviours = [pause_after(100_000)]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(get, served, target)
        wait_for(lambda: part_of(target).exists() and part_of(target).stat().st_size > 100_000 - LOSS)
        served.stop()
        time.sleep(0.4)  # one try finds nobody listening
        assert not running.done()
        served.start()
        running.result()
    assert_whole(target)
    (first, second) = served.requests
    assert first.sent == 100_000
    assert second.range == f"bytes={len(DATA) - second.sent}-"
    assert second.sent <= len(DATA) - 100_000 + LOSS


def test_goes_on_after_the_process_was_killed(served: FileServer, target: Path) -> None:
    served.behaviours = [pause_after(200_000)]
    process = start_process(served, target)
    wait_for(lambda: part_of(target).exists() and part_of(target).stat().st_size > 200_000 - LOSS)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert process.stdout
    process.stdout.close()
    assert not target.exists()
    kept = part_of(target).stat().st_size
    get(served, target)
    assert_whole(target)
    assert served.requests[1].range == f"bytes={kept}-"
    assert served.requests[1].sent == len(DATA) - kept


def test_processes_at_once_fetch_once(served: FileServer, target: Path) -> None:
    served.behaviours = [pause_after(100_000)]
    processes = [start_process(served, target)]
    wait_for(lambda: part_of(target).exists())
    processes += [start_process(served, target) for _ in range(2)]
    time.sleep(0.5)  # time for the others to come as far as they can
    assert not target.exists()
    assert all(process.poll() is None for process in processes)
    served.go_on.set()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert_whole(target)
    assert len(served.requests) == 1


@pytest.mark.parametrize("code", [408, 429, 500, 503])
def test_busy_server_is_asked_again(served: FileServer, target: Path, code: int) -> None:
    served.behaviours = [status(code), status(code)]
    get(served, target)
    assert_whole(target)
    assert len(served.requests) == 3


def test_tries_are_bounded(served: FileServer, target: Path) -> None:
    served.behaviours = [status(500)] * 10
    with pytest.raises(DownloadError, match="tried 3 times: the server answers 500"):
        get(served, target, retries=2)
    served.behaviours = [drop_after(0)] * 10
    with pytest.raises(DownloadError, match="tried 3 times"):
        get(served, target, retries=2)
    assert len(served.requests) == 6
    served.stop()
    with pytest.raises(DownloadError, match="tried 2 times"):
        get(served, target, retries=1)
    assert not target.exists()


def test_silent_server(served: FileServer, target: Path) -> None:
    served.behaviours = [pause_after(100_000)]
    began = time.monotonic()
    with pytest.raises(DownloadError, match="timed out"):
        get(served, target, retries=0, timeout=0.2)
    assert time.monotonic() - began < 10
    get(served, target)
    assert_whole(target)


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_refusal_is_not_asked_again(served: FileServer, target: Path, code: int) -> None:
    served.behaviours = [status(code)]
    with pytest.raises(DownloadError, match=rf"file\.json cannot be fetched: the server answers {code} "):
        get(served, target)
    assert len(served.requests) == 1
    assert_nothing_stored(target)


def test_server_that_ignores_ranges(served: FileServer, target: Path) -> None:
    served.behaviours = [drop_after(100_000), ignore_range]
    get(served, target)
    assert_whole(target)
    assert [request.range is None for request in served.requests] == [True, False]
    assert served.requests[1].sent == len(DATA)


def test_server_that_sends_another_range(served: FileServer, target: Path) -> None:
    served.behaviours = [drop_after(100_000), shift_range]
    get(served, target)
    assert_whole(target)
    assert [request.range is None for request in served.requests] == [True, False, True]


def test_server_that_sends_less_than_the_range(served: FileServer, target: Path) -> None:
    leave_part(target, DATA[:100_000])
    served.behaviours = [short_range, short_range]
    get(served, target)
    assert_whole(target)
    assert [request.range for request in served.requests] == ["bytes=100000-", "bytes=101000-", "bytes=102000-"]


@pytest.mark.parametrize("announced", [False, True])
def test_truncated_file_is_fetched_anew(served: FileServer, target: Path, announced: bool) -> None:
    served.behaviours = [truncate(100_000, announced=announced)]
    get(served, target)
    assert_whole(target)
    assert [request.range for request in served.requests] == [None, None]


@pytest.mark.parametrize("announced", [False, True])
def test_truncated_file_is_never_used(served: FileServer, target: Path, announced: bool) -> None:
    served.behaviours = [truncate(100_000, announced=announced)] * 2
    with pytest.raises(DownloadError, match=f"has the SHA-256 {hashlib.sha256(DATA[:100_000]).hexdigest()}, expected"):
        get(served, target)
    assert len(served.requests) == 2
    assert_nothing_stored(target)


def test_wrong_body_is_never_used(served: FileServer, target: Path) -> None:
    served.behaviours = [other_body(b"a login page")]
    get(served, target)
    assert_whole(target)
    target.unlink()
    served.files["/file.json"] = DATA[:-1] + bytes([DATA[-1] ^ 1])  # of the right length
    with pytest.raises(DownloadError, match=f"expected is {SHA256}"):
        get(served, target)
    assert len(served.requests) == 4
    assert_nothing_stored(target)


def test_file_that_changed_in_between(served: FileServer, target: Path) -> None:
    leave_part(target, bytes(100_000))  # of another version
    get(served, target)
    assert_whole(target)
    assert [request.range for request in served.requests] == ["bytes=100000-", None]


def test_whole_part_is_not_fetched_again(served: FileServer, target: Path) -> None:
    leave_part(target, DATA)
    get(served, target)
    assert_whole(target)
    assert [(request.range, request.sent) for request in served.requests] == [(f"bytes={len(DATA)}-", 0)]


@pytest.mark.parametrize("surplus", [0, 1000])
def test_wrong_part_as_long_as_the_file_or_longer(served: FileServer, target: Path, surplus: int) -> None:
    leave_part(target, bytes(len(DATA) + surplus))
    get(served, target)
    assert_whole(target)
    assert [request.range for request in served.requests] == [f"bytes={len(DATA) + surplus}-", None]


def test_part_longer_than_the_limit_is_not_read(served: FileServer, target: Path) -> None:
    leave_part(target, bytes(1_000_001))
    get(served, target)
    assert_whole(target)
    assert [request.range for request in served.requests] == [None]


@pytest.mark.parametrize("behaviour", [endless, ignore_range, announce(10**15)])
def test_nothing_longer_than_the_limit_is_stored(served: FileServer, target: Path, behaviour: Behaviour) -> None:
    served.behaviours = [behaviour]
    with pytest.raises(DownloadError, match=r"refused: at most 200,000 bytes were expected, and it has"):
        get(served, target, max_bytes=200_000)
    assert len(served.requests) == 1
    assert_nothing_stored(target)
    get(served, target, max_bytes=len(DATA))
    assert_whole(target)


def test_compressed_answer_is_refused(served: FileServer, target: Path) -> None:
    served.behaviours = [other_body(gzip.compress(DATA), Content_Encoding="gzip")]
    with pytest.raises(DownloadError, match="compresses it"):
        get(served, target)
    assert_nothing_stored(target)


def test_redirect_within_the_scheme_is_followed(served: FileServer, target: Path) -> None:
    served.files["/elsewhere"] = DATA
    served.behaviours = [redirect("/elsewhere"), drop_after(100_000), redirect("/elsewhere")]
    get(served, target)
    assert_whole(target)
    assert [request.path for request in served.requests] == ["/file.json", "/elsewhere"] * 2
    assert served.requests[3].range == f"bytes={len(DATA) - served.requests[3].sent}-"
    assert served.requests[3].range != "bytes=0-"


@pytest.mark.parametrize("address", ["https://127.0.0.1:1/file.json", "file:///etc/hostname", "ftp://127.0.0.1/x"])
def test_redirect_to_another_scheme_is_refused(served: FileServer, target: Path, address: str) -> None:
    served.behaviours = [redirect(address)]
    with pytest.raises(DownloadError, match="redirects to another kind of address"):
        get(served, target)
    assert_nothing_stored(target)


def test_redirects_are_bounded(served: FileServer, target: Path) -> None:
    served.behaviours = [redirect("/file.json")] * 20
    with pytest.raises(DownloadError, match="redirects"):
        get(served, target)
    assert len(served.requests) <= 6


@pytest.mark.parametrize("address", ["http://127.0.0.1/a", "file:///etc/hostname", "ftp://127.0.0.1/a", "a.json", ""])
def test_only_https(served: FileServer, target: Path, address: str) -> None:
    with pytest.raises(ValueError, match="must begin with https://, got"):
        fetch(address, target, sha256=SHA256, max_bytes=10)
    if not address.startswith("http://"):
        with pytest.raises(ValueError, match="must begin with https:// or http://, got"):
            fetch(address, target, sha256=SHA256, max_bytes=10, allow_http=True)
    assert not target.parent.exists()


def test_no_sha256(served: FileServer, target: Path) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits, got 'abc'"):
        get(served, target, sha256="abc")
    assert not served.requests


def test_links_are_not_written_through(served: FileServer, target: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    target.parent.mkdir()
    part_of(target).symlink_to(outside)
    target.symlink_to(outside)
    get(served, target)
    assert outside.read_bytes() == b"mine"
    assert not target.is_symlink()
    assert_whole(target)


def test_progress_shows_the_bytes(served: FileServer, target: Path) -> None:
    progress = Progress(console=Console(file=io.StringIO()))
    served.behaviours = [drop_after(100_000)]
    get(served, target, progress=progress)
    (task,) = progress.tasks
    assert (task.description, task.completed, task.total) == ("file.json", len(DATA), len(DATA))


def test_sha256_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(DATA * 10)
    expected = hashlib.sha256(DATA * 10).hexdigest()
    assert file_sha256(path) == expected
    assert has_sha256(path, expected)
    assert not has_sha256(path, SHA256)
    assert not has_sha256(tmp_path / "none", expected)
    assert not has_sha256(tmp_path, expected)
