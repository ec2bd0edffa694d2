"""Time and memory of scoring XQuAD-R's 132 settings from given embeddings, beside pytrec_eval on a few of them.

Random embeddings in the shape of XQuAD-R: 1,190 questions in 11 languages, 13,014 passages, 384 dimensions.

    python benchmarks/scoring.py --output benchmarks/results/scoring.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytrec_eval
import torch
from rich.console import Console
from rich.table import Table

from st_hybrid.evaluation import PUBLISHED_COUNTS, RetrievalCollection, score_embeddings


def xquad_shape(seed: int) -> RetrievalCollection:
    """Languages, sizes and one relevant sentence per language and question, at random places."""
    rng = np.random.default_rng(seed)
    counts = PUBLISHED_COUNTS["XQuAD-R"]
    sizes = np.array([passages for _, passages in counts.values()])
    questions, languages = 1190, len(counts)
    first = np.cumsum(sizes) - sizes
    relevant = first + (rng.random((questions, languages)) * sizes).astype(int)
    query = np.arange(questions * languages)
    return RetrievalCollection(
        name="XQuAD-R shape",
        languages=tuple(counts),
        query_ids=[f"q{number}" for number in query % questions],
        queries=[""] * len(query),
        query_languages=query // questions,
        passage_ids=[f"c{number}" for number in range(sizes.sum())],
        passages=[""] * int(sizes.sum()),
        passage_languages=np.repeat(np.arange(languages), sizes),
        relevant_queries=np.repeat(query, languages),
        relevant_passages=relevant[query % questions].ravel(),
    )


def pytrec_eval_setting(
    queries: np.ndarray, passages: np.ndarray, collection: RetrievalCollection, pair: tuple[int, int]
) -> dict[str, float]:
    """Scores of one setting over full rankings by pytrec_eval, from the matrix product to the averages."""
    own = np.flatnonzero(collection.query_languages == pair[0])
    pool = np.flatnonzero(collection.passage_languages == pair[1])
    scores = queries[own] @ passages[pool].T
    names = [str(number) for number in pool]
    run = {str(q): dict(zip(names, row.tolist(), strict=True)) for q, row in zip(own, scores, strict=True)}
    qrels: dict[str, dict[str, int]] = {name: {} for name in run}
    kept = np.isin(collection.relevant_queries, own) & np.isin(collection.relevant_passages, pool)
    for q, c in zip(collection.relevant_queries[kept], collection.relevant_passages[kept], strict=True):
        qrels[str(q)][str(c)] = 1
    results = pytrec_eval.RelevanceEvaluator(qrels, {"map", "recall.1,10"}).evaluate(run)
    measures = {"map": "map", "recall_1": "recall_at_1", "recall_10": "recall_at_10"}
    return {ours: float(np.mean([row[theirs] for row in results.values()])) for theirs, ours in measures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", type=int, default=6, help="settings that pytrec_eval scores (default: 6)")
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the fastest counts (default: 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    load = os.getloadavg()[0]  # other work on the machine lengthens the wall time

    collection = xquad_shape(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    queries, passages = (
        matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
        for matrix in (
            rng.standard_normal((len(collection.queries), 384), dtype=np.float32),
            rng.standard_normal((len(collection.passages), 384), dtype=np.float32),
        )
    )
    wall, processor = [], []
    for _ in range(arguments.repeats):
        start, start_processor = time.perf_counter(), time.process_time()
        scores = score_embeddings(queries, passages, collection)
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    difference, start, start_processor = 0.0, time.perf_counter(), time.process_time()
    pairs = np.argwhere(np.ones((len(collection.languages),) * 2))
    for a, b in rng.permutation(pairs)[: arguments.settings].tolist():
        expected = pytrec_eval_setting(queries, passages, collection, (a, b))
        found = scores.per_pair[f"{collection.languages[a]}-{collection.languages[b]}"]
        difference = max(difference, *(abs(value - getattr(found, measure)) for measure, value in expected.items()))
    peer_wall, peer_processor = time.perf_counter() - start, time.process_time() - start_processor

    rows = [
        {
            "what": "score_embeddings",
            "settings": sum(scores.counts.settings.values()),
            "seconds": min(wall),
            "cpu_seconds": min(processor),
        },
        {
            "what": "pytrec_eval",
            "settings": arguments.settings,
            "seconds": peer_wall,
            "cpu_seconds": peer_processor,
        },
    ]
    table = Table("", "settings", "seconds", "CPU seconds", "ms per setting")
    for row in rows:
        each = 1000 * row["seconds"] / row["settings"]
        table.add_row(
            row["what"], str(row["settings"]), f"{row['seconds']:.2f}", f"{row['cpu_seconds']:.2f}", f"{each:.0f}"
        )
    console = Console()
    console.print(table)
    console.print(f"largest difference {difference:.1e}; peak memory of the process {peak / 1e9:.2f} GB (ours only)")
    if arguments.output:
        record = {
            "command": " ".join(["python", *sys.argv]),
            "date": date.today().isoformat(),
            "seed": arguments.seed,
            "versions": {name: version(name) for name in ("numpy", "torch", "sentence-transformers")}
            | {"pytrec_eval": pytrec_eval.__version__, "python": platform.python_version()},
            "threads": arguments.threads,
            "cores": os.cpu_count(),
            "load_before": round(load, 2),
            "results": rows,
            "largest_difference": difference,
            "peak_bytes": peak,
        }
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
