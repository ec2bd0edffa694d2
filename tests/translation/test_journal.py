"""The journal: what is kept, what is read, and what a killed process leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from st_hybrid.translation.journal import Journal, text_fingerprint

A, B, C = (text_fingerprint(text, "en") for text in "abc")


def test_what_was_kept_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "key")
    assert journal.read("de", {A: 0}) == {}
    with journal.locked():
        journal.append("de", [A, B], ["Ä\n", "ß"])
        journal.append("de", [C], ["ç"])
        journal.append("fr", [A], ["à"])
    assert Journal(tmp_path, "key").read("de", {A: 5, C: 7}) == {5: "Ä\n", 7: "ç"}
    assert Journal(tmp_path, "key").read("fr", {A: 5, C: 7}) == {5: "à"}


def test_another_model_or_language_of_the_source_finds_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path, "key").locked():
        Journal(tmp_path, "key").append("de", [A], ["Ä"])
    assert Journal(tmp_path, "other").read("de", {A: 0}) == {}
    assert Journal(tmp_path, "key").read("de", {text_fingerprint("a", "fr"): 0}) == {}
    assert Journal(tmp_path, "key").read("de", {A: 0}) == {0: "Ä"}


@pytest.mark.parametrize("left", ["", '{"key"', '{"key": "key", "texts": ["00"], "translations": ["x"]}', "\0\0\0\n"])
def test_a_torn_last_line_is_dropped_and_written_anew(tmp_path: Path, left: str) -> None:
    with Journal(tmp_path, "key").locked():
        Journal(tmp_path, "key").append("de", [A], ["Ä"])
    path = tmp_path / "de.jsonl"
    path.write_bytes(path.read_bytes() + left.encode())
    journal = Journal(tmp_path, "key")
    with journal.locked():
        assert journal.read("de", {A: 0, B: 1}) == {0: "Ä"}
        journal.append("de", [B], ["ß"])
    assert journal.read("de", {A: 0, B: 1}) == {0: "Ä", 1: "ß"}
    assert [json.loads(line)["translations"] for line in path.read_text(encoding="utf-8").splitlines()] == [
        ["Ä"],
        ["ß"],
    ]


def test_any_cut_through_the_last_line_costs_that_line_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "key")
    with journal.locked():
        journal.append("de", [A], ["Ä"])
        kept = (tmp_path / "de.jsonl").stat().st_size
        journal.append("de", [B], ["ß"])
    whole = (tmp_path / "de.jsonl").read_bytes()
    for end in range(kept, len(whole)):
        (tmp_path / "de.jsonl").write_bytes(whole[:end])
        assert journal.read("de", {A: 0, B: 1}) == {0: "Ä"}
        assert (tmp_path / "de.jsonl").stat().st_size == kept


def test_a_line_that_was_changed_is_an_error(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "key")
    with journal.locked():
        journal.append("de", [A], ["Ä"])
    path = tmp_path / "de.jsonl"
    path.write_bytes(b"nonsense\n" + path.read_bytes())
    with pytest.raises(ValueError, match=r"de\.jsonl:1: not a batch of translations\. Delete the line"):
        journal.read("de", {A: 0})


def test_one_at_a_time(tmp_path: Path) -> None:
    """The lock is the operating system's, so two of one process stand for two processes."""
    with (
        Journal(tmp_path, "key").locked(),
        pytest.raises(BlockingIOError, match="Another process is translating"),
        Journal(tmp_path, "other").locked(),
    ):
        pass
    with Journal(tmp_path, "key").locked():
        pass
