"""Rows that share text with an evaluation set are found, reported and left out, with all that belongs to them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from datasets import Dataset, concatenate_datasets

from st_hybrid.data.decontamination import decontaminate
from st_hybrid.data.evaluation_texts import EvaluationTexts, read_evaluation_texts
from st_hybrid.data.overlap import OverlapSettings
from st_hybrid.data.write import write_rows
from st_hybrid.data.zero_shot import report_path, write_report
from st_hybrid.files import sha256


def texts(*given: str, name: str = "held-out") -> EvaluationTexts:
    ids = [f"line {number}" for number in range(1, len(given) + 1)]
    return EvaluationTexts(name, pa.array(ids, pa.large_string()), pa.array(given, pa.large_string()))


def test_one_language_found_drops_the_group(rows: Dataset, evaluation: Path) -> None:
    found = decontaminate(rows, [read_evaluation_texts("XQuAD-R", evaluation, verify=False)])
    matches = found.matches.to_pylist()
    assert [(one["row"], one["id"], one["language"]) for one in matches] == [(10, "g3", "en")] * 2
    assert [one["column"] for one in matches] == ["query", "positive"]
    for match in matches:
        assert match["evaluation"] == "XQuAD-R"
        assert match["evaluation_id"].startswith("sentence en")
        assert match["kind"] == "near"
        assert 0.5 <= match["overlap"] < 1
    assert set(found.clean["id"]) == {f"g{number}" for number in range(8)} - {"g3"}
    assert found.clean["query"][:] == [text for text, one in zip(rows["query"], rows["id"], strict=True) if one != "g3"]
    assert (found.rows, found.groups, found.clean_groups) == (24, 8, 7)


def test_groups_of_the_same_passage_go_too(rows: Dataset) -> None:
    linked = Dataset.from_list(
        [{"id": "linked", "language": "de", "query": "Was ist hinter dem Rathaus?", "positive": rows[10]["positive"]}]
    )
    found = decontaminate(concatenate_datasets([rows, linked]), [texts(rows[9]["query"])], OverlapSettings(threshold=1))
    assert found.matches["id"].to_pylist() == ["g3"]
    assert found.matches["kind"].to_pylist() == ["exact"]
    assert not {"g3", "linked"} & set(found.clean["id"])
    assert len(found.clean) == 21


def test_negatives_are_looked_at_and_the_largest_overlap_told(rows: Dataset) -> None:
    passage = "An evaluation passage about the lighthouse keepers of the northern islands."
    with_negative = rows.add_column("negative_1", [passage if row == 5 else f"Nothing {row}." for row in range(24)])
    sets = [texts("Unrelated words stand here.", passage[:50], passage), texts(passage.upper(), name="other set")]
    matches = decontaminate(with_negative, sets).matches.to_pylist()
    told = [(one["row"], one["column"], one["evaluation"], one["evaluation_id"], one["kind"]) for one in matches]
    assert told == [(6, "negative_1", "held-out", "line 3", "exact"), (6, "negative_1", "other set", "line 1", "exact")]


def test_rows_that_share_nothing_stay_as_they_are(rows: Dataset) -> None:
    found = decontaminate(rows, [texts("Quite another subject, told in quite other words.")])
    assert not len(found.matches)
    assert found.clean.to_list() == rows.to_list()


def test_settings_reach_the_search(rows: Dataset) -> None:
    cut = rows[0]["positive"][:30]
    assert len(decontaminate(rows, [texts(cut)]).matches)
    assert not len(decontaminate(rows, [texts(cut)], OverlapSettings(min_letters=60)).matches)


def test_the_report_knows_the_data_the_sets_and_the_clean_file(rows: Dataset, evaluation: Path, tmp_path: Path) -> None:
    data, clean = tmp_path / "rows.jsonl", tmp_path / "clean.jsonl.gz"
    write_rows(rows, data)
    held_out = read_evaluation_texts("XQuAD-R", evaluation, verify=False)
    found = decontaminate(rows, [held_out])
    write_rows(found.clean, clean)
    write_report(found, data, clean)
    assert report_path(clean) == tmp_path / "clean.jsonl.gz.decontamination.json"
    report = json.loads(report_path(clean).read_text(encoding="utf-8"))
    assert [report[key] for key in ("data", "data_sha256", "rows", "groups")] == ["rows.jsonl", sha256(data), 24, 8]
    clean_keys = ("clean", "clean_sha256", "clean_rows", "clean_groups")
    assert [report[key] for key in clean_keys] == ["clean.jsonl.gz", sha256(clean), 21, 7]
    assert report["against"] == [{"name": "XQuAD-R", "texts": 6, "sha256": held_out.sha256}]
    assert report["settings"]["threshold"] == 0.5
    assert report["matches"] == found.matches.to_pylist()
    assert "st-hybrid" in report["provenance"]["versions"]


def test_no_evaluation_set_is_an_error(rows: Dataset) -> None:
    with pytest.raises(ValueError, match="at least one"):
        decontaminate(rows, [])
