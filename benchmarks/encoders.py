"""Hybrid training of late-interaction and sparse encoders: retrieval on held-out rows before and after it.

    python benchmarks/encoders.py --model MODEL --data ROWS.jsonl.gz --output benchmarks/results/encoders.json

trains a ``MultiVectorEncoder`` and a ``SparseEncoder`` (CSR) on parallel rows, each for the same steps, and evaluates
both before and after on held-out groups.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from sentence_transformers import (
    MultiVectorEncoder,
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
    SparseEncoder,
    SparseEncoderTrainer,
    SparseEncoderTrainingArguments,
)
from sentence_transformers.sparse_encoder.losses import CSRLoss

from st_hybrid import HybridBatchSampler, MultilingualMultipleNegativesRankingLoss, parallel_pairs, split_groups
from st_hybrid.data import open_rows
from st_hybrid.evaluation import SETTINGS, RetrievalCollection, RetrievalScores, evaluate_retrieval
from st_hybrid.files import write_json
from st_hybrid.provenance import provenance


def headline(scores: RetrievalScores) -> dict[str, Any]:
    """The mAP of each setting, and the rank distance."""
    maps = {name: round(scores.by_setting[name].map, 4) for name in SETTINGS}
    return {"map": maps, "rank_distance": round(scores.rank_distance or 0, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or hub name of a transformer")
    parser.add_argument("--data", required=True, help="parallel rows")
    parser.add_argument("--languages", default="en,ja,ko,vi")
    parser.add_argument("--held-out", type=int, default=40, help="groups")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()

    rows = split_groups(open_rows(options.data, languages=options.languages.split(",")).rows, options.held_out)
    pairs, held_out = parallel_pairs(rows["train"]), RetrievalCollection.from_rows(rows["test"], name="held out")
    scores: dict[str, Any] = {}
    for kind in ("late interaction", "sparse"):
        torch.manual_seed(0)
        training: dict[str, Any] = {
            "per_device_train_batch_size": options.batch_size,
            "max_steps": options.steps,
            "learning_rate": 5e-5,
            "warmup_steps": 0.1,
            "batch_sampler": HybridBatchSampler,
            "save_strategy": "no",
            "report_to": "none",
            "seed": 0,
        }
        model: Any = (MultiVectorEncoder if kind == "late interaction" else SparseEncoder)(options.model)
        model.max_seq_length = 80
        scores[kind] = [headline(evaluate_retrieval(model, held_out))]
        began = time.perf_counter()
        loss: Any = MultilingualMultipleNegativesRankingLoss(model)
        with tempfile.TemporaryDirectory() as folder:
            if kind == "sparse":
                args = SparseEncoderTrainingArguments(folder, **training)
                SparseEncoderTrainer(model, args, pairs, loss=CSRLoss(model, loss)).train()
            else:
                args = MultiVectorEncoderTrainingArguments(folder, **training)
                MultiVectorEncoderTrainer(model, args, pairs, loss=loss).train()
        seconds = round(time.perf_counter() - began, 1)
        scores[kind] += [{**headline(evaluate_retrieval(model, held_out)), "training_seconds": seconds}]
    table = Table("encoder", "", "Mo.", "Cr.", "Mul.", "rank distance")
    for kind, both in scores.items():
        for when, one in zip(("untouched", "trained"), both, strict=True):
            table.add_row(kind, when, *(f"{value:.3f}" for value in one["map"].values()), f"{one['rank_distance']:.1f}")
    Console().print(table)
    if options.output:
        sizes = {
            "training_rows": len(rows["train"]),
            "queries": len(held_out.queries),
            "passages": len(held_out.passages),
        }
        settings = {
            **vars(options),
            "output": None,
            "seed": 0,
            "model": Path(options.model).name,
            "data": Path(options.data).name,
        }
        write_json(options.output, {"settings": settings, **sizes, **provenance(), "scores": scores})


if __name__ == "__main__":
    main()
