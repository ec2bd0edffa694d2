"""Hybrid training with and without mined hard negatives, from one start and with one budget, on XQuAD-R.

    python benchmarks/hard_negatives.py --start MODEL --data ROWS.jsonl.gz --evaluation-data DIR --work DIR

draws groups of the data, mines one negative a row with the start model in the row's own language and one in another,
trains on the same rows without negatives, with the one and with the other, and evaluates all three and the start. All
through the ``st-hybrid`` commands; what is in ``--work`` already is not run again, and ``--work`` alone prints the
table of what is there. Scores and training logs go to ``benchmarks/results/hard-negatives``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from st_hybrid import split_groups
from st_hybrid.sources import load_rows
from st_hybrid.sources.write import write_rows

RESULTS = Path(__file__).parent / "results" / "hard-negatives"
TRAINING = shlex.split("--batch-size 32 --learning-rate 5e-5 --scale 100 --max-length 64 --freeze-embeddings --seed 0")
RUNS = {
    "untouched": "untouched",
    "none": "hybrid, no hard negatives",
    "same": "hybrid, one in the row's language",
    "other": "hybrid, one in another language",
}


def command(*arguments: str | Path | int) -> None:
    """Run st-hybrid, with its progress on the screen."""
    subprocess.run(["st-hybrid", *map(str, arguments)], check=True)


def run(given: argparse.Namespace) -> None:
    """Draw, mine, train and evaluate what is not in the work folder yet."""
    work = given.work
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "both.jsonl.gz").is_file():
        write_rows(split_groups(load_rows(given.data), given.groups, seed=0)["test"], work / "none.jsonl.gz")
        began = time.perf_counter()
        fixed = ["--model", given.start, "--output", work / "both.jsonl.gz"]
        command("data", "mine", work / "none.jsonl.gz", *fixed, "--languages", "both")
        mining = {"rows": len(load_rows(work / "none.jsonl.gz")), "seconds": round(time.perf_counter() - began, 1)}
        (work / "mining.json").write_text(json.dumps(mining) + "\n", encoding="utf-8")
    both = load_rows(work / "both.jsonl.gz")
    for name, left_out in (("none", ["negative_1", "negative_2"]), ("same", ["negative_2"]), ("other", ["negative_1"])):
        write_rows(both.remove_columns(left_out), work / f"{name}.jsonl.gz")
    for name in RUNS:
        model = given.start if name == "untouched" else work / name
        if name != "untouched" and not (model / "training.json").is_file():
            fixed = ["--model", given.start, "--data", work / f"{name}.jsonl.gz", "--output", model]
            command("train", *fixed, *TRAINING, "--max-steps", given.steps, "--resume")
        if not (work / f"{name}.json").is_file():
            task = ["--task", "XQuAD-R", "--data-dir", given.evaluation_data, "--sample", given.sample]
            command("evaluate", "--model", model, *task, "--output", work / f"{name}.json")


def collect(work: Path) -> None:
    """Copy the scores and logs that ``work`` holds into the repository."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    copies = {work / "mining.json": "mining.json"}
    for name in RUNS:
        copies |= {work / f"{name}.json": f"{name}.json", work / name / "training.json": f"{name}-training.json"}
    for source, copy in copies.items():
        if source.is_file():
            shutil.copy(source, RESULTS / copy)


def table() -> str:
    """The scores as a Markdown table."""
    lines = ["| model | training, s | Mo. | Cr. | Mul. | rank distance |", "|---|---|---|---|---|---|"]
    for name, title in RUNS.items():
        path, training = RESULTS / f"{name}.json", RESULTS / f"{name}-training.json"
        if not path.is_file():
            continue
        scores = json.loads(path.read_text(encoding="utf-8"))["tasks"]["XQuAD-R"]
        seconds = f"{json.loads(training.read_text(encoding='utf-8'))['seconds']:.0f}" if training.is_file() else ""
        cells = [f"{scores[kind]['map']:.4f}"[1:] for kind in ("monolingual", "cross_lingual", "multilingual")]
        lines.append(f"| {title} | {seconds} | {' | '.join(cells)} | {scores['rank_distance']:,.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, help="encoder that mines and is trained")
    parser.add_argument("--data", type=Path, help="parallel rows")
    parser.add_argument("--evaluation-data", type=Path, help="folder that holds xquad-r/<lang>.json")
    parser.add_argument("--work", type=Path, required=True, help="folder for rows, models and scores")
    parser.add_argument("--groups", type=int, default=500, help="groups of the data to take")
    parser.add_argument("--steps", type=int, default=25, help="training steps")
    parser.add_argument("--sample", type=int, default=60, help="questions of XQuAD-R; 0 for all")
    given = parser.parse_args()
    if given.start and given.data and given.evaluation_data:
        run(given)
    collect(given.work)
    print(table())
