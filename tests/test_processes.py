"""Trainings of several real processes: what each step and each epoch holds, and what one process would have done."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer

from .recorded_training import parallel_rows, read_record
from .test_trainer import CHILD_ENVIRONMENT, SCRIPT

pytestmark = pytest.mark.full
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
BATCH, STEPS = 2, 8


def launch(world: int, *arguments: Any, fails: bool = False) -> str:
    """Run processes, and give what they printed to standard error."""
    command = [*LAUNCHER, str(world), *map(str, arguments)]
    done = subprocess.run(command, env=CHILD_ENVIRONMENT, timeout=600, capture_output=True, text=True)
    assert (done.returncode != 0) == fails, done.stderr[-3000:]
    return done.stderr


def steps_of(record: Path, world: int) -> list[dict[str, Any]]:
    """The union of the processes' batches of each step."""
    ranks = [read_record(record, rank) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    return [
        {"labels": [one for rank in step for one in rank["labels"]], "queries": [texts(rank) for rank in step]}
        for step in zip(*ranks, strict=True)
    ]


def texts(batch: dict[str, Any]) -> list[tuple[int, ...]]:
    """The queries of a batch as their tokens, without padding."""
    return [tuple(token for token in query if token) for query in batch["queries"]]


OPTIONS: dict[str, list[str]] = {
    "trainer of sentence-transformers": ["--plain"],
    "gradient accumulation": ["--accumulation", "2", "--max-steps", str(STEPS // 2)],
    "two sets": ["--parts", "2"],
    "hard negatives, workers": ["--negatives", "--workers", "2"],
}


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_step_is_of_one_kind_and_an_epoch_is_that_of_one_process(
    options: list[str], world: int, tiny_model_path: Path, tmp_path: Path
) -> None:
    given = [tiny_model_path, tmp_path / "out", tmp_path / "record", "--groups", 24, "--max-steps", STEPS, *options]
    launch(world, SCRIPT, *given, "--batch-size", BATCH)
    steps = steps_of(tmp_path / "record", world)
    assert len(steps) == STEPS
    kinds = set()
    for step in steps:
        clusters, queries, passages, *_ = zip(*step["labels"], strict=True)
        together = [query for rank in step["queries"] for query in rank]
        assert len(set(clusters)) == len(set(together)) == world * BATCH
        monolingual = {query == passage for query, passage in zip(queries, passages, strict=True)}
        assert len(monolingual) == 1
        kinds |= monolingual
        if monolingual == {True}:
            assert len(set(queries)) == 1
    assert kinds == {True, False}

    given[1:3] = tmp_path / "one", tmp_path / "alone"
    launch(1, SCRIPT, *given, "--batch-size", world * BATCH)
    alone = [set(texts(batch)) for batch in read_record(tmp_path / "alone")]
    assert [{query for rank in step["queries"] for query in rank} for step in steps] == alone


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("plain", [False, True], ids=["ours", "sentence-transformers"])
def test_gathering_processes_train_like_one(world: int, plain: bool, tiny_model_path: Path, tmp_path: Path) -> None:
    """Loss and weights after some steps equal those of one process with the batch of all."""
    model = SentenceTransformer(str(tiny_model_path), device="cpu")
    model[0].model.config.attention_probs_dropout_prob = model[0].model.config.hidden_dropout_prob = 0.0
    model.save_pretrained(str(tmp_path / "model"))
    given = ["--groups", 24, "--max-steps", 4, "--gather", *(["--plain"] if plain else [])]
    several, one = tmp_path / "several", tmp_path / "one"
    launch(world, SCRIPT, tmp_path / "model", several, tmp_path / "record", "--batch-size", BATCH, *given)
    launch(1, SCRIPT, tmp_path / "model", one, tmp_path / "alone", "--batch-size", world * BATCH, *given)
    ranks = [read_record(tmp_path / "record", rank) for rank in range(world)]
    for step, alone in zip(zip(*ranks, strict=True), read_record(tmp_path / "alone"), strict=True):
        assert sum(rank["loss"] for rank in step) / world == pytest.approx(alone["loss"], abs=1e-5)
    start = sum(weight.detach().double().pow(2).sum().item() for weight in model.parameters())
    found = [json.loads((folder / "run.0").read_text())["weights"] for folder in (several, one)]
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert abs(found[1] / start - 1) > 1e-5  # it trained


@pytest.mark.parametrize("options", [[], ["--gather"]], ids=["alone", "gathered"])
def test_a_process_that_dies_ends_the_training_and_it_resumes(
    options: list[str], tiny_model_path: Path, tmp_path: Path
) -> None:
    given = ["--batch-size", BATCH, "--max-steps", 10, *options]
    launch(2, SCRIPT, tiny_model_path, tmp_path / "whole", tmp_path / "whole.record", *given)
    began = time.monotonic()
    dying = [SCRIPT, tiny_model_path, tmp_path / "out", tmp_path / "record", *given, "--die-after", "6"]
    assert "Signal 9 (SIGKILL) received by PID" in launch(2, *dying, fails=True)
    assert time.monotonic() - began < 120  # nobody waits for the dead
    again = [SCRIPT, tiny_model_path, tmp_path / "out", tmp_path / "again", *given, "--resume"]
    launch(2, *again)
    for rank in range(2):
        whole, resumed = read_record(tmp_path / "whole.record", rank), read_record(tmp_path / "again", rank)
        assert resumed == whole[4:]


def test_the_command_trains_in_processes(tiny_model_path: Path, tmp_path: Path) -> None:
    parallel_rows(40).to_json(tmp_path / "rows.jsonl", force_ascii=False)
    command = ["-m", "st_hybrid.cli", "train", "--model", tiny_model_path, "--data", tmp_path / "rows.jsonl"]
    launch(2, *command, "--output", tmp_path / "out", "--batch-size", 4, "--max-steps", 6, "--held-out", 8)
    run = json.loads((tmp_path / "out" / "training.json").read_text(encoding="utf-8"))
    assert (run["processes"], run["steps"]) == (2, 6)
    assert {"loss_monolingual", "loss_cross_lingual"} & set().union(*run["log"])
    assert (tmp_path / "out" / "model.safetensors").is_file()
