"""A short hybrid training that writes down every batch; run by tests, in this process, another one or several."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.util.distributed import get_rank
from torch import Tensor

from st_hybrid import HybridBatchSampler, HybridTrainer, MultilingualMultipleNegativesRankingLoss, parallel_pairs

LANGUAGES = ("de", "el", "en", "th")


def parallel_rows(groups: int = 12, negatives: bool = False) -> Dataset:
    """Two questions on each passage, in four languages, with a hard negative each if asked for."""
    return Dataset.from_list(
        [
            {
                "id": group,
                "language": language,
                "query": f"{language} question {group}",
                "positive": f"{language} passage {group // 2}",
                **({"negative": f"{language} wrong {group}"} if negatives else {}),
            }
            for group in range(groups)
            for language in LANGUAGES
        ]
    )


class RecordingLoss(MultilingualMultipleNegativesRankingLoss):
    """The loss, which also writes each training batch to a file: labels, query tokens and value."""

    def __init__(
        self,
        model: SentenceTransformer,
        record: Path,
        hang_after: int | None = None,
        die_after: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(model, gather_across_devices=gather)
        self.record = record.with_name(f"{record.name}.{get_rank()}")
        self.hang_after, self.die_after = hang_after, die_after
        self.batches = 0

    def forward(self, sentence_features: Any, labels: Tensor | None = None) -> Tensor:
        loss = super().forward(sentence_features, labels)
        if not torch.is_grad_enabled():
            return loss
        assert labels is not None
        batch = {
            "labels": labels.tolist(),
            "queries": sentence_features[0]["input_ids"].tolist(),
            "loss": loss.item(),
        }
        with self.record.open("a") as file:
            file.write(json.dumps(batch) + "\n")
        self.batches += 1
        if self.batches == self.hang_after:
            time.sleep(600)  # until the test kills this process
        if self.batches == self.die_after and get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss


def read_record(record: Path, rank: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in record.with_name(f"{record.name}.{rank}").read_text().splitlines()]


def train(
    model: Path,
    output: Path,
    record: Path,
    *,
    resume: bool | str = False,
    hang_after: int | None = None,
    die_after: int | None = None,
    batch_size: int = 4,
    max_steps: int = 20,
    save_steps: int = 4,
    plain: bool = False,
    parts: int = 1,
    gather: bool = False,
    accumulation: int = 1,
    workers: int = 0,
    negatives: bool = False,
    groups: int = 12,
) -> SentenceTransformerTrainer:
    """Train, and write the batches of each process to ``record`` with the process's number behind it.

    A ``plain`` trainer is sentence-transformers' own; several ``parts`` are a ``DatasetDict``. With ``gather`` the
    training takes plain steps without dropout, to be compared with that of one process.
    """
    exact: dict[str, Any] = {"optim": "sgd", "lr_scheduler_type": "constant", "learning_rate": 1.0} if gather else {}
    args = SentenceTransformerTrainingArguments(
        str(output),
        per_device_train_batch_size=batch_size,
        max_steps=max_steps,
        save_strategy="steps",
        save_steps=save_steps,
        logging_steps=5,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        seed=3,
        batch_sampler=partial(HybridBatchSampler, alpha=0.4),
        gradient_accumulation_steps=accumulation,
        dataloader_num_workers=workers,
        **{"learning_rate": 1e-3, **exact},
    )
    data = {f"part {number}": parallel_pairs(parallel_rows(groups, negatives)) for number in range(parts)}
    encoder = SentenceTransformer(str(model), device="cpu")
    if gather:
        for module in encoder.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    trainer = (SentenceTransformerTrainer if plain else HybridTrainer)(
        model=encoder,
        args=args,
        train_dataset=data if parts > 1 else data["part 0"],
        loss=partial(RecordingLoss, record=record, hang_after=hang_after, die_after=die_after, gather=gather),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("record", type=Path)
    parser.add_argument("--hang-after", type=int)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--max-steps", type=int, default=20)
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--groups", type=int, default=12)
    parser.add_argument("--die-after", type=int)
    for flag in ("plain", "gather", "negatives", "resume"):
        parser.add_argument(f"--{flag}", action="store_true")
    parser.add_argument("--then-resume-from", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    given = vars(options)
    then_from = given.pop("then_resume_from")
    trained = train(**given)
    if then_from:
        again = {"record": options.record.with_name("again"), "resume": f"{options.output}/checkpoint-{then_from}"}
        train(**given | again)
    weights = torch.cat([parameter.detach().flatten() for parameter in trained.model.parameters()])
    options.output.joinpath(f"run.{get_rank()}").write_text(
        json.dumps({"log_history": trained.state.log_history, "weights": weights.double().pow(2).sum().item()})
    )
    if torch.distributed.is_initialized():
        # Threads of gloo seldom let a process end in peace ("terminate called without an active exception"). All is
        # written and compared by now, so it ends without asking them.
        torch.distributed.barrier()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
