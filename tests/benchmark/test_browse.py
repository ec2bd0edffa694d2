"""The page, as a browser shows it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sentence_transformers import SentenceTransformer

from st_hybrid.benchmark import evaluate_tasks, write_browse_page
from st_hybrid.evaluation.per_query import first_passages_path

SCRIPTS = (
    "<script>document.title = 'taken over'</script>",
    "</script><img src=x onerror=\"document.title='taken over'\">",
    "<!--<script>",
    "&lt;b&gt; & \u2028 \"'",
)


class Texts(HTMLParser):
    """The visible text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.hidden = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.hidden = self.hidden or tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.hidden = self.hidden and tag not in ("script", "style")

    def handle_data(self, text: str) -> None:
        if not self.hidden:
            self.found.append(text)


@pytest.fixture(scope="module")
def scores(tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Scores of two models on rows that hold scripts."""
    folder = tmp_path_factory.mktemp("scores")
    rows = [
        {
            "id": n,
            "language": code,
            "query": f"{code} {n}? {SCRIPTS[n % 4]}",
            "positive": f"{n}, {code}. {SCRIPTS[n % 4]}",
        }
        for n in range(16)
        for code in ("de", "el", "en")
    ]
    (folder / "<b>rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    model = SentenceTransformer(str(tiny_model_path), device="cpu")
    paths = folder / "a.json", folder / "b.json"
    for path, prompt in zip(paths, ("", "quite another one: "), strict=True):
        evaluate_tasks(
            model, [], None, path, data=[folder / "<b>rows.jsonl"], model_name=f"<i>{path.stem}", query_prompt=prompt,
            centers=["evaluated"], show_progress_bar=False,
        )  # fmt: skip
    return paths


def content(page: Path) -> dict[str, object]:
    """The data in a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found is not None
    return json.loads(found[1])


def test_what_the_page_holds(scores: tuple[Path, Path], tmp_path: Path) -> None:
    assert write_browse_page(*scores, tmp_path / "page.html") == 48
    data = content(tmp_path / "page.html")
    assert data["task"] == "<b>rows"
    assert data["models"] == ["<i>a", "<i>b"]
    assert (data["languages"], data["names"]) == (["de", "el", "en"], ["German", "Greek", "English"])
    table = pq.read_table(first_passages_path(scores[1])).to_pylist()
    rows = [row for row in table if row["variant"] == "plain"]
    start = 0
    for question in data["questions"]:
        precision, passages = question["found"][1]
        for (number, rank, right), row in zip(passages, rows[start : start + len(passages)], strict=True):
            language, text = data["passages"][number]
            assert (text, data["languages"][language]) == (row["passage"], row["passage_language"])
            assert (rank, right) == (row["rank"], row["relevant"])
            assert (question["text"], data["languages"][question["language"]]) == (row["query"], row["query_language"])
        ranks = sorted(rank for _, rank, right in passages if right)
        assert precision == pytest.approx(np.mean([(n + 1) / rank for n, rank in enumerate(ranks)]), abs=1e-4)
        start += len(passages)
    assert start == len(rows)


def test_a_sample_and_variants(scores: tuple[Path, Path], st_hybrid: Callable[..., str], tmp_path: Path) -> None:
    variants = ["--variant", "plain", "--variant", "centered: evaluated"]
    told = st_hybrid("browse", scores[0], scores[0], *variants, "--sample", "5", "--output", tmp_path / "page.html")
    assert "5 questions" in told
    data = content(tmp_path / "page.html")
    assert data["models"] == ["<i>a", "<i>a, centered: evaluated"]
    assert data["about"] == "5 questions, drawn from 48."
    assert len(data["questions"]) == 5


@pytest.mark.parametrize("size", ["1200,900", "390,900"])
def test_in_a_browser(scores: tuple[Path, Path], tmp_path: Path, size: str) -> None:
    """Texts are shown as they are, and none of them runs; the largest difference comes first."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    page = tmp_path / "page.html"
    write_browse_page(*scores, page)
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--window-size={size}", "--dump-dom", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "<title>What two models find</title>" in shown
    assert "<img" not in shown
    texts = "\n".join(Texts(shown).found)
    assert "<b>rows: what two models find in the pool of all languages" in texts
    data = content(page)
    ordered = sorted(data["questions"], key=lambda one: -abs(one["found"][1][0] - one["found"][0][0]))
    places = [texts.index(question["text"]) for question in ordered[:20]]
    assert sorted(places) == places
    assert all(question["text"] not in texts for question in ordered[20:])  # behind "Show more"
    assert shown.count("<article>") == 20
    first = "\n".join(data["passages"][number][1] for number, rank, _ in ordered[0]["found"][0][1] if rank <= 10)
    assert all(passage in texts for passage in first.splitlines())
    assert "Right answers further down: " in texts


def test_what_does_not_fit(scores: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "page.html"
    recorded = tmp_path / "recorded.json"
    recorded.write_text('{"tasks": {"XQuAD-R": {"monolingual": {}}}}', encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"lacks recorded\.first-10\.parquet .* st-hybrid evaluate"):
        write_browse_page(recorded, scores[1], output)
    with pytest.raises(ValueError, match=r"Both files hold <b>rows\. Name a task"):
        write_browse_page(*scores, output, task="XQuAD-R")
    with pytest.raises(ValueError, match="has no variant 'centered: out' of <b>rows"):
        write_browse_page(*scores, output, variants=("plain", "centered: out"))
    assert not output.exists()
