"""Every example, run as a user runs it: its own process, a small file of parallel rows, a few steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
TEMPLATES = {
    "en": ("Which colour has house {}?", "House {} is painted {}."),
    "de": ("Welche Farbe hat Haus {}?", "Haus {} ist {} gestrichen."),
    "el": ("Τι χρώμα έχει το σπίτι {};", "Το σπίτι {} είναι βαμμένο {}."),
}
COLOURS = {"en": ("red", "green"), "de": ("rot", "grün"), "el": ("κόκκινο", "πράσινο")}

# Of each example: processes, options, and what it must print.
RUNS: dict[str, tuple[int, list[str], list[str]]] = {
    "existing_script.py": (1, ["--batch-size", "8", "--max-steps", "4"], []),
    "large_batch_cached.py": (1, ["--batch-size", "32", "--mini-batch-size", "8", "--max-steps", "2"], []),
    "own_jsonl.py": (
        1,
        ["--batch-size", "8", "--max-steps", "4", "--held-out", "10"],
        ["before", "after", "monolingual", "cross_lingual", "multilingual", "rank distance"],
    ),
    "recipe.py": (1, ["--batch-size", "8", "--max-length", "8", "--max-steps", "4"], []),
    "several_gpus.py": (2, ["--batch-size", "8", "--max-steps", "4"], ["2 processes, 16 pairs per step"]),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parallel rows: 40 groups in three languages."""
    path = tmp_path_factory.mktemp("data") / "houses.jsonl"
    with path.open("w", encoding="utf-8") as lines:
        for number in range(40):
            for language, (query, positive) in TEMPLATES.items():
                colour = COLOURS[language][number % 2]
                row = {"query": query.format(number), "positive": positive.format(number, colour)}
                print(json.dumps({"id": f"house-{number}", "language": language} | row), file=lines)
    return path


def run_example(name: str, model: Path, data: Path, folder: Path, *options: str, processes: int = 1) -> str:
    """Run an example to its end and return what it printed, having checked that it trained the model."""
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [*launcher, str(EXAMPLES / name), "--model", str(model), "--data", str(data), "--output", "out", *options]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"

    before = SentenceTransformer(str(model), device="cpu").state_dict()
    after = SentenceTransformer(str(folder / "out"), device="cpu").state_dict()
    assert any(not torch.equal(value, after[key]) for key, value in before.items())
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example_trains(example: str, tiny_model_path: Path, data: Path, tmp_path: Path) -> None:
    processes, options, printed = RUNS[example]
    output = run_example(example, tiny_model_path, data, tmp_path, *options, processes=processes)
    for words in printed:
        assert words in output
