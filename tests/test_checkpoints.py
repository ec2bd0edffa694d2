"""A checkpoint counts when it is complete: what a kill leaves behind is passed over, and the run ends alike."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

from st_hybrid import HybridTrainer, parallel_pairs
from st_hybrid.checkpoints import last_complete_checkpoint
from st_hybrid.recipe import Recipe
from st_hybrid.training import finetune

ROWS = [
    {"id": number, "language": code, "query": query.format(number), "positive": positive.format(number)}
    for number in range(24)
    for code, query, positive in (("en", "Who is at {}?", "Mr {} is."), ("de", "Wer ist bei {}?", "Herr {} ist da."))
]
RECIPE = Recipe(batch_size=4, max_steps=6, learning_rate=1e-3, save_steps=2)


@pytest.fixture(scope="module")
def whole(tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that nothing disturbed, with the checkpoints 4 and 6; treat it as read-only."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    finetune(tiny_model_path, Dataset.from_list(ROWS), folder, RECIPE)
    return folder


@pytest.fixture
def killed(whole: Path, tmp_path: Path) -> Path:
    """The same without what a run writes at its end."""
    shutil.copytree(whole, tmp_path / "killed")
    for name in ("training.json", "model.safetensors", "README.md"):
        (tmp_path / "killed" / name).unlink()
    return tmp_path / "killed"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def assert_same_weights(one: Path, other: Path) -> None:
    states = [SentenceTransformer(str(path), device="cpu").state_dict() for path in (one, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0] | states[1])


def resumed_from(folder: Path) -> Any:
    run = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert run["steps"] == 6
    return run["resumed_from"]


@pytest.mark.parametrize(
    ("damage", "file", "said"),
    [
        (Path.unlink, "trainer_state.json", "trainer_state.json is missing or cut off"),
        (cut, "trainer_state.json", "trainer_state.json is missing or cut off"),
        (cut, "model.safetensors", "model.safetensors is cut off"),
        (cut, "optimizer.pt", "optimizer.pt is cut off"),
        (cut, "rng_state.pth", "rng_state.pth is cut off"),
        # A trainer removes an old checkpoint file by file.
        (Path.unlink, "optimizer.pt", "optimizer.* missing"),
        (Path.unlink, "scheduler.pt", "scheduler.pt.* missing"),
        (Path.unlink, "rng_state.pth", "rng_state.* missing"),
        (Path.unlink, "modules.json", "modules.json are missing"),
        (Path.unlink, "model.safetensors", "the weights are missing"),
    ],
)
def test_what_is_not_complete_is_passed_over(
    damage: Callable[[Path], None], file: str, said: str, killed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = killed / "checkpoints"
    assert last_complete_checkpoint(checkpoints) == str(checkpoints / "checkpoint-6")
    assert not caplog.records
    damage(checkpoints / "checkpoint-6" / file)
    assert last_complete_checkpoint(checkpoints) == str(checkpoints / "checkpoint-4")
    (record,) = caplog.records
    assert "checkpoint-6 is not complete" in record.getMessage()
    caplog.clear()
    damage(checkpoints / "checkpoint-4" / file)
    assert last_complete_checkpoint(checkpoints) is None
    assert "No checkpoint in" in caplog.records[-1].getMessage()


def test_a_folder_without_checkpoints(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "checkpoint-new").mkdir()
    assert last_complete_checkpoint(tmp_path) is None
    assert last_complete_checkpoint(tmp_path / "none") is None
    assert not caplog.records


def test_a_run_killed_while_it_wrote_a_checkpoint_ends_alike(killed: Path, whole: Path, tiny_model_path: Path) -> None:
    (killed / "checkpoints" / "checkpoint-6" / "trainer_state.json").unlink()
    cut(killed / "checkpoints" / "checkpoint-6" / "rng_state.pth")
    finetune(tiny_model_path, Dataset.from_list(ROWS), killed, RECIPE, resume=True)
    assert resumed_from(killed) == "checkpoint-4"
    assert_same_weights(killed, whole)
    assert last_complete_checkpoint(killed / "checkpoints") == str(killed / "checkpoints" / "checkpoint-6")


def test_a_run_killed_in_its_first_checkpoint_starts_anew(
    killed: Path, whole: Path, tiny_model_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (4, 6):
        (killed / "checkpoints" / f"checkpoint-{step}" / "trainer_state.json").unlink()
    finetune(tiny_model_path, Dataset.from_list(ROWS), killed, RECIPE, resume=True)
    assert resumed_from(killed) is None
    assert "the training starts anew" in caplog.text
    assert_same_weights(killed, whole)


@pytest.mark.parametrize("last", ["model", "summary"])
def test_a_run_killed_after_its_last_step_takes_no_other(
    last: str, killed: Path, whole: Path, tiny_model_path: Path
) -> None:
    if last == "summary":  # killed before the card had its part
        for name in ("training.json", "model.safetensors"):
            shutil.copy(whole / name, killed / name)
        (killed / "README.md").write_text("A card.", encoding="utf-8")
    finetune(tiny_model_path, Dataset.from_list(ROWS), killed, RECIPE, resume=True)
    assert resumed_from(killed) == "checkpoint-6"
    assert_same_weights(killed, whole)
    assert "## Hybrid batch training" in (killed / "README.md").read_text(encoding="utf-8")


def test_early_stopping_has_waited_before_the_kill_too(tiny_model_path: Path, tmp_path: Path) -> None:
    recipe = Recipe(batch_size=4, max_steps=200, learning_rate=0.5, save_steps=2, held_out=8, patience=2)
    rows = Dataset.from_list(ROWS)
    finetune(tiny_model_path, rows, tmp_path / "whole", recipe)
    end = json.loads((tmp_path / "whole" / "training.json").read_text(encoding="utf-8"))["steps"]
    for newest in (end, end - 2):
        shutil.copytree(tmp_path / "whole", tmp_path / f"{newest}")
        (tmp_path / f"{newest}" / "training.json").unlink()
        for path in (tmp_path / f"{newest}" / "checkpoints").glob("checkpoint-*"):
            if int(path.name.removeprefix("checkpoint-")) > newest:
                shutil.rmtree(path)
        finetune(tiny_model_path, rows, tmp_path / f"{newest}", recipe, resume=True)
        run = json.loads((tmp_path / f"{newest}" / "training.json").read_text(encoding="utf-8"))
        assert run["steps"] == end
        assert_same_weights(tmp_path / "whole", tmp_path / f"{newest}")


def test_a_trainer_of_a_script_resumes_from_the_last_complete_checkpoint(
    tiny_model_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = parallel_pairs(Dataset.from_list(ROWS))

    def trainer(**options: Any) -> HybridTrainer:
        args = SentenceTransformerTrainingArguments(
            str(tmp_path / "out"), per_device_train_batch_size=4, max_steps=6, save_steps=2, learning_rate=1e-3,
            use_cpu=True, report_to="none", disable_tqdm=True, **options
        )  # fmt: skip
        return HybridTrainer(SentenceTransformer(str(tiny_model_path), device="cpu"), args, pairs)

    with pytest.raises(ValueError, match="No valid checkpoint"):
        trainer().train(resume_from_checkpoint=True)
    once = trainer()
    once.train()
    (tmp_path / "out" / "checkpoint-6" / "trainer_state.json").unlink()
    for found in ("checkpoint-4", "checkpoint-6"):  # then the last step is done
        again = trainer()
        caplog.clear()
        done = again.train(resume_from_checkpoint=True)
        assert ("checkpoint-6 is not complete" in caplog.text) == (found == "checkpoint-4")
        assert done.global_step == again.state.global_step == 6
        assert all(map(torch.equal, once.model.state_dict().values(), again.model.state_dict().values()))
    assert trainer().train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2")).global_step == 6
