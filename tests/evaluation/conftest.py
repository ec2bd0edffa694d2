"""Fixtures of the tests that fetch files: nothing is fetched but from this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .file_server import FileServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A running server, which a proxy of the environment does not come between."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("st_hybrid.evaluation.download._LONGEST_WAIT", 0.01)
    with FileServer() as running:
        yield running
