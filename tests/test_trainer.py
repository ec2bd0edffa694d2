from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer.losses import (
    CosineSimilarityLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from transformers import TrainerCallback

from st_hybrid import (
    HybridBatchSampler,
    HybridTrainer,
    MultilingualMultipleNegativesRankingLoss,
    StepwiseProportionalBatchSampler,
    parallel_pairs,
)

from .recorded_training import RecordingLoss, parallel_rows, read_record, train

SCRIPT = Path(__file__).with_name("recorded_training.py")
CHILD_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
SERIES = ("loss_monolingual", "loss_cross_lingual")


def arguments(folder: Path, **options: Any) -> SentenceTransformerTrainingArguments:
    defaults: dict[str, Any] = {
        "per_device_train_batch_size": 4,
        "logging_steps": 3,
        "max_steps": 15,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "save_strategy": "no",
    }
    return SentenceTransformerTrainingArguments(str(folder), **{**defaults, **options})


class Reporter(TrainerCallback):
    """Stands where TensorBoard and the others do, and keeps what it is shown."""

    def __init__(self) -> None:
        self.logs: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.logs.append(dict(logs))


def kind_of(batch: dict[str, Any]) -> str:
    same = {query == passage for _, query, passage in batch["labels"]}
    assert len(same) == 1, "a batch of two kinds"
    return "loss_monolingual" if same.pop() else "loss_cross_lingual"


def expected_series(batches: list[dict[str, Any]], window: int) -> list[dict[str, float]]:
    expected = []
    for start in range(0, len(batches), window):
        losses: dict[str, list[float]] = {}
        for batch in batches[start : start + window]:
            losses.setdefault(kind_of(batch), []).append(batch["loss"])
        expected.append({kind: sum(values) / len(values) for kind, values in losses.items()})
    return expected


def logged_series(log_history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{key: log[key] for key in SERIES if key in log} for log in log_history if "loss" in log]


def assert_series(log_history: list[dict[str, float]], batches: list[dict[str, Any]], window: int) -> None:
    logged, expected = logged_series(log_history), expected_series(batches, window)
    assert len(logged) == len(expected)
    for found, wanted in zip(logged, expected, strict=True):
        assert found == pytest.approx(wanted, rel=1e-5)
    assert {key for log in logged for key in log} == set(SERIES)


def assert_means_fit_the_loss(log: dict[str, float], batches: int) -> None:
    """The loss is the mean over the batches: the means of the kinds, weighted by whole numbers of batches."""
    means = [log[key] for key in SERIES if key in log]
    shares = [(1.0,)] if len(means) == 1 else [(n / batches, 1 - n / batches) for n in range(1, batches)]
    losses = [sum(share * mean for share, mean in zip(part, means, strict=True)) for part in shares]
    assert any(log["loss"] == pytest.approx(loss, rel=1e-5) for loss in losses)


def test_a_training_logs_the_mean_loss_of_each_kind_of_batch(tiny_model: SentenceTransformer, tmp_path: Path) -> None:
    reporter = Reporter()
    trainer = HybridTrainer(
        model=tiny_model,
        args=arguments(tmp_path),
        train_dataset=parallel_pairs(parallel_rows()),
        loss=RecordingLoss(tiny_model, tmp_path / "record"),
        callbacks=[reporter],
    )
    trainer.train()
    batches = read_record(tmp_path / "record")
    assert len(batches) == 15
    assert_series(trainer.state.log_history, batches, window=3)
    assert logged_series(reporter.logs) == logged_series(trainer.state.log_history)
    # Together they are the loss.
    for number, log in enumerate(log for log in trainer.state.log_history if "loss" in log):
        window = batches[3 * number : 3 * number + 3]
        assert log["loss"] == pytest.approx(sum(batch["loss"] for batch in window) / 3, rel=1e-5)


def test_the_series_with_gradient_accumulation(tiny_model: SentenceTransformer, tmp_path: Path) -> None:
    trainer = HybridTrainer(
        model=tiny_model,
        args=arguments(tmp_path, gradient_accumulation_steps=2, max_steps=6),
        train_dataset=parallel_pairs(parallel_rows()),
        loss=RecordingLoss(tiny_model, tmp_path / "record"),
    )
    trainer.train()
    assert_series(trainer.state.log_history, read_record(tmp_path / "record"), window=6)


def test_a_second_training_starts_its_series_afresh(tiny_model: SentenceTransformer, tmp_path: Path) -> None:
    trainer = HybridTrainer(
        model=tiny_model,
        args=arguments(tmp_path, max_steps=5),  # leaves two steps that no log shows
        train_dataset=parallel_pairs(parallel_rows()),
        loss=RecordingLoss(tiny_model, tmp_path / "record"),
    )
    trainer.train()
    trainer.train()
    batches = read_record(tmp_path / "record")[5:8]
    assert logged_series(trainer.state.log_history) == [pytest.approx(expected_series(batches, 3)[0], rel=1e-5)]


def test_evaluation_losses_stay_out_of_the_series(tiny_model: SentenceTransformer, tmp_path: Path) -> None:
    pairs = parallel_pairs(parallel_rows())
    trainer = HybridTrainer(
        model=tiny_model,
        args=arguments(tmp_path, eval_strategy="steps", eval_steps=2, max_steps=6, per_device_eval_batch_size=4),
        train_dataset=pairs,
        eval_dataset=pairs,
    )
    trainer.train()
    history = trainer.state.log_history
    assert sum("eval_loss" in log for log in history) == 3
    trained = [log for log in history if "loss" in log]
    assert [log["step"] for log in trained] == [3, 6]
    for log in trained:
        assert_means_fit_the_loss(log, batches=3)


def test_a_dataset_dict_trains_with_one_loss_or_one_each(tiny_model: SentenceTransformer, tmp_path: Path) -> None:
    pairs = DatasetDict(help=parallel_pairs(parallel_rows()), faq=parallel_pairs(parallel_rows(8)))
    shared = MultilingualMultipleNegativesRankingLoss(tiny_model)
    own = {"help": shared, "faq": MultilingualMultipleNegativesRankingLoss(tiny_model, mini_batch_size=2)}
    for loss in (shared, own):
        trainer = HybridTrainer(model=tiny_model, args=arguments(tmp_path), train_dataset=pairs, loss=loss)
        trainer.train()
        assert trainer.args.multi_dataset_batch_sampler is StepwiseProportionalBatchSampler
        logs = [log for log in trainer.state.log_history if "loss" in log]
        assert len(logs) == 5
        for log in logs:
            assert_means_fit_the_loss(log, batches=3)


def test_defaults_and_the_callers_arguments(tiny_model: SentenceTransformer, tmp_path: Path) -> None:
    pairs = parallel_pairs(parallel_rows())
    args = arguments(tmp_path)
    trainer = HybridTrainer(tiny_model, args, pairs)
    assert trainer.args.batch_sampler is HybridBatchSampler
    assert type(trainer.loss) is MultilingualMultipleNegativesRankingLoss
    assert args.batch_sampler == BatchSamplers.BATCH_SAMPLER

    mine = partial(HybridBatchSampler, alpha=1)
    assert HybridTrainer(tiny_model, args, pairs, batch_sampler=mine).args.batch_sampler is mine
    assert HybridTrainer(tiny_model, arguments(tmp_path, batch_sampler=mine), pairs).args.batch_sampler is mine
    no_duplicates = arguments(tmp_path, batch_sampler="no_duplicates")
    assert HybridTrainer(tiny_model, no_duplicates, pairs).args.batch_sampler == BatchSamplers.NO_DUPLICATES


def test_any_loss_has_the_series(tiny_model: SentenceTransformer, tmp_path: Path) -> None:
    plain = MultipleNegativesRankingLoss(tiny_model)
    nested = MatryoshkaLoss(tiny_model, MultilingualMultipleNegativesRankingLoss(tiny_model), [32, 8])
    for loss in (plain, nested):
        trainer = HybridTrainer(tiny_model, arguments(tmp_path), parallel_pairs(parallel_rows()), loss=loss)
        trainer.train()
        logs = [log for log in trainer.state.log_history if "loss" in log]
        assert {key for log in logs for key in log} >= set(SERIES)
        for log in logs:
            assert_means_fit_the_loss(log, batches=3)


def test_mixed_batches_are_in_neither_mean(tiny_model: SentenceTransformer, tmp_path: Path) -> None:
    args = arguments(tmp_path, batch_sampler="no_duplicates", max_steps=9)
    trainer = HybridTrainer(
        tiny_model, args, parallel_pairs(parallel_rows()), loss=RecordingLoss(tiny_model, tmp_path / "record")
    )
    trainer.train()
    batches = read_record(tmp_path / "record")
    kinds = [{query == passage for _, query, passage in batch["labels"]} for batch in batches]
    assert any(len(kind) == 2 for kind in kinds)
    one_kind = [
        [
            batch
            for batch, kind in zip(batches[start : start + 3], kinds[start : start + 3], strict=True)
            if len(kind) == 1
        ]
        for start in (0, 3, 6)
    ]
    expected = [series for part in one_kind for series in (expected_series(part, 3) or [{}])]
    assert logged_series(trainer.state.log_history) == [pytest.approx(series, rel=1e-5) for series in expected]


def test_languages_mixed_pair_by_pair_are_monolingual(tiny_model: SentenceTransformer, tmp_path: Path) -> None:
    """The X-X batches of LAReQA."""
    sampler = partial(HybridBatchSampler, alpha=1, language_sampling="mixed")
    trainer = HybridTrainer(tiny_model, arguments(tmp_path), parallel_pairs(parallel_rows()), batch_sampler=sampler)
    trainer.train()
    assert {key for log in logged_series(trainer.state.log_history) for key in log} == {"loss_monolingual"}


def test_data_of_another_origin_is_refused(tiny_model: SentenceTransformer, tmp_path: Path) -> None:
    other, pairs = Dataset.from_dict({"query": ["a"], "positive": ["b"]}), parallel_pairs(parallel_rows())
    for dataset, name in (
        (other, "train_dataset"),
        ({"one": other, "two": other}, r"train_dataset\['one'\]"),
        ({"mine": pairs, "rows": parallel_rows()}, r"train_dataset\['rows'\]"),
        ({"mine": pairs, "spoilt": pairs.with_format(None)}, r"train_dataset\['spoilt'\]"),
    ):
        with pytest.raises(ValueError, match=f"{name}: .* did not come from parallel_pairs"):
            HybridTrainer(tiny_model, arguments(tmp_path), dataset)


def ordinary() -> Dataset:
    """Scored sentence pairs, as of another task."""
    texts = [f"sentence {number}" for number in range(24)]
    return Dataset.from_dict({"sentence1": texts, "sentence2": texts[::-1], "score": [0.5] * 24})


@pytest.mark.parametrize("trainer_class", [HybridTrainer, SentenceTransformerTrainer])
@pytest.mark.parametrize("alone", [True, False])
def test_pairs_train_beside_ordinary_data_with_a_loss_of_their_own(
    tiny_model: SentenceTransformer, tmp_path: Path, trainer_class: type[SentenceTransformerTrainer], alone: bool
) -> None:
    """And evaluation data may be ordinary, or too small for a batch."""
    pairs = parallel_pairs(parallel_rows())
    args = arguments(tmp_path, max_steps=18, eval_strategy="steps", eval_steps=9, per_device_eval_batch_size=7)
    args.batch_sampler = HybridBatchSampler
    recording, other = RecordingLoss(tiny_model, tmp_path / "record"), CosineSimilarityLoss(tiny_model)
    data = {"pairs": pairs, "sts": ordinary()}
    held_out: Any = {"sts": ordinary(), "pairs": parallel_pairs(parallel_rows())}
    loss: Any = {"pairs": recording, "sts": other}
    if alone:
        data, loss, held_out = {"pairs": pairs}, recording, {"small": parallel_pairs(parallel_rows())}
    trainer = trainer_class(tiny_model, args, DatasetDict(data), held_out, loss)
    trainer.train()
    history = trainer.state.log_history
    assert sum(f"eval_{name}_loss" in log for log in history for name in held_out) == 2 * len(held_out)
    batches = read_record(tmp_path / "record")
    assert 9 <= len(batches) < 18 or alone
    assert {kind_of(batch) for batch in batches} == set(SERIES)
    if trainer_class is HybridTrainer:
        assert {key for log in logged_series(history) for key in log} == set(SERIES)


def test_an_ordinary_data_set_alone_is_evaluation_data(tiny_model: SentenceTransformer, tmp_path: Path) -> None:
    args = arguments(tmp_path, max_steps=2, eval_strategy="epoch")
    loss = MultipleNegativesRankingLoss(tiny_model)
    held_out = Dataset.from_dict({"query": ["a", "b"], "positive": ["c", "d"]})
    trainer = HybridTrainer(tiny_model, args, parallel_pairs(parallel_rows()), held_out, loss)
    trainer.train()
    assert 0 < trainer.evaluate()["eval_loss"] < 3


def test_evaluation_data_without_pairs_of_a_kind_are_refused_before_the_training(
    tiny_model: SentenceTransformer, tmp_path: Path
) -> None:
    pairs = parallel_pairs(parallel_rows())
    args = arguments(tmp_path, eval_strategy="steps", eval_steps=100)
    held_out = {"dev": pairs.select(range(len(parallel_rows())))}
    with pytest.raises(ValueError, match=r"^eval_dataset\['dev'\]: The data set has no cross-lingual pairs"):
        HybridTrainer(tiny_model, args, pairs, eval_dataset=held_out)


def test_training_data_too_small_for_a_batch_are_refused(tiny_model: SentenceTransformer, tmp_path: Path) -> None:
    data = {"small": parallel_pairs(parallel_rows())}
    with pytest.raises(ValueError, match=r"^train_dataset\['small'\]: it fills batches of 6 at most"):
        HybridTrainer(tiny_model, arguments(tmp_path, per_device_train_batch_size=7), data).train()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": {"anchor": "query: "}}, "prompts has the key 'anchor', but the columns are positive, query"),
        ({"prompts": {"mine": {"query": "q", "pos": "p"}}}, "prompts has the key 'pos', but the columns are positive"),
        ({"router_mapping": {"question": "query"}}, "router_mapping has the key 'question'"),
    ],
)
def test_prompts_of_columns_that_the_pairs_do_not_have_are_refused(
    tiny_model: SentenceTransformer, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """Pairs call their columns query and positive, whatever the rows call them."""
    rows = parallel_rows().rename_column("query", "anchor")
    data = {"mine": parallel_pairs(rows, query_column="anchor"), "sts": ordinary()}
    with pytest.raises(ValueError, match=message):
        HybridTrainer(tiny_model, arguments(tmp_path, **options), data)
    for prompts in ("text: ", {"query": "q", "sentence1": "s"}, {"mine": {"query": "q"}, "sts": {"sentence2": "s"}}):
        HybridTrainer(tiny_model, arguments(tmp_path, prompts=prompts), DatasetDict(data))


def test_the_model_card_names_and_cites_the_losses(tiny_model: SentenceTransformer, tmp_path: Path) -> None:
    trainer = HybridTrainer(tiny_model, arguments(tmp_path, max_steps=2), parallel_pairs(parallel_rows()))
    trainer.train()
    tiny_model.save_pretrained(str(tmp_path / "model"))
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "Loss: <code>st_hybrid.loss.MultilingualMultipleNegativesRankingLoss</code>" in card
    assert '"missing_labels": "error"' in card
    assert "- loss:MultilingualMultipleNegativesRankingLoss" in card
    assert card.count("eprint={2408.10536}") == 1
    assert card.count("eprint={1807.03748}") == 1


@pytest.mark.slow
def test_a_killed_training_resumes_with_the_batches_it_would_have_seen(tiny_model_path: Path, tmp_path: Path) -> None:
    train(tiny_model_path, tmp_path / "whole", tmp_path / "whole.record")
    whole = read_record(tmp_path / "whole.record")

    killed = tmp_path / "killed.record"
    with subprocess.Popen(
        [sys.executable, SCRIPT, tiny_model_path, tmp_path / "killed", killed, "--hang-after", "19"],
        env=CHILD_ENVIRONMENT,
    ) as process:
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            if killed.with_name("killed.record.0").exists() and len(read_record(killed)) == 19:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / "checkpoint-16").is_dir()
    assert read_record(killed) == whole[:19]

    # The checkpoint stands within the second epoch of 12 steps.
    resumed = train(tiny_model_path, tmp_path / "killed", tmp_path / "resumed.record", resume=True)
    assert resumed.state.global_step == 20
    assert read_record(tmp_path / "resumed.record") == whole[16:]


@pytest.mark.full
@pytest.mark.parametrize(("options", "steps"), [(["--parts", "2"], 16), (["--plain"], 8)], ids=["hybrid", "plain"])
def test_two_processes_resume_in_the_second_epoch(
    tiny_model_path: Path, tmp_path: Path, options: list[str], steps: int
) -> None:
    """With the batches that they would have seen; an epoch of each data set has 8 steps."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    resume = ["--batch-size", "3", "--max-steps", str(steps + 6), "--then-resume-from", str(steps + 4)]
    command = [*launcher, SCRIPT, tiny_model_path, tmp_path / "out", tmp_path / "record", *resume, *options]
    subprocess.run(command, env=CHILD_ENVIRONMENT, check=True, timeout=300)
    for rank in range(2):
        whole, again = read_record(tmp_path / "record", rank), read_record(tmp_path / "again", rank)
        assert len(whole) == steps + 6
        assert again == whole[steps + 4 :]
        assert [batch["queries"] for batch in again] != [batch["queries"] for batch in whole[4:6]]


@pytest.mark.full
def test_two_processes_train_on_one_kind_and_no_shared_passage_each_step(tiny_model_path: Path, tmp_path: Path) -> None:
    record = tmp_path / "record"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, SCRIPT, tiny_model_path, tmp_path / "out", record, "--batch-size", "3"]
    subprocess.run(command, env=CHILD_ENVIRONMENT, check=True, timeout=300)

    ranks = [read_record(record, rank) for rank in range(2)]
    assert [len(batches) for batches in ranks] == [20, 20]
    union = [
        {key: left[key] + right[key] for key in ("labels", "queries", "loss")}
        for left, right in zip(*ranks, strict=True)
    ]
    for step, left, right in zip(union, *ranks, strict=True):
        assert left != right
        clusters, query_languages, _ = zip(*step["labels"], strict=True)
        assert len(set(clusters)) == 6
        assert len({tuple(token for token in query if token) for query in step["queries"]}) == 6
        if kind_of(step) == "loss_monolingual":
            assert len(set(query_languages)) == 1
    assert {kind_of(step) for step in union} == set(SERIES)

    runs = [json.loads((tmp_path / "out" / f"run.{rank}").read_text()) for rank in range(2)]
    assert runs[0]["weights"] == pytest.approx(runs[1]["weights"], rel=1e-12)  # the wrapped model trained, in step
    for step in union:
        step["loss"] /= 2  # both ranks have equally many batches, so the mean of means is the mean
    assert_series(runs[0]["log_history"], union, window=5)
