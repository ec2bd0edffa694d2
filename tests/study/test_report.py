"""What a study found, from real cells of tiny encoders, and its report."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from st_hybrid.evaluation.results import TaskScores
from st_hybrid.study.cells import run_study, study_status
from st_hybrid.study.report import write_report
from st_hybrid.study.results import Key, Results, read_results

HOSTILE = "<script>document.title='run'</script> & |"
GRID: dict[str, Any] = {
    "models": {
        f"h{hidden}": {"scratch": {"hidden": hidden, "layers": 1, "vocabulary": 400, "length": 24}}
        for hidden in (8, 16, 32)
    },
    "data": {"facts": {"cldr": {"groups": 300}}},
    "methods": {"untouched": None, HOSTILE: {"sampler": "x-y"}, "hybrid": {"alpha": 0.5}},
    "budgets": {"short": {"steps": 3}},
    "seeds": [0, 1],
    "recipe": {"batch_size": 8, "learning_rate": 1e-3, "dtype": "float32"},
    "evaluation": {"sample": 12, "quotas": True},
    "contrasts": [
        {"method": "hybrid", "against": HOSTILE},
        {"method": "hybrid", "against": "untouched", "measures": {"Cr.": "superiority"}},
    ],
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "grid.yaml").write_text(yaml.safe_dump(GRID, sort_keys=False), encoding="utf-8")
    assert {cell.state for cell in run_study(folder / "grid.yaml", folder / "study")} == {"done"}
    return folder / "study"


@pytest.fixture(scope="module")
def results(study: Path) -> Results:
    return read_results(study)


def test_means_over_questions_are_the_scores_of_the_evaluation(study: Path, results: Results) -> None:
    for cell in study_status(study):
        written = json.loads((study / "cells" / cell.cell / "scores.json").read_text(encoding="utf-8"))
        scores = TaskScores.from_dict(written["tasks"]["facts"])
        names = (cell.settings[field] for field in ("model", "data", "fraction", "budget", "method"))
        for variant, wanted in scores.variants.items():
            seeds, found = results.scores[Key._make(("facts", *names, variant))]
            names = (cell.settings[field] for field in ("model", "data", "fraction", "budget", "method"))
            own = {measure: values[seeds.index(cell.settings["seed"])].mean() for measure, values in found.items()}
            assert own["Mo."] == pytest.approx(wanted.monolingual.map)  # type: ignore[union-attr]
            assert own["Cr."] == pytest.approx(wanted.cross_lingual.map)  # type: ignore[union-attr]
            assert own["Mul."] == pytest.approx(wanted.multilingual.map)
            assert own["rank distance"] == pytest.approx(wanted.rank_distance)
            assert own["PEER"] == pytest.approx(wanted.multilingual.peer_at_20)


def test_declared_contrasts_are_paired_by_seed_and_adjusted_together(results: Results) -> None:
    tested = results.tested
    assert len(tested) == 3 * (3 + 1)
    assert all(one.adjusted_p >= one.p for one in tested)
    assert min(one.p for one in tested) * len(tested) == pytest.approx(min(one.adjusted_p for one in tested), abs=1)
    one = next(one for one in tested if one.measure == "rank distance")
    seeds, scores = results.scores[one.key]
    assert seeds == [0, 1]
    other = results.scores[one.key._replace(method=HOSTILE)][1]
    gains = other["rank distance"] - scores["rank distance"]  # less is better
    assert one.estimate.value == pytest.approx(gains.mean())
    assert one.holds == (one.adjusted_p < 0.05 and gains.mean() > 0)


def test_slopes_are_over_the_sizes(results: Results) -> None:
    slopes = results.slopes()
    assert len(slopes) == 2 * 6
    method, against, family, measure, estimate = slopes[0]
    assert (method, against, family.model, measure) == ("hybrid", HOSTILE, "", "Mo.")
    means = []
    for model, size in results.sizes.items():
        first, second = (
            results.scores[family._replace(model=model, method=name)][1]["Mo."] for name in (method, against)
        )
        means.append((np.log2(size), first.mean() - second.mean()))
    assert estimate.value == pytest.approx(stats.linregress(*zip(*means, strict=True)).slope)


class Tags(HTMLParser):
    """The tags of a page and the text of its cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.cells.append(data.strip())


@pytest.fixture(scope="module")
def page(study: Path) -> Path:
    return write_report(study)


def test_the_page_holds_everything_and_runs_nothing(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = Tags(text)
    assert "script" not in found.tags
    assert "link" not in found.tags
    assert "img" not in found.tags
    assert found.tags.count("svg") >= 2
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for part in (
        "Declared contrasts",
        "Does the gain change with the size of the encoder?",
        "Scores on facts",
        HOSTILE,
    ):
        assert any(part in cell for cell in found.cells), part
    for number in ("active parameters (millions)", "not known to be zero-shot", "18 of 18 cells are done"):
        assert (number in text) == (number != "not known to be zero-shot")
    assert 'fill="#010203"' not in text
    assert "010203" not in text


def test_figures_come_with_their_numbers(page: Path, results: Results) -> None:
    folder = page.parent
    numbers = pd.read_csv(folder / "size-facts-facts-short.csv")
    hybrid = numbers[(numbers["method"] == "hybrid") & (numbers["measure"] == "Mul.") & (numbers["seed"] == 1)]
    assert hybrid["x"].tolist() == sorted(results.sizes.values())
    scores = results.scores[Key("facts", "h16", "facts", 1.0, "short", "hybrid", "plain")][1]
    assert hybrid["score"].iloc[1] == pytest.approx(scores["Mul."][1].mean())
    for csv in folder.glob("*.csv"):
        assert csv.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    rows = [line for line in re.sub(r"```.*?```", "", markdown, flags=re.DOTALL).splitlines() if "|" in line]
    assert len(rows) > 10
    assert all(line.startswith("| ") and line.endswith(" |") for line in rows)  # a cell in two lines breaks a table
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", markdown):
        assert (folder / picture).is_file()
    assert "<script>" not in re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)


def test_the_command_and_cells_that_are_not_done(study: Path, tmp_path: Path, st_hybrid: Callable[..., str]) -> None:
    shutil.copytree(study, tmp_path / "study")
    lost, failed, *_ = study_status(study)
    (tmp_path / "study" / "cells" / lost.cell / "cell.json").unlink()
    told = {"status": "failed", "error": "OSError: <b>no space</b>", "traceback": ""}
    (tmp_path / "study" / "cells" / failed.cell / "cell.json").write_text(json.dumps(told), encoding="utf-8")
    assert "report.html" in st_hybrid("report", tmp_path / "study", "--output", tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "16 of 18 cells are done" in text
    assert "OSError: &lt;b&gt;no space&lt;/b&gt;" in text
    assert "holds no study" in st_hybrid("report", tmp_path, status=1)


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1200])
def test_in_a_browser_nothing_overflows_and_nothing_fails(page: Path, width: int, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium")
    # Frames of this width: the window of a headless Chromium is at least 500 pixels wide. The frame has the page's text
    # without its policy, so that the outer page may measure it.
    text = page.read_text(encoding="utf-8")
    (tmp_path / "inner.html").write_text(re.sub(r"<meta http-equiv[^>]*>", "", text), encoding="utf-8")
    (tmp_path / "outer.html").write_text(
        f'<iframe src="inner.html" width="{width}" height="900" style="border:0"></iframe><script>onload=()=>{{'
        "const page=document.querySelector('iframe').contentDocument.documentElement;"
        "document.title=`${page.scrollWidth} ${page.clientWidth} ${page.ownerDocument.title}`}</script>",
        encoding="utf-8",
    )
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=3000", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "outer.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    title = re.search(r"<title>(\d+) (\d+) (.*?)</title>", done.stdout)
    assert title is not None, done.stdout[-500:]
    assert int(title[1]) <= int(title[2])
    assert title[3].startswith("Study study")
    assert "CONSOLE" not in done.stderr
