"""How much slower than the loss it wraps is MultilingualMultipleNegativesRankingLoss?

Forward and backward pass from given embeddings, labels checked and losses counted as in training, against
sentence-transformers' own loss in the same process: the two take turns, so that whatever else the machine does hits
both. A batch of HybridBatchSampler has no shared cluster ("distinct"); one of another sampler may ("shared"), and so
may one with hard negatives, whose clusters are drawn at random then.

    python benchmarks/loss_speed.py --output benchmarks/results/loss_speed.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import sentence_transformers
import torch
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from torch import Tensor, nn

from st_hybrid import MultilingualMultipleNegativesRankingLoss

ALL_DIRECTIONS = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
# Name, texts a pair, arguments of both losses.
SETTINGS: list[tuple[str, int, dict[str, Any]]] = [
    ("pairs", 2, {}),
    ("pairs with a hard negative", 3, {}),
    ("pairs, all directions", 2, {"directions": ALL_DIRECTIONS}),
    ("pairs, cached, mini-batches of 128", 2, {"mini_batch_size": 128}),
]


class GivenEmbeddings(nn.Module):
    """A model whose features are the embeddings, so that only the loss takes time."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """The features as they are."""
        return features


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(step: Callable[[], Tensor], leaves: list[Tensor], device: str) -> float:
    for leaf in leaves:
        leaf.grad = None
    synchronize(device)
    start = time.perf_counter()
    step().backward()
    synchronize(device)
    return time.perf_counter() - start


def compare(texts: int, options: dict[str, Any], shared: bool, args: argparse.Namespace) -> dict[str, float]:
    model: Any = nn.Sequential(GivenEmbeddings())
    wrapped_class: Any = MultipleNegativesRankingLoss
    if "mini_batch_size" in options:
        wrapped_class = CachedMultipleNegativesRankingLoss
    wrapped, ours = wrapped_class(model, **options), MultilingualMultipleNegativesRankingLoss(model, **options)

    generator = torch.Generator().manual_seed(args.seed)
    leaves = [
        torch.randn(args.batch_size, args.dim, generator=generator).to(args.device).requires_grad_()
        for _ in range(texts)
    ]
    features = [{"sentence_embedding": leaf} for leaf in leaves]
    clusters = torch.randperm(args.batch_size, generator=generator)
    languages = torch.zeros(2, args.batch_size).long()
    negatives = torch.randint(args.batch_size, (texts - 2, args.batch_size), generator=generator)
    negatives = negatives if shared else negatives.fill_(-1)
    labels = torch.stack([clusters // (2 if shared else 1), *languages, *negatives], dim=1).to(args.device)

    runs: list[tuple[float, float]] = []
    for turn in range(args.warmup + args.repeats):
        order = [wrapped, ours] if turn % 2 else [ours, wrapped]
        took = {loss: seconds(lambda loss=loss: loss(features, labels), leaves, args.device) for loss in order}
        if turn >= args.warmup:
            runs.append((took[wrapped], took[ours]))
    return {
        "wrapped_ms": 1000 * statistics.median(run[0] for run in runs),
        "ours_ms": 1000 * statistics.median(run[1] for run in runs),
        "ratio": statistics.median(run[1] / run[0] for run in runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=100, help="timed runs of each loss")
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    results: dict[str, dict[str, dict[str, float]]] = {}
    for name, texts, options in SETTINGS:
        results[name] = {}
        for clusters in ("distinct", "shared"):
            result = results[name][clusters] = compare(texts, options, clusters == "shared", args)
            print(
                f"{name:36s} {clusters:9s} wrapped {result['wrapped_ms']:8.2f} ms  ours {result['ours_ms']:8.2f} ms  "
                f"ratio {result['ratio']:.3f}",
                flush=True,
            )
    if args.output:
        options = {name: value for name, value in vars(args).items() if name != "output"}
        command = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items())
        record = {
            "what": "forward and backward pass from embeddings: median milliseconds, median of paired ratios",
            "date": date.today().isoformat(),
            "command": f"python benchmarks/loss_speed.py {command}",
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "sentence-transformers": sentence_transformers.__version__,
            },
            "hardware": torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {os.cpu_count()} cores",
            **options,
            "results": results,
        }
        args.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
