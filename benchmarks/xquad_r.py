"""The samplers against the untouched encoder on the whole of XQuAD-R, and the table of it.

    python benchmarks/xquad_r.py --start MODEL --data ROWS.jsonl.gz --evaluation-data DIR --work DIR

trains X-X-mono, X-Y and hybrid from the same start with the same number of steps, merges hybrid with its start, and
evaluates all of them and the start on XQuAD-R, with and without language centering, through the ``st-hybrid`` commands.
What is in ``--work`` already is not run again. Scores and training logs go to ``benchmarks/results/xquad-r``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

RESULTS = Path(__file__).parent / "results" / "xquad-r"
SAMPLERS = ("x-x-mono", "x-y", "hybrid")
RECIPE = shlex.split(
    "--batch-size 32 --max-steps 200 --learning-rate 5e-5 --scale 100 --max-length 96 --freeze-embeddings --seed 0"
)
TITLES = {
    "untouched": "untouched",
    "x-x-mono": "X-X-mono",
    "x-y": "X-Y",
    "hybrid": "hybrid, alpha .5",
    "hybrid-merged": "hybrid, merged half and half with its start",
}
CENTERS = {
    None: "",
    "evaluated": "means of the evaluated texts",
    "help": "means of separate texts",
}


def command(*arguments: str | Path) -> None:
    """Run st-hybrid, with its progress on the screen."""
    subprocess.run(["st-hybrid", *map(str, arguments)], check=True)


def run(start: Path, untouched: Path, data: Path, evaluation_data: Path, work: Path) -> None:
    """Train and evaluate what is not in ``work`` yet."""
    for sampler in SAMPLERS:
        output = work / sampler
        if not (output / "training.json").is_file():
            fixed = ["--model", start, "--data", data, "--sampler", sampler, "--output", output]
            command("train", *fixed, *RECIPE, "--resume")
    if not (work / "hybrid-merged").is_dir():
        merge(work / "hybrid", start, work / "hybrid-merged")
    for name in TITLES:
        model, output = untouched if name == "untouched" else work / name, work / f"{name}.json"
        if not output.is_file():
            if not (model / "language_centering").is_dir():
                command("center", "--model", model, "--data", data, "--rows", 200, "--unseen", "global")
            centers = ["--center", "evaluated", "--center", model]
            task = ["--task", "XQuAD-R", "--data-dir", evaluation_data]
            command("evaluate", "--model", model, *task, "--output", output, *centers)


def merge(trained: Path, start: Path, output: Path) -> None:
    """Average the weights of a model and of the one that it was trained from."""
    after, before = SentenceTransformer(str(trained)), SentenceTransformer(str(start))
    # Training aligns the token ids in the configuration with the tokenizer's; merge wants configurations alike.
    for token in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(before.transformers_model.config, token, getattr(after.transformers_model.config, token))
    embeddings = (model.transformers_model.get_input_embeddings() for model in (before, after))
    next(embeddings).padding_idx = next(embeddings).padding_idx
    SentenceTransformer.merge([after, before]).save_pretrained(str(output))


def collect(work: Path) -> None:
    """Copy the scores and training logs that ``work`` holds into the repository."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in TITLES:
        if (work / f"{name}.json").is_file():
            shutil.copy(work / f"{name}.json", RESULTS / f"{name}.json")
        if (work / name / "training.json").is_file():
            shutil.copy(work / name / "training.json", RESULTS / f"{name}-training.json")


def table() -> str:
    """The scores as a Markdown table."""
    lines = [
        "| model | language means subtracted | Mo. | Cr. | Mul. | rank distance |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in TITLES.items():
        path = RESULTS / f"{name}.json"
        if not path.is_file():
            continue
        scores = json.loads(path.read_text(encoding="utf-8"))["tasks"]["XQuAD-R"]
        variants: dict[str, dict[str, Any]] = {"": scores}
        for center, part in scores["centered"].items():
            variants[CENTERS["evaluated" if center == "evaluated" else "help"]] = part
        for center, part in variants.items():
            cells = [
                f"{part[kind]['map']:.4f}".lstrip("0") for kind in ("monolingual", "cross_lingual", "multilingual")
            ]
            lines.append(f"| {title} | {center} | {' | '.join(cells)} | {part['rank_distance']:,.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="encoder to train")
    parser.add_argument("--untouched", type=Path, help="encoder to evaluate untrained; --start by default")
    parser.add_argument("--data", type=Path, required=True, help="parallel rows to train on")
    parser.add_argument("--evaluation-data", type=Path, required=True, help="folder that holds xquad-r/<lang>.json")
    parser.add_argument("--work", type=Path, required=True, help="folder for models and scores")
    given = parser.parse_args()
    run(given.start, given.untouched or given.start, given.data, given.evaluation_data, given.work)
    collect(given.work)
    print(table())
