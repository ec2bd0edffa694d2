from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import platformdirs
import pytest

from st_hybrid.evaluation import PUBLISHED_COUNTS, check_counts, lareqa_folder, read_lareqa
from st_hybrid.evaluation.lareqa_files import COMMITS, SHA256

from .file_server import FileServer, drop_after, other_body, status


def content(name: str, language: str) -> bytes:
    """A file in the LAReQA format with one question; its bytes differ by data set and language."""
    sentence = f"A sentence of {name} in {language}."
    paragraph = {
        "context": sentence,
        "sentence_breaks": [[0, len(sentence)]],
        "qas": [{"id": "q", "question": f"{language}?", "answers": [{"answer_start": 2, "text": "sentence"}]}],
    }
    return json.dumps({"data": [{"title": "T", "paragraphs": [paragraph]}]}).encode()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own, and no variable of the environment that says where data are."""
    monkeypatch.delenv("ST_HYBRID_DATA", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("ST_HYBRID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def mirror(server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    """A mirror of generated files, which stand in for the published ones with their own sums."""
    for name, sums in SHA256.items():
        for language in sums:
            data = content(name, language)
            server.files[f"/{COMMITS[name]}/{name.lower()}/{language}.json"] = data
            monkeypatch.setitem(sums, language, hashlib.sha256(data).hexdigest())
    return server


def fetched(mirror: FileServer) -> list[str]:
    return [request.path for request in mirror.requests]


def local_copy(folder: Path, name: str = "XQuAD-R") -> Path:
    (folder / name.lower()).mkdir(parents=True)
    for language in SHA256[name]:
        (folder / name.lower() / f"{language}.json").write_bytes(content(name, language))
    return folder


def test_table_has_a_sum_for_each_published_file() -> None:
    languages = {name: sorted(counts) for name, counts in PUBLISHED_COUNTS.items()}
    assert {name: sorted(sums) for name, sums in SHA256.items()} == languages
    sums = [value for name in SHA256 for value in SHA256[name].values()]
    assert len(set(sums)) == 18
    assert all(len(bytes.fromhex(value)) == 32 for value in sums)
    assert {name: len(bytes.fromhex(commit)) for name, commit in COMMITS.items()} == {"XQuAD-R": 20, "MLQA-R": 20}


@pytest.mark.parametrize("name", ["XQuAD-R", "MLQA-R"])
def test_fetches_all_languages_once(mirror: FileServer, cache: Path, name: str) -> None:
    folder = lareqa_folder(name, base_url=mirror.address, show_progress_bar=False)
    assert folder.is_relative_to(cache)
    collection = read_lareqa(folder)
    assert collection.name == name
    assert set(collection.languages) == set(SHA256[name])
    assert all((folder / f"{language}.json").read_bytes() == content(name, language) for language in SHA256[name])
    assert fetched(mirror) == [f"/{COMMITS[name]}/{name.lower()}/{language}.json" for language in SHA256[name]]
    assert lareqa_folder(name, base_url=mirror.address) == folder
    assert len(mirror.requests) == len(SHA256[name])


def test_fetches_what_is_missing_only(mirror: FileServer) -> None:
    folder = lareqa_folder("XQuAD-R", languages=["el", "de", "el"], base_url=mirror.address + "/")
    assert sorted(path.name for path in folder.glob("*.json")) == ["de.json", "el.json"]
    (folder / "de.json").write_bytes(b"damaged")
    lareqa_folder("XQuAD-R", languages=["de", "el", "en"], base_url=mirror.address)
    assert [path[-7:] for path in fetched(mirror)] == ["el.json", "de.json", "de.json", "en.json"]
    assert (folder / "de.json").read_bytes() == content("XQuAD-R", "de")


def test_cached_files_need_no_network(mirror: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = lareqa_folder("XQuAD-R", languages=["de"], base_url=mirror.address)
    mirror.stop()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert lareqa_folder("XQuAD-R", languages=["de"]) == folder


def test_goes_on_with_the_files_of_a_call_that_failed(mirror: FileServer) -> None:
    path = f"/{COMMITS['MLQA-R']}/mlqa-r/de.json"
    mirror.files[path] += b" " * 200_000
    SHA256["MLQA-R"]["de"] = hashlib.sha256(mirror.files[path]).hexdigest()  # set back by the fixture
    mirror.behaviours = [drop_after(10**6), *[drop_after(20_000)] * 5]
    with pytest.raises(FileNotFoundError, match="bytes that came are kept") as caught:
        lareqa_folder("MLQA-R", languages=["ar", "de", "en"], base_url=mirror.address)
    assert "/ar.json" not in str(caught.value).partition("\n")[2]  # it is there by now
    folder = lareqa_folder("MLQA-R", languages=["ar", "de", "en"], base_url=mirror.address)
    assert (folder / "de.json").read_bytes() == mirror.files[path]
    last = [request for request in mirror.requests if request.path == path][-1]
    assert 0 < last.sent < len(mirror.files[path])
    assert fetched(mirror).count(f"/{COMMITS['MLQA-R']}/mlqa-r/ar.json") == 1


@pytest.mark.parametrize("data", [b"<html>Log in</html>", content("XQuAD-R", "de")[:-5], content("MLQA-R", "de")])
def test_wrong_file_is_never_used(mirror: FileServer, cache: Path, data: bytes) -> None:
    mirror.behaviours = [other_body(data)] * 2
    with pytest.raises(FileNotFoundError, match=r"fetching failed: What came .* has the SHA-256"):
        lareqa_folder("XQuAD-R", languages=["de"], base_url=mirror.address)
    assert {path.name for path in cache.rglob("*.json*")} <= {"de.json.lock"}


def test_published_sums_refuse_other_files(server: FileServer, cache: Path) -> None:
    server.files[f"/{COMMITS['XQuAD-R']}/xquad-r/de.json"] = content("XQuAD-R", "de")
    with pytest.raises(FileNotFoundError, match="expected is 16fb0f4bf4916154"):
        lareqa_folder("XQuAD-R", languages=["de"], base_url=server.address)


@pytest.mark.parametrize("value", ["1", "true", "ON", "yes"])
def test_offline_says_what_to_fetch_and_tries_nothing(
    mirror: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    with pytest.raises(FileNotFoundError, match=r"^MLQA-R: the variable HF_HUB_OFFLINE forbids") as caught:
        lareqa_folder("MLQA-R", languages=["de", "zh"], base_url=mirror.address)
    message = str(caught.value)
    home = "https://raw.githubusercontent.com/google-research-datasets/lareqa/354d67d1cd066854cdfbf5ad0e6105528976141d"
    assert f"{home}/mlqa-r/de.json\n  {home}/mlqa-r/zh.json\n" in message
    for needed in (str(cache), "folder mlqa-r", "ST_HYBRID_DATA", "ST_HYBRID_CACHE"):
        assert needed in message
    assert not mirror.requests
    assert not cache.exists()


def test_files_put_where_the_offline_error_says_are_used(
    mirror: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError) as caught:
        lareqa_folder("MLQA-R", languages=["de"])
    folder = Path(str(caught.value).partition("unchanged into ")[2].partition(", or")[0])
    folder.mkdir(parents=True)
    (folder / "de.json").write_bytes(content("MLQA-R", "de"))
    assert lareqa_folder("MLQA-R", languages=["de"]) == folder
    (folder / "de.json").write_bytes(b"damaged")
    with pytest.raises(FileNotFoundError, match=r"has damaged:\n.*mlqa-r/de\.json"):
        lareqa_folder("MLQA-R", languages=["de"])


def test_no_server(mirror: FileServer, cache: Path) -> None:
    mirror.stop()
    with pytest.raises(FileNotFoundError, match=r"(?s)cannot be fetched, tried .*lareqa/9bc8.*ST_HYBRID_DATA"):
        lareqa_folder("XQuAD-R", base_url=mirror.address)


def test_refusing_server(mirror: FileServer) -> None:
    mirror.behaviours = [status(404)]
    with pytest.raises(FileNotFoundError, match=r"(?s)ar\.json cannot be fetched: the server answers 404.*ST_HYBRID"):
        lareqa_folder("XQuAD-R", base_url=mirror.address)
    assert len(mirror.requests) == 1


def test_cache_folder_that_cannot_be_made(mirror: FileServer, cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(FileNotFoundError, match=r"(?s)fetching failed: .*ST_HYBRID_CACHE"):
        lareqa_folder("XQuAD-R", base_url=mirror.address)


@pytest.mark.parametrize("by_variable", [False, True])
def test_local_folder(mirror: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_variable: bool) -> None:
    data = local_copy(tmp_path / "data")
    if by_variable:
        monkeypatch.setenv("ST_HYBRID_DATA", str(data))
    else:
        monkeypatch.setenv("ST_HYBRID_DATA", str(tmp_path / "other"))
    folder = lareqa_folder("XQuAD-R", None if by_variable else data, base_url=mirror.address)
    assert folder == data / "xquad-r"
    (folder / "el.json").unlink()
    (folder / "th.json").unlink()
    arguments = ("XQuAD-R", None if by_variable else data)
    with pytest.raises(FileNotFoundError, match=r"xquad-r lacks el\.json, th\.json\. Put them there, or"):
        lareqa_folder(*arguments, base_url=mirror.address)
    with pytest.raises(FileNotFoundError, match=r"lacks el\.json\. "):
        lareqa_folder(*arguments, ["de", "el"], verify=False, base_url=mirror.address)
    assert lareqa_folder(*arguments, ["de", "zh"]) == folder
    assert not mirror.requests


def test_local_files_must_be_the_published_ones(mirror: FileServer, tmp_path: Path) -> None:
    data = local_copy(tmp_path / "data")
    path = data / "xquad-r" / "de.json"
    path.write_bytes(path.read_bytes() + b"\n")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=rf"SHA-256: de\.json has {found} in place of .* pass verify=False"):
        lareqa_folder("XQuAD-R", data)
    assert lareqa_folder("XQuAD-R", data, ["el"]) == data / "xquad-r"
    assert lareqa_folder("XQuAD-R", data, verify=False) == data / "xquad-r"
    assert not mirror.requests


def test_unverified_local_folder_may_hold_other_languages(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "data" / "xquad-r").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"lacks <language>\.json"):
        lareqa_folder("XQuAD-R", tmp_path / "data", verify=False)
    (tmp_path / "data" / "xquad-r" / "sw.json").write_bytes(content("XQuAD-R", "sw"))
    folder = lareqa_folder("XQuAD-R", tmp_path / "data", verify=False)
    assert read_lareqa(folder, ["sw"]).languages == ("sw",)


@pytest.mark.parametrize("name", ["xquad-r", "../XQuAD-R", "/XQuAD-R", "MIRACL", ""])
def test_unknown_names(mirror: FileServer, tmp_path: Path, name: str) -> None:
    for data_dir in (None, tmp_path):
        with pytest.raises(ValueError, match="must be one of XQuAD-R, MLQA-R, got"):
            lareqa_folder(name, data_dir, base_url=mirror.address)
    assert not mirror.requests


@pytest.mark.parametrize("language", ["../../ar", "ar/../de", "/etc/passwd", "..", "AR", "el", "de.json", "de\0", ""])
def test_unknown_languages(mirror: FileServer, tmp_path: Path, language: str) -> None:
    for data_dir in (None, tmp_path):
        with pytest.raises(ValueError, match="MLQA-R was not published in "):
            lareqa_folder("MLQA-R", data_dir, ["de", language], base_url=mirror.address, verify=False)
    assert not mirror.requests
    with pytest.raises(ValueError, match="at least one language"):
        lareqa_folder("MLQA-R", languages=[], base_url=mirror.address)


@pytest.mark.parametrize("linked", ["lareqa", f"lareqa/{COMMITS['XQuAD-R']}/xquad-r"])
def test_folder_linked_out_of_the_cache(mirror: FileServer, cache: Path, tmp_path: Path, linked: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (cache / linked).parent.mkdir(parents=True)
    (cache / linked).symlink_to(outside)
    with pytest.raises(ValueError, match="leads out of the cache folder"):
        lareqa_folder("XQuAD-R", languages=["de"], base_url=mirror.address)
    assert not list(outside.iterdir())
    assert not mirror.requests


def test_cache_that_is_a_link_itself(mirror: FileServer, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    cache.symlink_to(tmp_path / "large disk")
    folder = lareqa_folder("XQuAD-R", languages=["de"], base_url=mirror.address)
    assert (folder / "de.json").resolve().is_relative_to(tmp_path / "large disk")
    assert (folder / "de.json").read_bytes() == content("XQuAD-R", "de")


def test_linked_file_in_the_cache(mirror: FileServer, tmp_path: Path) -> None:
    folder = lareqa_folder("XQuAD-R", languages=["de"], base_url=mirror.address)
    outside = (folder / "de.json").rename(tmp_path / "de.json")
    (folder / "de.json").symlink_to(outside)
    with pytest.raises(ValueError, match=r"de\.json is a link.* out of the cache"):
        lareqa_folder("XQuAD-R", languages=["de"], base_url=mirror.address)


def test_cache_folder_of_the_user(mirror: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ST_HYBRID_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    folder = lareqa_folder("XQuAD-R", languages=["de"], base_url=mirror.address)
    assert folder.is_relative_to(platformdirs.user_cache_path("st-hybrid", appauthor=False))
    assert folder.is_relative_to(tmp_path)


def test_progress_bar_goes_to_the_error_stream(
    mirror: FileServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as far as rich can tell
    lareqa_folder("XQuAD-R", languages=["de"], base_url=mirror.address)
    shown = capfd.readouterr()
    assert "de.json" in shown.err
    assert shown.out == ""
    lareqa_folder("XQuAD-R", languages=["el"], base_url=mirror.address, show_progress_bar=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif("ST_HYBRID_DATA" not in os.environ, reason="ST_HYBRID_DATA names no folder with xquad-r")
def test_published_files_from_a_mirror(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = lareqa_folder("XQuAD-R")
    for language in SHA256["XQuAD-R"]:
        path = f"/{COMMITS['XQuAD-R']}/xquad-r/{language}.json"
        server.files[path] = (local / f"{language}.json").read_bytes()
    monkeypatch.delenv("ST_HYBRID_DATA")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("ST_HYBRID_CACHE", str(tmp_path))
    server.behaviours = [drop_after(1_000_000)]
    folder = lareqa_folder("XQuAD-R", base_url=server.address)
    assert folder.is_relative_to(tmp_path)
    check_counts(read_lareqa(folder))
    assert server.requests[1].range == f"bytes={len(server.files[server.requests[0].path]) - server.requests[1].sent}-"
