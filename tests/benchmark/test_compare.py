from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from st_hybrid.benchmark import compare_scores
from st_hybrid.evaluation.results import MEASURES, MIXED_MEASURES


def write(path: Path, model: str, task: str = "faq", **changes: Any) -> Path:
    """A file of scores in two languages, all of one value."""
    means = dict.fromkeys(MEASURES, changes.pop("value", 0.5))
    part = {
        "monolingual": means,
        "multilingual": {**means, "peer_at_20": 0.25},
        "rank_distance": 1214.4,
        "foreign_recall_at_20": 0.375,
        "language_preference_rate": 0.75,
        "rank_correlation": -0.5,
        "per_pair": {"de-multi": {**means, "map": 0.125}, "en-multi": means, "en-en": means},
        "top_10_languages": {"de": {"de": 1.0, "en": 0.0}, "en": {"de": 0.5, "en": 0.5}},
        "counts": {"queries": {"de": 2, "en": 1000}, "passages": {"de": 5, "en": 6}, "settings": {}},
        **changes,
    }
    whole = {**part, "centered": {"evaluated": part}, "seconds": {}}
    path.write_text(json.dumps({"model": model, "dtype": "float32", "tasks": {task: whole}}), encoding="utf-8")
    return path


def test_two_models(tmp_path: Path) -> None:
    page = compare_scores([write(tmp_path / "a.json", "one|two"), write(tmp_path / "b.json", "b", value=0.25)])
    assert page.startswith("## faq\n\n1,002 queries and 11 passages in 2 languages.\n")
    for line in (
        "| one&#124;two | 0.500 |  | 0.500 | 0.500 | 0.500 |",
        "| one&#124;two, centered: evaluated | 0.500 |  | 0.500 | 0.500 | 0.500 |",
        "| b | 0.250 |  | 0.250 | 0.250 | 0.250 |",
        "|  | rank distance | PEER@20 | foreign recall@20 | language preference | rank correlation |",
        "| one&#124;two, centered: evaluated | 1,214 | 0.250 | 0.375 | 0.750 | -0.500 |",
        "| b | 1,214 | 0.250 | 0.375 | 0.750 | -0.500 |",
        "|  | one&#124;two | one&#124;two, centered: evaluated | b | b, centered: evaluated |",
        "| de | 0.125 | 0.125 | 0.125 | 0.125 |",
        "| en | 0.500 | 0.500 | 0.250 | 0.250 |",
    ):
        assert line in page.splitlines()


def test_a_file_from_before_a_measure_was_added(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", "a")
    content = json.loads(path.read_text(encoding="utf-8"))
    for measure in MIXED_MEASURES[1:]:
        del content["tasks"]["faq"][measure]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert "| a | 1,214 | 0.250 |  |  |  |" in compare_scores([path]).splitlines()


def test_other_texts_have_tables_of_their_own(tmp_path: Path) -> None:
    counts = {"queries": {"de": 3, "en": 1000}, "passages": {"de": 5, "en": 6}, "settings": {}}
    paths = [write(tmp_path / "a.json", "a"), write(tmp_path / "b.json", "b", counts=counts)]
    first, second = compare_scores([*paths, write(tmp_path / "c.json", "c")]).split("1,003 queries")
    assert first.count("| a | 0.5") == first.count("| c | 0.5") == 1
    assert second.count("| b | 0.5") == 1
    assert "| c |" not in second
    with pytest.raises(FileNotFoundError, match="There is no file"):
        compare_scores([tmp_path / "none.json"])


def test_miracl(tmp_path: Path) -> None:
    def scores(**languages: float) -> dict[str, Any]:
        one = {"recall_at_100": 0.5, "queries": 1, "passages": 2, "seconds": 3.0}
        per_language = {code: {"ndcg_at_10": value, **one} for code, value in languages.items()}
        return {"per_language": per_language, "means": {"all": {"ndcg_at_10": 0.375, "recall_at_100": 0.5}}}

    for name, part in (("a", scores(sw=0.5, yo=0.25)), ("b", scores(sw=0.125))):
        content = {"model": name, "dtype": "float32", "tasks": {"MIRACL": part}}
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    lines = compare_scores([tmp_path / "a.json", tmp_path / "b.json"]).splitlines()
    assert lines[-2:] == ["| sw | 0.500 | 0.125 |", "| yo | 0.250 |  |"]  # no mean over other languages
    assert compare_scores([tmp_path / "a.json"]).splitlines()[-1] == "| mean | 0.375 |"
