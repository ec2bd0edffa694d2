"""Hybrid training with and without mined hard negatives, from one start and with one budget, on XQuAD-R.

    python benchmarks/hard_negatives.py --start MODEL --data ROWS.jsonl.gz --evaluation-data DIR --work DIR

draws groups of the data, mines with the start model one negative per row in the row's language and one in another,
trains on the same rows without negatives and with each of them, and evaluates these models and the start. Everything
runs through the ``st-hybrid`` commands. A run whose result is in ``--work`` is not repeated, so several processes can
share the ``--runs`` once a first process, with an empty ``--runs``, has mined. With ``--work`` alone the script prints
the table of the results there. It writes scores, training logs and the differences' confidence intervals to
``--results``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from scipy.stats import bootstrap

from st_hybrid import HybridBatchSampler, parallel_pairs, split_groups
from st_hybrid.data import open_rows
from st_hybrid.data.write import write_rows
from st_hybrid.evaluation.per_query import compare_queries, per_query_path
from st_hybrid.files import write_json

RESULTS = Path(__file__).parent / "results" / "hard-negatives"
BATCH_SIZE = 32
TRAINING = shlex.split(
    f"--batch-size {BATCH_SIZE} --learning-rate 5e-5 --scale 100 --max-length 64 --freeze-embeddings --seed 0"
)


@dataclass(frozen=True)
class Run:
    """A training: its title in the table, its rows (None: no training) and options of ``st-hybrid train``."""

    title: str
    rows: str | None = None
    alpha: float = 0.5
    negatives_follow: str = "positive"


RUNS = {
    "untouched": Run("untouched"),
    "none": Run("hybrid, no hard negatives", "none"),
    "same": Run("hybrid, one in the row's language", "same"),
    "same-as-query": Run("hybrid, one in the query's language", "same", negatives_follow="query"),
    "other": Run("hybrid, one in another language", "other"),
    "none-few-monolingual": Run("alpha .2, no hard negatives", "none", 0.2),
    "same-as-query-few-monolingual": Run("alpha .2, one in the query's language", "same", 0.2, "query"),
    "other-few-monolingual": Run("alpha .2, one in another language", "other", 0.2),
}


def command(*arguments: str | Path | float) -> None:
    """Run st-hybrid, with its progress on the screen."""
    subprocess.run(["st-hybrid", *map(str, arguments)], check=True)


def run(given: argparse.Namespace) -> None:
    """Draw, mine, train and evaluate what is not in the work folder yet."""
    work = given.work
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "mining.json").is_file():
        write_rows(split_groups(open_rows(given.data).rows, given.groups, seed=0)["test"], work / "none.jsonl.gz")
        began = time.perf_counter()
        fixed = ["--model", given.start, "--output", work / "both.jsonl.gz"]
        command("data", "mine", work / "none.jsonl.gz", *fixed, "--negatives-in", "both")
        both = open_rows(work / "both.jsonl.gz").rows
        mining = {"rows": len(both), "seconds": round(time.perf_counter() - began, 1)}
        for name, left_out in (("same", "negative_2"), ("other", "negative_1")):
            write_rows(both.remove_columns(left_out), work / f"{name}.jsonl.gz")
        write_rows(both.remove_columns(["negative_1", "negative_2"]), work / "none.jsonl.gz")
        write_json(work / "mining.json", mining)
    for name in given.runs:
        one, model = RUNS[name], given.start
        if one.rows is not None:
            model = work / name
            fixed = ["--model", given.start, "--data", work / f"{one.rows}.jsonl.gz", "--output", model]
            if not (model / "training.json").is_file():
                options = ["--alpha", one.alpha]
                options += [] if one.rows == "none" else ["--negatives-follow", one.negatives_follow]
                options += ["--resume"] if (model / "settings.json").is_file() else []  # an interrupted run
                command("train", *fixed, *TRAINING, *options, "--max-steps", given.steps)
        if not (work / f"{name}.json").is_file():
            task = ["--task", "XQuAD-R", "--data-dir", given.evaluation_data]
            task += [] if given.sample is None else ["--sample", given.sample]
            command("evaluate", "--model", model, *task, "--output", work / f"{name}.json")


def collect(work: Path, results: Path) -> None:
    """Copy the scores and logs that ``work`` holds."""
    results.mkdir(parents=True, exist_ok=True)
    copies = {work / "mining.json": "mining.json"}
    for name in RUNS:
        copies |= {work / f"{name}.json": f"{name}.json", work / name / "training.json": f"{name}-training.json"}
    for source, copy in copies.items():
        if source.is_file():
            shutil.copy(source, results / copy)


def differences(work: Path, results: Path) -> None:
    """Write how far each run is from the one without hard negatives and with the same alpha, over the questions.

    A question's value is its mean over the languages in which it is asked and the pools; questions are drawn, not
    their translations, which are not independent of each other.
    """
    found = {}
    for name, one in RUNS.items():
        base = next(key for key, other in RUNS.items() if other.rows == "none" and other.alpha == one.alpha)
        paths = [per_query_path(work / f"{run}.json") for run in (base, name)]
        if name == base or one.rows is None or not all(path.is_file() for path in paths):
            continue
        found[name] = {"compared with": base}
        scores = compare_queries(*paths)
        of_kind = {
            "monolingual": pc.equal(scores["pool"], scores["query_language"]),
            "multilingual": pc.equal(scores["pool"], "multi"),
        }
        of_kind["cross_lingual"] = pc.invert(pc.or_(*of_kind.values()))
        for kind, chosen in of_kind.items():
            means = scores.filter(chosen).group_by("query_id").aggregate([("a", "mean"), ("b", "mean")])
            change = means["b_mean"].to_numpy() - means["a_mean"].to_numpy()
            drawn = bootstrap((change,), np.mean, rng=np.random.default_rng(0)).confidence_interval
            found[name][kind] = [round(float(value), 4) for value in (change.mean(), drawn.low, drawn.high)]
        ranks = compare_queries(*paths, "rank_distance")
        found[name]["median rank distance"] = [float(np.median(ranks["a"])), float(np.median(ranks["b"]))]
    about = (
        "mean change of average precision with its 95% interval: bootstrap over the questions (BCa, 9,999 draws); "
        "median rank distance of the run compared with, and of this one"
    )
    write_json(results / "differences.json", {"what": about, **found})


def answered_negatives(work: Path, results: Path) -> None:
    """Write how often a query meets, among the other rows' hard negatives, a passage of its own cluster."""
    found = {}
    for name in ("same", "other"):
        if not (work / f"{name}.jsonl.gz").is_file():
            continue
        pairs = parallel_pairs(open_rows(work / f"{name}.jsonl.gz").rows)
        batches = HybridBatchSampler(pairs, BATCH_SIZE, drop_last=True, seed=0)
        labels = np.stack([pairs[batch]["label"] for batch in batches])
        met = (labels[:, :, None, 0] == labels[:, None, :, 3]).any(axis=2)
        found[name] = {"queries": round(float(met.mean()), 4), "batches": round(float(met.any(axis=1).mean()), 4)}
    about = f"share of queries, and of batches of {BATCH_SIZE}, where another row's hard negative answers a query"
    write_json(results / "answered-negatives.json", {"what": about, **found})


def table(results: Path) -> str:
    """The scores as a Markdown table."""
    lines = ["| model | Mo. | Cr. | Mul. | PEER@20 | rank distance |", "|---|---|---|---|---|---|"]
    for name, one in RUNS.items():
        path = results / f"{name}.json"
        if not path.is_file():
            continue
        scores = json.loads(path.read_text(encoding="utf-8"))["tasks"]["XQuAD-R"]
        shares = [scores[kind]["map"] for kind in ("monolingual", "cross_lingual", "multilingual")]
        shares.append(scores["multilingual"]["peer_at_20"])
        cells = " | ".join(f"{share:.4f}"[1:] for share in shares)
        lines.append(f"| {one.title} | {cells} | {scores['rank_distance']:,.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, help="encoder that mines and is trained")
    parser.add_argument("--data", type=Path, help="parallel rows")
    parser.add_argument("--evaluation-data", type=Path, help="folder that holds xquad-r/<lang>.json")
    parser.add_argument("--work", type=Path, required=True, help="folder for rows, models and scores")
    parser.add_argument("--groups", type=int, default=1500, help="groups of the data to take")
    parser.add_argument("--steps", type=int, default=150, help="training steps")
    parser.add_argument("--sample", type=int, help="questions of XQuAD-R; all by default")
    parser.add_argument("--runs", nargs="*", choices=RUNS, default=list(RUNS), help="which of them to do")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    given = parser.parse_args()
    if given.start and given.data and given.evaluation_data:
        run(given)
    collect(given.work, given.results)
    differences(given.work, given.results)
    answered_negatives(given.work, given.results)
    print(table(given.results))
