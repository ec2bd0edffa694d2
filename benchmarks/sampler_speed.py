"""Speed of the sampler and its peers on one million pairs, and the cost of pairs from a million parallel rows.

    python benchmarks/sampler_speed.py --output benchmarks/results/sampler_speed.json

All samplers draw whole epochs in turn, several times, in one process; the figures are medians. The peers are
sentence-transformers' DefaultBatchSampler, which draws pairs at random, and NoDuplicatesBatchSampler, which keeps equal
texts out of a batch and hashes all texts in its first epoch.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, load_from_disk
from rich.console import Console
from rich.table import Table
from sentence_transformers.base.sampler import DefaultBatchSampler, NoDuplicatesBatchSampler
from torch.utils.data import RandomSampler

from st_hybrid import HybridBatchSampler, parallel_pairs
from st_hybrid.files import write_json
from st_hybrid.pairs import pair_text
from st_hybrid.provenance import provenance

LANGUAGES = ["ar", "de", "el", "en", "es", "fr", "hi", "ru", "tr", "zh"]


def parallel_rows(groups: int, shared: bool) -> Dataset:
    """Groups in ten languages; if ``shared``, three per passage, and a tenth have the question of another group."""
    number = [group for group in range(groups) for _ in LANGUAGES]
    passage = [group // 3 if shared else group for group in number]
    question = [group % (groups * 9 // 10) if shared else group for group in number]
    language = LANGUAGES * groups
    return Dataset(
        pa.table(
            {
                "id": number,
                "language": language,
                "query": [f"What does entry {q} say in {x}?" for q, x in zip(question, language, strict=True)],
                "positive": [
                    f"Entry {p}, kept in {x}: " + "words " * (5 + p % 20)
                    for p, x in zip(passage, language, strict=True)
                ],
            }
        )
    )


def epochs(samplers: dict[str, Any], repeats: int) -> dict[str, list[float]]:
    """Rows per second of each sampler's epochs, drawn in turn."""
    rates: dict[str, list[float]] = {name: [] for name in samplers}
    for epoch in range(repeats):
        for name, sampler in samplers.items():
            sampler.set_epoch(epoch)
            began = time.perf_counter()
            rows = sum(len(batch) for batch in sampler)
            rates[name].append(rows / (time.perf_counter() - began))
    return rates


def speeds(groups: int, batch_size: int, repeats: int, shared: bool) -> dict[str, Any]:
    """Rows per second of all samplers on one corpus of ``100 * groups`` pairs."""
    pairs = parallel_pairs(parallel_rows(groups, shared))
    texts = Dataset.from_dict({name: values for name, values in pairs[:].items() if name != "label"})
    settings: dict[str, Callable[[], Any]] = {
        "HybridBatchSampler": lambda: HybridBatchSampler(pairs, batch_size, True),
        "HybridBatchSampler, alpha=1": lambda: HybridBatchSampler(pairs, batch_size, True, alpha=1),
        "HybridBatchSampler, alpha=0": lambda: HybridBatchSampler(pairs, batch_size, True, alpha=0),
        "DefaultBatchSampler": lambda: DefaultBatchSampler(RandomSampler(pairs), batch_size, True),
        "NoDuplicatesBatchSampler, hashed": lambda: NoDuplicatesBatchSampler(
            texts, batch_size, True, precompute_hashes=True, precompute_num_proc=1
        ),
    }
    samplers, setup = {}, {}
    for name, make in settings.items():
        began = time.perf_counter()
        samplers[name] = make()
        if "NoDuplicates" in name:
            sum(len(batch) for batch in samplers[name])  # its first epoch makes the hashes
        setup[name] = round(time.perf_counter() - began, 2)
    rates = {name: statistics.median(values) for name, values in epochs(samplers, repeats).items()}
    return {
        "pairs": len(pairs),
        "shared": shared,
        "rows_per_second": {name: round(rate) for name, rate in rates.items()},
        "setup_seconds": setup,
        "hybrid_over_default": round(rates["HybridBatchSampler"] / rates["DefaultBatchSampler"], 2),
        "hybrid_over_no_duplicates": round(rates["HybridBatchSampler"] / rates["NoDuplicatesBatchSampler, hashed"], 2),
    }


def million_rows(folder: str, results: Any) -> None:
    """Seconds, memory and bytes per pair of ``parallel_pairs`` on rows from a folder, in a process of its own."""
    rows = load_from_disk(folder)
    began = time.perf_counter()
    pairs = parallel_pairs(rows)
    seconds = time.perf_counter() - began
    beyond_text = pairs.data.nbytes + pair_text(pairs).keys.data.nbytes
    results.send(
        {
            "rows": len(rows),
            "pairs": len(pairs),
            "seconds": round(seconds, 2),
            "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            "bytes_per_pair": round(beyond_text / len(pairs), 2),
        }
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=10_000, help="groups of ten languages, a hundred pairs each")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()

    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        parallel_rows(given.groups * 10, shared=True).save_to_disk(folder)
        process = context.Process(target=million_rows, args=(folder, send))
        process.start()
        results: dict[str, Any] = {**provenance(), "batch_size": given.batch_size, "parallel_pairs": receive.recv()}
        process.join()
    results["samplers"] = [speeds(given.groups, given.batch_size, given.repeats, shared) for shared in (False, True)]

    table = Table(title=f"Rows per second, {results['samplers'][0]['pairs']:,} pairs, batches of {given.batch_size}")
    for header in ("", "nothing shared", "shared passages and questions"):
        table.add_column(header, justify="right" if header else "left")
    for name in results["samplers"][0]["rows_per_second"]:
        table.add_row(name, *(f"{part['rows_per_second'][name]:,}" for part in results["samplers"]))
    for ratio in ("hybrid_over_default", "hybrid_over_no_duplicates"):
        table.add_row(ratio.replace("_", " "), *(f"{part[ratio]:.2f}" for part in results["samplers"]))
    Console().print(table, results["parallel_pairs"])
    if given.output:
        write_json(given.output, results)
