"""Finding, downloading and verifying the files of XQuAD-R and MLQA-R; nothing is downloaded but from this machine."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from st_hybrid.evaluation import PUBLISHED_COUNTS, lareqa_folder, load_lareqa, read_lareqa
from st_hybrid.evaluation.lareqa import COMMITS, PUBLISHED


def content(name: str, language: str) -> bytes:
    """A file in the LAReQA format with one question; its bytes differ by data set and language."""
    sentence = f"A sentence of {name} in {language}."
    paragraph = {
        "context": sentence,
        "sentence_breaks": [[0, len(sentence)]],
        "qas": [{"id": "q", "question": f"{language}?", "answers": [{"answer_start": 2, "text": "sentence"}]}],
    }
    return json.dumps({"data": [{"title": "T", "paragraphs": [paragraph]}]}).encode()


class Mirror(ThreadingHTTPServer):
    """A server of files on this machine; ``failures`` are statuses that it answers with first."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.failures: list[int] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler) -> None:
                self.requests.append(handler.path)
                data = self.files.get(handler.path)
                status = self.failures.pop(0) if self.failures else 200 if data is not None else 404
                handler.send_response(status)
                handler.send_header("Content-Length", str(len(data or b"")))
                handler.end_headers()
                handler.wfile.write(data or b"")

            def log_message(handler, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own, and no variable of the environment that names data or a proxy."""
    monkeypatch.delenv("ST_HYBRID_DATA", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("ST_HYBRID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return tmp_path / "cache"


@pytest.fixture
def mirror(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A mirror of generated files, which take the place of the published ones with their own sums."""
    server = Mirror()
    for name, files in PUBLISHED.items():
        for language, file in list(files.items()):
            data = content(name, language)
            server.files[f"/{COMMITS[name]}/{name.lower()}/{language}.json"] = data
            monkeypatch.setitem(files, language, file._replace(sha256=hashlib.sha256(data).hexdigest()))
    monkeypatch.setattr("st_hybrid.evaluation.lareqa.HOME", server.address)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_every_published_file_has_a_sum() -> None:
    sums = [file.sha256 for files in PUBLISHED.values() for file in files.values()]
    assert len(set(sums)) == len(sums) == 18
    assert all(len(bytes.fromhex(value)) == 32 for value in sums)
    assert {name: len(bytes.fromhex(commit)) for name, commit in COMMITS.items()} == {"XQuAD-R": 20, "MLQA-R": 20}


@pytest.mark.parametrize("name", ["XQuAD-R", "MLQA-R"])
def test_all_languages_are_downloaded_once(mirror: Mirror, cache: Path, name: str) -> None:
    folder = lareqa_folder(name, show_progress_bar=False)
    assert folder.is_relative_to(cache)
    assert set(read_lareqa(folder).languages) == set(PUBLISHED_COUNTS[name])
    assert mirror.requests == [f"/{COMMITS[name]}/{name.lower()}/{language}.json" for language in PUBLISHED[name]]
    assert lareqa_folder(name) == folder
    assert len(mirror.requests) == len(PUBLISHED[name])
    assert {path.name for path in folder.iterdir()} == {f"{language}.json" for language in PUBLISHED[name]}


def test_only_missing_and_damaged_files_are_downloaded(mirror: Mirror) -> None:
    folder = lareqa_folder("XQuAD-R", languages=["el", "de", "el"])
    (folder / "de.json").write_bytes(b"damaged")
    lareqa_folder("XQuAD-R", languages=["de", "el", "en"])
    assert [path[-7:] for path in mirror.requests] == ["el.json", "de.json", "de.json", "en.json"]
    assert (folder / "de.json").read_bytes() == content("XQuAD-R", "de")


def test_cached_files_need_no_network(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = lareqa_folder("XQuAD-R", languages=["de"])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert lareqa_folder("XQuAD-R", languages=["de"]) == folder


def test_a_busy_server_is_asked_again(mirror: Mirror) -> None:
    mirror.failures = [503, 500]
    folder = lareqa_folder("MLQA-R", languages=["de"])
    assert (folder / "de.json").read_bytes() == content("MLQA-R", "de")
    assert len(mirror.requests) == 3


@pytest.mark.parametrize("data", [b"<html>Log in</html>", content("MLQA-R", "de"), None])
def test_a_wrong_or_missing_file_is_never_used(mirror: Mirror, cache: Path, data: bytes | None) -> None:
    mirror.files.pop(f"/{COMMITS['XQuAD-R']}/xquad-r/de.json")
    if data is not None:
        mirror.files[f"/{COMMITS['XQuAD-R']}/xquad-r/de.json"] = data
    reason = "404" if data is None else "SHA-256"
    with pytest.raises(FileNotFoundError, match=rf"(?s)^XQuAD-R: the download failed: .*{reason}.*ST_HYBRID") as caught:
        lareqa_folder("XQuAD-R", languages=["ar", "de"])
    assert "/ar.json" not in str(caught.value).partition("\n")[2]  # it is there by now
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["ar.json"]


@pytest.mark.parametrize("value", ["1", "true", "ON", "yes"])
def test_offline_names_the_missing_files_and_tries_nothing(
    mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    with pytest.raises(FileNotFoundError, match=r"^MLQA-R: the variable HF_HUB_OFFLINE forbids downloads") as caught:
        lareqa_folder("MLQA-R", languages=["de", "zh"])
    message = str(caught.value)
    home = f"{mirror.address}/354d67d1cd066854cdfbf5ad0e6105528976141d"
    assert f"{home}/mlqa-r/de.json\n  {home}/mlqa-r/zh.json\n" in message
    assert not mirror.requests
    assert not cache.exists()

    folder = Path(message.partition("unchanged into ")[2].partition(", or")[0])  # files put there are used
    folder.mkdir(parents=True)
    for language in ("de", "zh"):
        (folder / f"{language}.json").write_bytes(content("MLQA-R", language))
    assert lareqa_folder("MLQA-R", languages=["de", "zh"]) == folder


def test_no_server_and_no_cache_folder(mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("st_hybrid.evaluation.lareqa.HOME", "http://127.0.0.1:9")
    with pytest.raises(FileNotFoundError, match=r"(?s)the download failed: .*lareqa/9bc8.*ST_HYBRID_DATA"):
        lareqa_folder("XQuAD-R")
    for path in sorted(cache.rglob("*"), reverse=True):
        path.rmdir()
    cache.rmdir()
    cache.write_text("a file")
    with pytest.raises(FileNotFoundError, match=r"(?s)the download failed: .*ST_HYBRID_CACHE"):
        lareqa_folder("XQuAD-R")


@pytest.mark.parametrize("by_variable", [False, True])
def test_a_local_folder(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_variable: bool) -> None:
    (tmp_path / "data" / "xquad-r").mkdir(parents=True)
    for language in PUBLISHED["XQuAD-R"]:
        (tmp_path / "data" / "xquad-r" / f"{language}.json").write_bytes(content("XQuAD-R", language))
    monkeypatch.setenv("ST_HYBRID_DATA", str(tmp_path / ("data" if by_variable else "other")))
    data = None if by_variable else tmp_path / "data"
    folder = lareqa_folder("XQuAD-R", data)
    assert folder == tmp_path / "data" / "xquad-r"

    (folder / "de.json").write_bytes(content("XQuAD-R", "de") + b"\n")
    with pytest.raises(ValueError, match=r"published files: de\.json is missing or .* verify=False"):
        lareqa_folder("XQuAD-R", data)
    assert lareqa_folder("XQuAD-R", data, ["el"]) == folder
    assert load_lareqa("XQuAD-R", data, verify=False).passage_counts["de"] == 1
    assert load_lareqa("XQuAD-R", data, ["el"]).query_counts == {"el": 1}

    (folder / "el.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"xquad-r does not hold the published files: de\.json, el\.json is missing"
    ):
        lareqa_folder("XQuAD-R", data, ["de", "el"])
    with pytest.raises(FileNotFoundError, match=r"xquad-r lacks el\.json\. Put them there, or"):
        load_lareqa("XQuAD-R", data, ["de", "el"], verify=False)
    assert "el" not in load_lareqa("XQuAD-R", data, verify=False).languages
    assert not mirror.requests


def test_an_unverified_local_folder_may_hold_other_languages(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "xquad-r").mkdir()
    with pytest.raises(FileNotFoundError, match=r"lacks <language>\.json"):
        load_lareqa("XQuAD-R", tmp_path, verify=False)
    (tmp_path / "xquad-r" / "sw.json").write_bytes(content("XQuAD-R", "sw"))
    assert load_lareqa("XQuAD-R", tmp_path, verify=False).languages == ("sw",)


def test_downloads_are_always_verified(mirror: Mirror) -> None:
    with pytest.raises(ValueError, match="verify=False has no effect on MLQA-R"):
        load_lareqa("MLQA-R", verify=False)
    assert not mirror.requests


@pytest.mark.parametrize("name", ["xquad-r", "../XQuAD-R", "/XQuAD-R", "MIRACL", ""])
def test_unknown_names(mirror: Mirror, tmp_path: Path, name: str) -> None:
    for data_dir in (None, tmp_path):
        with pytest.raises(ValueError, match="must be one of XQuAD-R, MLQA-R, got"):
            lareqa_folder(name, data_dir)
    assert not mirror.requests


@pytest.mark.parametrize("language", ["../../ar", "ar/../de", "/etc/passwd", "..", "AR", "el", "de.json", "de\0", ""])
def test_unknown_languages(mirror: Mirror, tmp_path: Path, language: str) -> None:
    for data_dir in (None, tmp_path):
        with pytest.raises(ValueError, match="MLQA-R was not published in "):
            lareqa_folder("MLQA-R", data_dir, ["de", language], verify=False)
    assert not mirror.requests
    with pytest.raises(ValueError, match="at least one language"):
        lareqa_folder("MLQA-R", languages=[])


def test_progress_goes_to_standard_error(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal for rich
    lareqa_folder("XQuAD-R", languages=["de"])
    shown = capfd.readouterr()
    assert "Downloading XQuAD-R" in shown.err
    assert shown.out == ""
    lareqa_folder("XQuAD-R", languages=["el"], show_progress_bar=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif("ST_HYBRID_DATA" not in os.environ, reason="ST_HYBRID_DATA names no folder with xquad-r")
def test_the_published_files() -> None:
    assert len(load_lareqa("XQuAD-R").passages) == 13014
