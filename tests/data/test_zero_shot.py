"""A card claims what a valid report beside the data allows, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from datasets import Dataset

from st_hybrid.data.decontamination import decontaminate
from st_hybrid.data.evaluation_texts import read_evaluation_texts
from st_hybrid.data.write import write_rows
from st_hybrid.data.zero_shot import (
    carry_report,
    checked_sets,
    report_path,
    write_report,
    zero_shot,
    zero_shot_statement,
)
from st_hybrid.training import Recipe, finetune


@pytest.fixture
def clean(rows: Dataset, evaluation: Path, tmp_path: Path) -> Path:
    """A decontaminated file with its report beside it."""
    held_out = tmp_path / "held-out.txt"
    held_out.write_text("An unrelated text of some length, for a second set.\n", encoding="utf-8")
    sets = [read_evaluation_texts("XQuAD-R", evaluation, verify=False), read_evaluation_texts(str(held_out))]
    found = decontaminate(rows, sets)
    write_rows(found.clean, tmp_path / "clean.jsonl")
    write_report(found, "rows.jsonl", tmp_path / "clean.jsonl")
    return tmp_path / "clean.jsonl"


def test_a_report_beside_the_data_is_found(clean: Path) -> None:
    checked = checked_sets([clean])
    assert [one.name for one in checked] == ["XQuAD-R", "held-out.txt"]
    assert (checked[0].texts, checked[0].removed) == (6, 3)


def test_changed_data_and_unchecked_data_allow_no_claim(clean: Path, tmp_path: Path) -> None:
    unchecked = tmp_path / "unchecked.jsonl"
    unchecked.write_text(clean.read_text(encoding="utf-8"), encoding="utf-8")
    assert checked_sets([unchecked]) == []
    assert checked_sets([clean, unchecked]) == []
    assert checked_sets(["user/dataset"]) == []
    assert checked_sets([]) == []
    with clean.open("a", encoding="utf-8") as lines:
        lines.write("\n")
    assert checked_sets([clean]) == []


def test_a_report_holds_for_what_is_made_of_clean_rows(clean: Path, tmp_path: Path) -> None:
    mined, again, other = (tmp_path / name for name in ("mined.jsonl", "again.jsonl", "other.jsonl"))
    mined.write_text("mined\n", encoding="utf-8")
    assert carry_report(clean, mined)
    assert checked_sets([mined]) == checked_sets([clean])
    again.write_text("again\n", encoding="utf-8")
    assert carry_report(mined, again)
    assert checked_sets([again]) == checked_sets([clean])
    mined.write_text("something else\n", encoding="utf-8")
    assert checked_sets([mined]) == []
    assert not carry_report(mined, other)
    assert not report_path(other).exists()


def test_only_sets_that_all_data_were_checked_against_count(clean: Path, rows: Dataset, evaluation: Path) -> None:
    other = clean.with_name("other.parquet")
    found = decontaminate(rows, [read_evaluation_texts("XQuAD-R", evaluation, verify=False)])
    write_rows(found.clean, other)
    write_report(found, "rows.jsonl", other)
    checked = checked_sets([clean, other])
    assert [one.name for one in checked] == ["XQuAD-R"]
    assert checked[0].removed == 6


def test_a_folder_has_a_checksum_as_well(rows: Dataset, evaluation: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clean"
    found = decontaminate(rows, [read_evaluation_texts("XQuAD-R", evaluation, verify=False)])
    write_rows(found.clean, folder)
    write_report(found, "rows.jsonl", folder)
    assert [one.name for one in checked_sets([folder])] == ["XQuAD-R"]
    (folder / "more").write_text("x", encoding="utf-8")
    assert checked_sets([folder]) == []


def test_a_broken_report_is_an_error(clean: Path) -> None:
    for text in ("{}", "[]", "no JSON"):
        report_path(clean).write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="not a report"):
            checked_sets([clean])


def test_the_card_says_what_is_zero_shot(tiny_model_path: Path, clean: Path, rows: Dataset, tmp_path: Path) -> None:
    recipe = Recipe(batch_size=4, max_steps=2)
    finetune(tiny_model_path, rows, tmp_path / "unchecked", recipe)
    finetune(tiny_model_path, rows, tmp_path / "checked", recipe, checked=checked_sets([clean]))
    cards = {name: (tmp_path / name / "README.md").read_text(encoding="utf-8") for name in ("unchecked", "checked")}
    assert "The training rows were not checked against evaluation sets." in cards["unchecked"]
    unknown = f"what {tiny_model_path} was trained on is not known"
    doubt = "the training rows were not checked against XQuAD-R"
    assert f"- XQuAD-R: not known to be zero-shot: {doubt}; {unknown}." in cards["unchecked"]
    assert "checked against XQuAD-R (6 texts, SHA-256 `" in cards["checked"]
    assert "which removed 3 rows" in cards["checked"]
    assert f"- XQuAD-R: not known to be zero-shot: {unknown}." in cards["checked"]
    assert (
        f"- held-out.txt: not known to be zero-shot: mteb's metadata do not know held-out.txt; {unknown}."
        in cards["checked"]
    )
    assert zero_shot_statement(tmp_path / "checked") in cards["checked"]
    told = json.loads((tmp_path / "checked" / "training.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in told["checked_against"]] == ["XQuAD-R", "held-out.txt"]


def trained(folder: Path, model: str, *checked: str) -> Path:
    """What the command ``train`` writes on a run."""
    folder.mkdir(parents=True)
    told = {"settings": {"model": model}, "checked_against": [{"name": name} for name in checked]}
    (folder / "training.json").write_text(json.dumps(told), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("model", "evaluation", "claim", "reason"),
    [
        ("intfloat/multilingual-e5-small", "XQuAD-R", False, "was trained on XQuADRetrieval, by mteb's metadata"),
        ("intfloat/multilingual-e5-small", "MIRACL", False, "MIRACLRetrieval.*, MrTidyRetrieval"),
        ("intfloat/multilingual-e5-small", "MLQA-R", True, "was not trained on it, by mteb's metadata"),
        ("sentence-transformers/LaBSE", "XQuAD-R", True, "LaBSE was not trained on it"),
        ("sentence-transformers/LaBSE", "held-out.txt", None, "do not know held-out.txt"),
        ("nobody/knows-it", "XQuAD-R", None, "what nobody/knows-it was trained on is not known"),
        ("/no/such/folder", "XQuAD-R", None, "what /no/such/folder was trained on is not known"),
    ],
)
def test_what_encoders_were_trained_on(model: str, evaluation: str, claim: bool | None, reason: str) -> None:
    found = zero_shot(model, evaluation)
    assert found.claim is claim
    assert re.search(reason, found.reason)


def test_a_trained_model_is_its_rows_and_its_encoder(tmp_path: Path) -> None:
    labse = trained(tmp_path / "labse", "sentence-transformers/LaBSE", "XQuAD-R", "MLQA-R")
    e5 = trained(tmp_path / "e5", "intfloat/multilingual-e5-small", "XQuAD-R", "MLQA-R")
    again = trained(tmp_path / "again", str(labse), "MLQA-R")
    assert zero_shot(labse, "XQuAD-R").claim is True
    assert zero_shot(labse, "MIRACL").claim is None
    assert zero_shot(e5, "XQuAD-R").claim is False
    assert zero_shot(e5, "MLQA-R").claim is True
    assert zero_shot(again, "MLQA-R").claim is True
    assert zero_shot(again, "XQuAD-R").reason == "the training rows were not checked against XQuAD-R"


def test_other_folders_tell_at_most_what_they_were_made_from(tmp_path: Path) -> None:
    card = "---\nbase_model:\n- intfloat/multilingual-e5-small\n- sentence-transformers/LaBSE\n---\n# Merged\n"
    written = {
        "multilingual-e5-small/modules.json": "[]",
        "models--intfloat--multilingual-e5-small/snapshots/0a1b/modules.json": "[]",
        "named/config.json": json.dumps({"_name_or_path": "intfloat/multilingual-e5-small"}),
        "merged/README.md": card,
        "silent/README.md": "# A model\n",
        "chained/config.json": json.dumps({"_name_or_path": str(tmp_path / "merged")}),
    }
    for name, text in written.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        expected = None if name.startswith("silent") else False
        assert zero_shot(path.parent, "XQuAD-R").claim is expected, name
        assert zero_shot(path.parent, "MLQA-R").claim is None, name
