"""Search a million random vectors: mteb's search loop, mteb's faiss index, ours, and bare IndexFlatIP.

    python benchmarks/search.py --output benchmarks/results/search.json

Each runs in a process of its own, several times in turn. The model is free: "embeddings" are random unit vectors that
are made when they are asked for, and the time that this takes is left out. ``seconds`` is the search alone: for mteb's
loop what it logs as computing similarity, for its index ``add_documents`` and ``search``, for ours all of
``search_shards`` but the encoding, for bare faiss ``search``. ``call_seconds`` is the whole call of the two that take
texts, with what they do to 1,000,000 short texts beside, again without making vectors.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import re
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np

BLOCK = 10_000
DIMENSIONS, QUERIES, TOP_K = 384, 1_000, 1_000


def unit_vectors(start: int, stop: int) -> np.ndarray:
    """Random unit vectors of some rows, the same whatever rows are asked for with them."""
    blocks = []
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        vectors = np.random.default_rng((7, block)).standard_normal((BLOCK, DIMENSIONS), dtype=np.float32)
        low, high = max(start - block * BLOCK, 0), min(stop - block * BLOCK, BLOCK)
        blocks.append(vectors[low:high])
    made = np.concatenate(blocks)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def query_vectors() -> np.ndarray:
    """Random unit vectors of the queries."""
    vectors = np.random.default_rng(8).standard_normal((QUERIES, DIMENSIONS), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class FreeEncoder:
    """An encoder for mteb whose documents are row numbers; knows how long making vectors took."""

    def __init__(self) -> None:
        from mteb.models import ModelMeta
        from mteb.models.model_meta import ScoringFunction

        self.seconds = 0.0
        self.mteb_model_meta = ModelMeta.create_empty(
            overwrites={"name": "benchmark/free", "revision": "1", "similarity_fn_name": ScoringFunction.COSINE}
        )

    def encode(self, inputs: Any, *, prompt_type: Any, **kwargs: Any) -> np.ndarray:
        """The vectors of the inputs; a document's text is its row number."""
        began = time.perf_counter()
        texts = inputs.dataset["text"][:]
        if not texts[0].isdigit():  # the probes of the fingerprint
            return unit_vectors(0, len(texts))
        rows = np.asarray(texts, dtype=np.int64)
        start = int(rows.min())
        if prompt_type.value == "query":
            vectors = query_vectors()[rows]
        else:
            vectors = unit_vectors(start, int(rows.max()) + 1)[rows - start]
        self.seconds += time.perf_counter() - began
        return vectors

    def similarity(self, first: Any, second: Any) -> Any:
        """Cosine similarity, as sentence-transformers computes it."""
        from sentence_transformers.util import cos_sim

        return cos_sim(first, second)

    def similarity_pairwise(self, first: Any, second: Any) -> Any:
        """Cosine similarity of pairs."""
        from sentence_transformers.util import pairwise_cos_sim

        return pairwise_cos_sim(first, second)


def texts(rows: int) -> tuple[Any, Any]:
    """Queries and corpus, each text its number."""
    from datasets import Dataset

    numbers = [str(number) for number in range(rows)]
    corpus = Dataset.from_dict({"id": numbers, "title": [""] * rows, "text": numbers})
    return Dataset.from_dict({"id": numbers[:QUERIES], "text": numbers[:QUERIES]}), corpus


def task_arguments() -> dict[str, Any]:
    """The arguments with which mteb describes a task to a model that searches."""
    import mteb

    return {
        "task_metadata": mteb.get_task("MIRACLRetrieval").metadata,
        "hf_split": "dev",
        "hf_subset": "sw",
        "encode_kwargs": {"batch_size": 1024, "show_progress_bar": False},
    }


def as_rows(found: dict[str, dict[str, float]]) -> np.ndarray:
    """Row numbers, best first, from mteb's results."""
    return np.asarray([[int(i) for i in sorted(scores, key=lambda name: -scores[name])] for scores in found.values()])


def mteb_loop(rows: int) -> dict[str, Any]:
    """Mteb's default: every query's best documents in a heap."""
    from mteb.models.search_wrappers import SearchEncoderWrapper

    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger = logging.getLogger("mteb.models.search_wrappers")
    logger.addHandler(Lines())
    logger.setLevel(logging.INFO)
    queries, corpus = texts(rows)
    context = task_arguments()
    encoder = FreeEncoder()
    search = SearchEncoderWrapper(encoder)
    began = time.perf_counter()
    search.index(corpus, **context)
    found = search.search(queries, top_k=TOP_K, **context)
    call = time.perf_counter() - began - encoder.seconds
    (seconds,) = re.findall(r"Searched .* computing similarity took ([\d.]+)s", "\n".join(lines))
    return {"seconds": float(seconds), "call_seconds": call, "rows": as_rows(found)}


def mteb_index(rows: int) -> dict[str, Any]:
    """Mteb's faiss index, with all embeddings in memory."""
    from mteb.models.search_encoder_index import FaissSearchIndex

    index = FaissSearchIndex(FreeEncoder())
    vectors, queries = unit_vectors(0, rows), query_vectors()
    began = time.perf_counter()
    index.add_documents(vectors, [str(number) for number in range(rows)])
    _, found = index.search(queries, TOP_K, similarity_fn=lambda first, second: first)
    return {"seconds": time.perf_counter() - began, "rows": np.asarray(found)}


def ours(rows: int) -> dict[str, Any]:
    """Shard by shard, as the task MIRACL searches."""
    from st_hybrid.search.nearest import search_shards
    from st_hybrid.search.shards import EmbeddingShards

    _, corpus = texts(rows)
    spent = 0.0

    def encode(numbers: list[str]) -> np.ndarray:
        nonlocal spent
        began = time.perf_counter()
        vectors = unit_vectors(int(numbers[0]), int(numbers[-1]) + 1)
        spent += time.perf_counter() - began
        return vectors

    queries, shards = query_vectors(), EmbeddingShards(corpus, encode, "free", 1 << 18)
    began = time.perf_counter()
    found = search_shards(queries, shards, TOP_K, show_progress_bar=False)
    return {"seconds": time.perf_counter() - began - spent, "rows": found.rows}


def ours_in_mteb(rows: int) -> dict[str, Any]:
    """The same through mteb's protocol, as a model that searches."""
    from st_hybrid.tasks import ShardedSearch

    queries, corpus = texts(rows)
    context = task_arguments()
    encoder = FreeEncoder()
    search = ShardedSearch(encoder)
    began = time.perf_counter()
    search.index(corpus, **context)
    found = search.search(queries, top_k=TOP_K, **context)
    return {"call_seconds": time.perf_counter() - began - encoder.seconds, "rows": as_rows(found)}


def bare_faiss(rows: int) -> dict[str, Any]:
    """Faiss's own brute force over one array in memory."""
    import faiss

    index = faiss.IndexFlatIP(DIMENSIONS)
    index.add(unit_vectors(0, rows))
    began = time.perf_counter()
    _, found = index.search(query_vectors(), TOP_K)
    return {"seconds": time.perf_counter() - began, "rows": found}


WAYS = {way.__name__: way for way in (mteb_loop, mteb_index, ours, ours_in_mteb, bare_faiss)}


def child(name: str, rows: int, pipe: Any) -> None:
    """Run one way and send what it found and what it took."""
    datasets.disable_progress_bars()
    result = WAYS[name](rows)
    pipe.send({**result, "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20})


def main() -> None:
    """Run every way in turn and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
    for _ in range(given.repeats):
        for name in WAYS:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=child, args=(name, given.rows, sender))
            process.start()
            sender.close()  # so that a process that dies ends the wait
            runs[name].append(receiver.recv())
            process.join()
            print(name, {key: value for key, value in runs[name][-1].items() if key != "rows"}, flush=True)

    exact = runs["bare_faiss"][0]["rows"]
    ways = {}
    for name, results in runs.items():
        medians = {
            key: round(statistics.median(result[key] for result in results), 2)
            for key in ("seconds", "call_seconds", "peak_gb")
            if key in results[0]
        }
        same = float(
            np.mean([[len(np.intersect1d(a, b)) for a, b in zip(r["rows"], exact, strict=True)] for r in results])
        )
        ways[name] = {**medians, "share_of_exact_rows": same / TOP_K}
    speed = {
        "mteb_loop / ours": round(ways["mteb_loop"]["seconds"] / ways["ours"]["seconds"], 2),
        "mteb_loop / ours, whole calls": round(
            ways["mteb_loop"]["call_seconds"] / ways["ours_in_mteb"]["call_seconds"], 2
        ),
        "ours / bare_faiss": round(ways["ours"]["seconds"] / ways["bare_faiss"]["seconds"], 2),
    }
    # Memory must not grow with the corpus.
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=child, args=("ours", 4 * given.rows, sender))
    process.start()
    sender.close()
    four = receiver.recv()
    process.join()
    ways["ours"]["peak_gb_of_four_times_the_rows"] = round(four["peak_gb"], 2)
    print(json.dumps({"ways": ways, "ratios": speed}, indent=2))
    if given.output:
        from st_hybrid.files import write_json
        from st_hybrid.provenance import provenance

        setting = {"rows": given.rows, "dimensions": DIMENSIONS, "queries": QUERIES, "top_k": TOP_K}
        report = {**provenance(), "setting": {**setting, "repeats": given.repeats}, "ways": ways, "ratios": speed}
        write_json(given.output, report)


if __name__ == "__main__":
    main()
