"""The training command's library: what it writes, what it refuses, and that its options reach the trainer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import SentenceTransformer

from st_hybrid import split_groups
from st_hybrid.training import SAMPLERS, Recipe, _hold_out, finetune

QUICK = {"batch_size": 4, "max_steps": 4, "learning_rate": 1e-3, "eval_steps": 2}


@pytest.fixture(scope="module")
def rows() -> Dataset:
    templates = {"en": ("Who lives at {}?", "Mr {} does."), "de": ("Wer wohnt in {}?", "Herr {} tut es.")}
    return Dataset.from_list(
        [
            {"id": number, "language": language, "query": query.format(number), "positive": positive.format(number)}
            for number in range(24)
            for language, (query, positive) in templates.items()
        ]
    )


def summary(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return loaded


def test_writes_a_model_its_card_and_a_summary(tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    recipe = Recipe(held_out=6, scale=50.0, alpha=0.25, **QUICK)
    trained = finetune(tiny_model_path, rows, tmp_path / "out", recipe, data_name="door-plates")

    start, written = (SentenceTransformer(str(path), device="cpu") for path in (tiny_model_path, tmp_path / "out"))
    assert abs(start.encode("Mr 3 does.") - written.encode("Mr 3 does.")).max() > 1e-4
    assert abs(trained.encode("Mr 3 does.") - written.encode("Mr 3 does.")).max() < 1e-6

    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for part in (
        "door-plates",
        "sampler `hybrid` (alpha 0.25, uniform languages)",
        "scale 50",
        "MultilingualMultipleNegativesRankingLoss",
        "2408.10536",
        "multilingual_map",
    ):
        assert part in card, part

    told = summary(tmp_path / "out")
    assert told["steps"] == 4
    assert told["settings"]["alpha"] == 0.25
    assert {"st-hybrid", "torch"} <= set(told["versions"])
    measured = [entry for entry in told["log"] if "eval_held-out_multilingual_map" in entry]
    assert [entry["step"] for entry in measured] == [2, 4]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_draw_what_their_names_say(sampler: str, tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    recipe = Recipe(sampler=sampler, **{**QUICK, "max_steps": 10})
    finetune(tiny_model_path, rows, tmp_path / "out", recipe)
    series = {key for entry in summary(tmp_path / "out")["log"] for key in entry if key.startswith("loss_")}
    wanted = {
        "hybrid": {"loss_monolingual", "loss_cross_lingual"},
        "x-x-mono": {"loss_monolingual"},
        "x-x": {"loss_monolingual"},
        "x-y": {"loss_cross_lingual"},
    }
    assert series == wanted[sampler]


def test_options_reach_the_model(tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    recipe = Recipe(freeze_embeddings=True, max_length=16, mini_batch_size=2, query_prompt="ask: ", **QUICK)
    trained = finetune(tiny_model_path, rows, tmp_path / "out", recipe)
    start = SentenceTransformer(str(tiny_model_path), device="cpu")
    assert trained.transformers_model is not None
    assert start.transformers_model is not None
    before, after = (
        model.transformers_model.get_input_embeddings().weight
        for model in (start, trained)  # type: ignore[union-attr]
    )
    assert torch.equal(before, after)
    assert trained.max_seq_length == start.max_seq_length  # cut in training only
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "'query': 'ask: '" in card
    assert "CachedMultipleNegativesRankingLoss" in card


def test_hard_negatives_may_follow_the_query(tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    """Which changes cross-lingual batches, and no monolingual ones."""
    negative = {"en": "Nobody does.", "de": "Da wohnt niemand."}
    mined = rows.add_column("negative", [negative[code] for code in rows["language"]])
    first: dict[str, list[float]] = {"x-x-mono": [], "x-y": []}
    for sampler, losses in first.items():
        for side in ("positive", "query"):
            recipe = Recipe(sampler=sampler, negatives_follow=side, **QUICK)  # type: ignore[arg-type]
            finetune(tiny_model_path, mined, tmp_path / f"{sampler} {side}", recipe)
            logged = summary(tmp_path / f"{sampler} {side}")
            losses.append(logged["log"][0]["loss"])
            assert logged["settings"]["negatives_follow"] == side
    assert first["x-x-mono"][0] == first["x-x-mono"][1]
    assert first["x-y"][0] != first["x-y"][1]


def test_early_stopping_keeps_the_best_checkpoint(tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    recipe = Recipe(held_out=8, patience=2, **{**QUICK, "max_steps": 200, "learning_rate": 0.5})
    finetune(tiny_model_path, rows, tmp_path / "out", recipe)
    told = summary(tmp_path / "out")
    scores = {
        entry["step"]: entry["eval_held-out_multilingual_map"]
        for entry in told["log"]
        if "eval_held-out_multilingual_map" in entry
    }
    assert told["steps"] < 200
    best = max(scores, key=lambda step: (scores[step], -step))
    assert told["steps"] == best + 2 * 2


def test_a_folder_with_a_run_is_not_overwritten(tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    recipe = Recipe(**QUICK)
    finetune(tiny_model_path, rows, tmp_path / "out", recipe)
    with pytest.raises(FileExistsError, match="--resume"):
        finetune(tiny_model_path, rows, tmp_path / "out", recipe)
    with pytest.raises(ValueError, match="seed was 0 and is 1"):
        finetune(tiny_model_path, rows, tmp_path / "out", Recipe(seed=1, **QUICK), resume=True)


def test_unfit_options_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="x-z"):
        Recipe(sampler="x-z")
    with pytest.raises(ValueError, match="held-out"):
        Recipe(patience=3)


def test_several_sets_of_rows_are_trained_on_and_held_out_together(
    tiny_model_path: Path, rows: Dataset, tmp_path: Path
) -> None:
    """Each batch comes from one set; a held-out passage is in neither, though both number their groups alike."""
    # Half of the second set's passages are also the first's, under other questions.
    french = {"query": "Qui habite au {} ?", "positive": "Mr {} does."}
    other = Dataset.from_list(
        [{"id": n, "language": "fr", **{key: text.format(n) for key, text in french.items()}} for n in range(12, 36)]
        + [{"id": n, "language": "it", "query": f"Chi abita al {n}?", "positive": f"Il {n}."} for n in range(12, 36)]
    )
    sets = {"doors": rows, "user/more": other.add_column("negative", ["Nobody."] * 48)}
    recipe = Recipe(held_out=10, **{**QUICK, "max_steps": 12})
    finetune(tiny_model_path, DatasetDict(sets), tmp_path / "out", recipe)

    told = summary(tmp_path / "out")
    assert told["steps"] == 12
    assert told["settings"]["data"] == "doors, user/more"
    assert {entry["step"] for entry in told["log"] if "eval_held-out_multilingual_map" in entry}
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "of doors, user/more: sampler" in card
    for language in ("de", "en", "fr", "it"):
        assert f"- {language}\n" in card

    left, held = _hold_out(sets, 10, {}, seed=0)
    trained = [row for part in left.values() for row in part]
    assert {row["positive"] for row in held}.isdisjoint(row["positive"] for row in trained)
    assert sum(map(len, left.values())) + len(held) == len(rows) + len(other)
    assert all(len(part) < len(sets[name]) for name, part in left.items())
    # In one set the draw is that of split_groups.
    alone, held = _hold_out({"doors": rows}, 6, {}, seed=5)
    assert alone["doors"].to_list() == split_groups(rows, 6, seed=5)["train"].to_list()
    assert held["query"][:] == split_groups(rows, 6, seed=5)["test"]["query"][:]


def test_a_resumed_run_needs_the_same_source(tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    finetune(tiny_model_path, rows, tmp_path / "out", Recipe(**QUICK), source={"columns": {"query": "question"}})
    with pytest.raises(ValueError, match=r"source was .*question.* and is .*heading"):
        finetune(
            tiny_model_path,
            rows,
            tmp_path / "out",
            Recipe(**QUICK),
            source={"columns": {"query": "heading"}},
            resume=True,
        )
