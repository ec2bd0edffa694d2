"""Progress bars: what they count, and silence when they are off."""

from __future__ import annotations

import pytest

from st_hybrid.progress import progress_bar


@pytest.mark.parametrize("total", [None, 10])
def test_a_hidden_bar_prints_nothing_and_still_counts(capfd: pytest.CaptureFixture[str], total: int | None) -> None:
    with progress_bar(total, "Encoding", show=False, unit="texts") as advance:
        for _ in range(5):
            advance(2)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("total", "done", "shown"), [(1_000, 0, "600/1,000 texts"), (None, 0, "600 texts"), (1_000, 250, "850/1,000 texts")]
)
def test_a_bar_shows_on_standard_error(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, total: int | None, done: int, shown: str
) -> None:
    # A terminal, as rich sees it. datasets replaces os.environ when it maps with processes; rich keeps the first.
    monkeypatch.setattr("rich.console.Console._environ", {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "120"})
    with progress_bar(total, "Encoding", unit="texts", done=done) as advance:
        advance(100)
        advance(500)
    output = capfd.readouterr()
    assert output.out == ""
    assert "Encoding" in output.err
    assert shown in output.err


def test_an_error_passes_through() -> None:
    with pytest.raises(RuntimeError, match="stop"), progress_bar(3, "Encoding", show=False):
        raise RuntimeError("stop")
