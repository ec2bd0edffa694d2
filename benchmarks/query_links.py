"""Would one relation do for equal passages and equal queries? Clusters by passage, and by passage or query.

    python benchmarks/query_links.py data/help-parallel.jsonl.gz data/qa/* --output benchmarks/results/query-links.json

No two pairs of a batch may share a passage cluster or a query text. If groups with a query text in common belonged to
one cluster as well, the sampler could forget about query texts. The price is that clusters grow, and a batch takes one
row of a cluster. For each data set and batch size this script counts, over an epoch of monolingual batches:

* the batches that are lost because there are fewer clusters than a batch has rows,
* the rows whose turn is lost because their cluster has more rows than the epoch has batches.

The second count is also taken of the draw itself, which keeps two relations. Data sets are parallel rows as JSON lines
(English is measured), SQuAD's JSON, and generated rows of which a share has one of a few common questions, and the same
share one of a few common answers.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from rich.console import Console
from rich.table import Table
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from st_hybrid import HybridBatchSampler, parallel_pairs
from st_hybrid.draw import PairRows, Stream
from st_hybrid.files import write_json
from st_hybrid.grouping import Ints
from st_hybrid.provenance import provenance
from st_hybrid.rows import ParallelRows
from st_hybrid.sentences import sentence_spans

BATCH_SIZES = (32, 64, 100, 128)


def linked(one: Ints, other: Ints) -> Ints:
    """Number the components of rows that share a value of either column."""
    nodes = one, one.max() + 1 + other
    size = int(nodes[1].max()) + 1
    edges = coo_array((np.ones(len(one), dtype=bool), nodes), shape=(size, size))
    return connected_components(edges, directed=False)[1][one]


def lost(clusters: Ints, batch_size: int) -> dict[str, Any]:
    """Batches and rows of an epoch that clusters make impossible."""
    size = np.unique(clusters, return_counts=True)[1]
    batches = len(clusters) // batch_size
    return {
        "lost_batches": 0 if len(size) >= batch_size else batches,
        "lost_rows": round(1 - float(np.minimum(size, batches).sum()) / len(clusters), 4),
    }


def drawn(rows: Dataset, batch_size: int) -> dict[str, Any]:
    """Rows that an epoch of the sampler, which keeps two relations, does not draw; its short rest is not counted."""
    try:
        sampler = HybridBatchSampler(parallel_pairs(rows, negative_columns=[]), batch_size, True, alpha=1)
    except ValueError:
        return {"lost_batches": len(rows) // batch_size, "lost_rows": 1.0}
    uses = np.concatenate(list(sampler))
    return {"lost_batches": 0, "lost_rows": round(1 - len(np.unique(uses)) / len(uses), 4)}


def measure(name: str, rows: Dataset) -> dict[str, Any]:
    read = ParallelRows(rows, negative_columns=[])
    by_both = linked(read.cluster, read.query_text)
    groups = np.unique(read.group, return_index=True)[1]
    monolingual = rows if len(read.languages) == 1 else rows.select(np.flatnonzero(np.array(rows["language"]) == "en"))
    one = ParallelRows(monolingual, negative_columns=[])
    pairs = PairRows.of(parallel_pairs(monolingual, negative_columns=[]))
    return {
        "data": name,
        "rows": len(rows),
        "groups": len(groups),
        "clusters": {"by_passage": int(read.cluster.max()) + 1, "by_passage_or_query": int(by_both.max()) + 1},
        "largest_in_groups": {
            "by_passage": int(np.bincount(read.cluster[groups]).max()),
            "by_passage_or_query": int(np.bincount(by_both[groups]).max()),
        },
        "largest_batch": {
            "two_relations": Stream(pairs, np.flatnonzero(pairs.monolingual)).largest_batch,
            "one_relation": len(np.unique(linked(one.cluster, one.query_text))),
        },
        "epochs": [
            {
                "batch_size": size,
                "batches": len(one) // size,
                "by_passage": lost(one.cluster, size),
                "by_passage_or_query": lost(linked(one.cluster, one.query_text), size),
                "drawn_with_two_relations": drawn(monolingual, size),
            }
            for size in BATCH_SIZES
        ],
    }


def short_texts(groups: int, share: float, texts: int) -> Dataset:
    """Rows of which a share has one of some common questions, and the same share one of some common answers."""
    rng = np.random.default_rng(0)
    columns = {
        name: [
            f"common {name} {text}" if common else f"{name} {number}"
            for number, (common, text) in enumerate(
                zip(rng.random(groups) < share, rng.integers(texts, size=groups), strict=True)
            )
        ]
        for name in ("query", "positive")
    }
    return Dataset.from_dict({"id": list(range(groups)), "language": ["en"] * groups, **columns})


def questions(path: Path, *, sentences: bool) -> Dataset:
    """Questions of a file in SQuAD's layout with the paragraph, or the sentence, that answers them."""
    rows = []
    for number, (question, context, start) in enumerate(_answers(path)):
        spans = [span for span in sentence_spans(path.name[:2], context) if span[0] <= start < span[1]]
        first, end = spans[0] if sentences and spans else (0, len(context))
        rows.append({"id": number, "language": path.name[:2], "query": question, "positive": context[first:end]})
    return Dataset.from_list([row for row in rows if row["query"].strip()])


def _answers(path: Path) -> Iterator[tuple[str, str, int]]:
    if ".jsonl" in path.suffixes:
        for row in _lines(path):
            yield row["question"], row["context"], row["answers"]["answer_start"][0]
        return
    for article in json.loads(_text(path))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                if question["answers"]:
                    yield question["question"], paragraph["context"], question["answers"][0]["answer_start"]


def _text(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _text(path).split("\n") if line.strip()]


def data_sets(paths: list[Path]) -> Iterator[tuple[str, Dataset]]:
    for path in paths:
        if ".jsonl" in path.suffixes and "positive" in (rows := _lines(path))[0]:
            yield path.name, Dataset.from_list(rows)
        else:
            yield f"{path.name}, paragraphs", questions(path, sentences=False)
            yield f"{path.name}, sentences", questions(path, sentences=True)
    for share, texts in ((0.1, 1000), (0.3, 5000), (0.3, 100), (0.6, 100), (1.0, 300)):
        yield f"generated, {share:.0%} of {texts:,} common texts", short_texts(20_000, share, texts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="*", help="parallel rows as JSON lines, or files in SQuAD's layout")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()

    results = {**provenance(), "data_sets": [measure(name, rows) for name, rows in data_sets(given.data)]}
    table = Table(title="Lost turns of rows per epoch, batches of 64 (all batches lost: -)")
    headers = ("", "groups", "clusters", "with queries", "largest", "with queries", "lost", "with queries", "drawn")
    for header in headers:
        table.add_column(header, justify="right" if header else "left")
    for part in results["data_sets"]:
        epoch = part["epochs"][BATCH_SIZES.index(64)]
        kinds = ("by_passage", "by_passage_or_query", "drawn_with_two_relations")
        shares = ("-" if epoch[kind]["lost_batches"] else f"{epoch[kind]['lost_rows']:.1%}" for kind in kinds)
        counts = (*part["clusters"].values(), *part["largest_in_groups"].values())
        table.add_row(part["data"], f"{part['groups']:,}", *(f"{count:,}" for count in counts), *shares)
    Console(width=160).print(table)
    if given.output:
        write_json(given.output, results)
