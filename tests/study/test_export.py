"""Results of a study in the layouts of other tools, read by these tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mteb
import pytest
import pytrec_eval
import yaml

from st_hybrid.study.cells import run_study
from st_hybrid.tasks import group_means

from ..stand_ins import publish
from ..tasks.conftest import write_lareqa

GRID: dict[str, Any] = {
    "data": {"facts": {"cldr": {"groups": 300}}},
    "methods": {"untouched": None},
    "budgets": {"short": {"steps": 3}},
    "evaluation": {"tasks": ["XQuAD-R"], "centers": ["evaluated"]},
}


@pytest.fixture
def study(tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XQuAD-R", "MLQA-R"):
        write_lareqa(tmp_path / "data", name)
    publish(tmp_path / "data", monkeypatch)
    grid = tmp_path / "grid.yaml"
    grid.write_text(yaml.safe_dump({**GRID, "models": {"small one": {"path": str(tiny_model_path)}}}), encoding="utf-8")
    (cell,) = run_study(grid, tmp_path / "study", data_dir=tmp_path / "data")
    assert cell.state == "done", cell.about
    return tmp_path / "study"


def scores_of(study: Path) -> dict[str, Any]:
    (path,) = study.glob("cells/*/scores.json")
    return json.loads(path.read_text(encoding="utf-8"))["tasks"]


def test_trec_tools_compute_the_scores_of_the_first_10(study: Path, st_hybrid: Callable[..., str]) -> None:
    printed = st_hybrid("study", "export", study, "--layout", "trec", "--output", study / "runs")
    assert "Wrote 6 files" in printed  # runs of two variants, and judgements, of two tasks
    (run,) = (study / "runs" / "XQuAD-R").glob("*-plain.run")
    with (study / "runs" / "XQuAD-R" / "qrels").open(encoding="utf-8") as lines:
        judged = pytrec_eval.parse_qrel(lines)
    with run.open(encoding="utf-8") as lines:
        found = pytrec_eval.parse_run(lines)
    evaluated = pytrec_eval.RelevanceEvaluator(judged, {"recall.10", "ndcg_cut.10"}).evaluate(found)
    expected = scores_of(study)["XQuAD-R"]["per_pair"]
    for language in ("en", "zh"):
        of_language = [scores for topic, scores in evaluated.items() if topic.startswith(f"{language}:")]
        for ours, theirs in (("recall_at_10", "recall_10"), ("ndcg_at_10", "ndcg_cut_10")):
            mean = sum(scores[theirs] for scores in of_language) / len(of_language)
            assert mean == pytest.approx(expected[f"{language}-multi"][ours], abs=1e-9)


def test_mteb_reads_a_cell_as_an_experiment(study: Path, st_hybrid: Callable[..., str]) -> None:
    st_hybrid("study", "export", study, "--layout", "mteb", "--output", study / "mteb")
    results = mteb.ResultCache(study / "mteb").load_results(
        models=["st-hybrid/small one"], tasks=["XQuAD-R"], load_experiments="match_name"
    )
    found = {model.model_meta.experiment_kwargs["variant"]: model for model in results.model_results}
    assert set(found) == {"plain", "centered: evaluated"}
    about = found["plain"].model_meta.experiment_kwargs
    assert (about["method"], about["seed"]) == ("untouched", 0)
    expected = scores_of(study)["XQuAD-R"]
    for variant, scores in (("plain", expected), ("centered: evaluated", expected["centered"]["evaluated"])):
        means = group_means(found[variant].task_results[0])
        for kind in ("monolingual", "cross_lingual", "multilingual"):
            assert means[kind]["map"] == pytest.approx(scores[kind]["map"], abs=1e-5)
        assert means["multilingual"]["rank_distance"] == pytest.approx(scores["rank_distance"], abs=1e-3)


def test_what_mteb_does_not_know_is_not_written(study: Path, st_hybrid: Callable[..., str]) -> None:
    grid = study / "grid.yaml"
    given = yaml.safe_load(grid.read_text(encoding="utf-8"))
    given["evaluation"]["sample"] = 5
    grid.write_text(yaml.safe_dump(given), encoding="utf-8")
    message = st_hybrid("study", "export", study, "--layout", "mteb", "--output", study / "mteb", status=1)
    assert "measured XQuAD-R or MLQA-R as a whole" in message
    assert not (study / "mteb").exists()
