"""Compare the speed of MultilingualMultipleNegativesRankingLoss with that of sentence-transformers' losses.

Times the forward and backward pass from given embeddings. The two losses take turns in one process, so that other load
on the machine affects both. A batch of HybridBatchSampler has no shared cluster ("distinct"). A batch of another
sampler, or one with hard negatives, may have some ("shared"; the clusters of hard negatives are then random).

    python benchmarks/loss_speed.py --output benchmarks/results/loss_speed.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from torch import Tensor, nn

from st_hybrid import MultilingualMultipleNegativesRankingLoss
from st_hybrid.files import write_json
from st_hybrid.provenance import provenance

ALL_DIRECTIONS = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
# Name, texts per pair, arguments of both losses.
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


def compare(texts: int, options: dict[str, Any], shared: bool, args: argparse.Namespace) -> dict[str, Any]:
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
    ratios = [run[1] / run[0] for run in runs]
    return {
        "wrapped_ms": 1000 * statistics.median(run[0] for run in runs),
        "ours_ms": 1000 * statistics.median(run[1] for run in runs),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": statistics.quantiles(ratios, n=4)[::2],
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

    results: dict[str, dict[str, dict[str, Any]]] = {}
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
        record = {
            "what": "forward and backward pass from embeddings: median milliseconds, median of paired ratios",
            **provenance(),
            **{name: value for name, value in vars(args).items() if name != "output"},
            "results": results,
        }
        write_json(args.output, record)


if __name__ == "__main__":
    main()
