"""The samplers, and a recipe that is worth its cost, against the untouched encoder on the whole of XQuAD-R.

    python benchmarks/xquad_r.py --start MODEL --data ROWS.jsonl.gz --evaluation-data DIR --work DIR

trains X-X-mono, X-Y and hybrid from one start with the same number of steps, and two models on translation pairs
besides; merges models with their start; and evaluates all of them and the start on XQuAD-R, with and without language
centering. All through the ``st-hybrid`` commands; what is in ``--work`` already is not run again, and ``--work`` alone
prints the table of what is there. Scores and training logs go to ``--results``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from st_hybrid.data import open_rows
from st_hybrid.methods.merging import merged_weights

RESULTS = Path(__file__).parent / "results" / "xquad-r"
COMMON = shlex.split("--batch-size 32 --learning-rate 5e-5 --scale 100 --freeze-embeddings --seed 0")


@dataclass(frozen=True)
class Run:
    """A model of the table: how it is trained, or which trained model it merges with the start."""

    title: str
    data: str = "rows"
    options: str = ""
    merges: str = ""
    steps: int = 200


RUNS = {
    "untouched": Run("untouched"),
    "x-x-mono": Run("X-X-mono", options="--sampler x-x-mono --max-length 96"),
    "x-y": Run("X-Y", options="--sampler x-y --max-length 96"),
    "hybrid": Run("hybrid, alpha .5", options="--sampler hybrid --max-length 96"),
    "hybrid-merged": Run("hybrid, merged with its start", merges="hybrid"),
    "hybrid-translations": Run(
        "hybrid, rows and translations", "with-translations", "--sampler hybrid --max-length 96"
    ),
    "hybrid-translations-merged": Run(
        "hybrid, rows and translations, merged with its start", merges="hybrid-translations"
    ),
    "x-y-translations": Run("X-Y, translations alone", "translations", "--sampler x-y --max-length 64", steps=150),
    "x-y-translations-merged": Run("X-Y, translations alone, merged with its start", merges="x-y-translations"),
}


def command(*arguments: str | Path | int) -> None:
    """Run st-hybrid, with its progress on the screen."""
    subprocess.run(["st-hybrid", *map(str, arguments)], check=True)


def write_translations(data: Path, folder: Path) -> None:
    """Write rows whose query is the passage itself, so that a cross-lingual pair is a passage and its translation.

    ``translations.jsonl.gz`` has these alone, ``with-translations.jsonl.gz`` the given rows before them.
    """
    rows = open_rows(data).rows
    aligned = [{**row, "id": f"{row['id']}#passage", "query": row["positive"]} for row in rows]
    for name, part in (("translations", aligned), ("with-translations", [*rows, *aligned])):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in part)


def merge(trained: Path, start: Path, output: Path) -> None:
    """Average the weights of a model and of the one that it was trained from."""
    after, before = SentenceTransformer(str(trained)), SentenceTransformer(str(start))
    after.load_state_dict(merged_weights(before, after))
    after.save_pretrained(str(output))


def run(given: argparse.Namespace) -> None:
    """Train, merge and evaluate what is not in the work folder yet."""
    start, data, work = given.start, given.data, given.work
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "with-translations.jsonl.gz").is_file():
        write_translations(data, work)
    for name in given.runs:
        what = RUNS[name]
        model = (given.untouched or start) if name == "untouched" else work / name
        if what.options and not (model / "training.json").is_file():
            rows = data if what.data == "rows" else work / f"{what.data}.jsonl.gz"
            fixed = ["--model", start, "--data", rows, "--output", model]
            options = [*shlex.split(what.options), "--max-steps", given.steps or what.steps]
            options += ["--resume"] if (model / "settings.json").is_file() else []  # an interrupted run
            command("train", *fixed, *COMMON, *options)
        if what.merges and not model.is_dir():
            merge(work / what.merges, start, model)
        if not (work / f"{name}.json").is_file():
            task = ["--task", "XQuAD-R", "--data-dir", given.evaluation_data, "--center", "evaluated"]
            task += [] if given.sample is None else ["--sample", given.sample]
            if name == "untouched":  # what centring gives where the means come from other texts
                command("center", "--model", model, "--data", data, "--per-language", 200, "--unseen", "global")
                task += ["--center", model]
            command("evaluate", "--model", model, *task, "--output", work / f"{name}.json")


def collect(work: Path, results: Path) -> None:
    """Copy the scores and training logs that ``work`` holds."""
    results.mkdir(parents=True, exist_ok=True)
    for name in RUNS:
        if (work / f"{name}.json").is_file():
            shutil.copy(work / f"{name}.json", results / f"{name}.json")
        if (work / name / "training.json").is_file():
            shutil.copy(work / name / "training.json", results / f"{name}-training.json")


def table(results: Path) -> str:
    """The scores as a Markdown table."""
    lines = ["| model | Mo. | Cr. | Mul. | rank distance |", "|---|---|---|---|---|"]
    for name, what in RUNS.items():
        path = results / f"{name}.json"
        if not path.is_file():
            continue
        scores = json.loads(path.read_text(encoding="utf-8"))["tasks"]["XQuAD-R"]
        variants: dict[str, dict[str, Any]] = {what.title: scores}
        for center, part in scores["centered"].items():
            variants["… centred" if center == "evaluated" else "… centred with means of other texts"] = part
        for title, part in variants.items():
            cells = [f"{part[kind]['map']:.4f}"[1:] for kind in ("monolingual", "cross_lingual", "multilingual")]
            lines.append(f"| {title} | {' | '.join(cells)} | {part['rank_distance']:,.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, help="encoder to train")
    parser.add_argument("--untouched", type=Path, help="encoder to evaluate untrained; --start by default")
    parser.add_argument("--data", type=Path, help="parallel rows to train on")
    parser.add_argument("--evaluation-data", type=Path, help="folder that holds xquad-r/<lang>.json")
    parser.add_argument("--work", type=Path, required=True, help="folder for models and scores")
    parser.add_argument("--runs", nargs="*", choices=RUNS, default=list(RUNS), help="which of them to do")
    parser.add_argument("--steps", type=int, help="training steps; those of each model by default")
    parser.add_argument("--sample", type=int, help="questions of XQuAD-R; all by default")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    given = parser.parse_args()
    if given.start and given.data and given.evaluation_data:
        run(given)
    collect(given.work, given.results)
    print(table(given.results))
