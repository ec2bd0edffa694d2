"""Encode MIRACL alone and with two workers of Ray, of which one is killed, and compare the embeddings bit by bit.

    python benchmarks/encode_ray.py --model intfloat/multilingual-e5-small --layers 1 \
        --data-dir data/miracl-mini --language de --memory-gb 0.0247 --output benchmarks/results/encode_ray.json

Three runs into folders of their own: this process alone; two workers; two workers, one of which gets SIGKILL in the
middle of a shard. ``seconds`` of a run begin when the model of this process is loaded, so those of Ray hold the start
of Ray and of the workers, which load the model themselves, and, after the kill, of a third. In the end mteb evaluates
the model on what was encoded, and the passages that it still has to encode are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import psutil
from safetensors import safe_open
from sentence_transformers import SentenceTransformer

from st_hybrid.encode_ahead import EncodingReport, encode_miracl
from st_hybrid.files import write_json
from st_hybrid.provenance import provenance
from st_hybrid.tasks import MIRACL, ShardedSearch


def cut(model: str, layers: int, folder: Path) -> str:
    """Save a model with only its first layers, which encodes faster than it retrieves."""
    module = SentenceTransformer(model, device="cpu")
    encoder = module[0].auto_model
    encoder.encoder.layer = encoder.encoder.layer[:layers]
    encoder.config.num_hidden_layers = layers
    module.save_pretrained(str(folder))
    return str(folder)


class Killer(threading.Thread):
    """Waits for some shards, kills a worker in the middle of its next, and notes which shards there were."""

    def __init__(self, folder: Path, after: int) -> None:
        super().__init__(daemon=True)
        self.folder, self.after = folder, after
        self.workers, self.there = set[int](), set[int]()

    def run(self) -> None:
        """Wait and kill."""
        while len(list(self.folder.rglob("*.safetensors"))) < self.after:
            time.sleep(0.02)
        children = psutil.Process().children(recursive=True)
        workers = [child for child in children if "ShardEncoder" in "".join(child.cmdline())]
        victim = max(workers, key=lambda worker: worker.cpu_times().user)
        spent = victim.cpu_times().user
        while victim.cpu_times().user < spent + 1:  # well into its next shard
            time.sleep(0.02)
        self.there = {int(path.name[:5]) for path in self.folder.rglob("*.safetensors")}
        victim.kill()
        self.workers = {worker.pid for worker in workers}


def embeddings(folder: Path) -> dict[str, np.ndarray]:
    """Every shard in a folder, by its path there."""
    found = {}
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            found[str(path.relative_to(folder))] = file.get_tensor("embeddings")
    return found


def described(report: EncodingReport) -> dict[str, Any]:
    """What a run did."""
    workers: dict[str, list[str]] = {}
    for shard in report.encoded:
        workers.setdefault(shard.worker, []).append(str(shard.number))
    return {
        "seconds": round(report.seconds, 1),
        "seconds_per_shard": round(float(np.median([shard.seconds for shard in report.encoded])), 2),
        "shards_of_each_process": [" ".join(numbers) for numbers in workers.values()],
    }


class Counting(mteb.SentenceTransformerEncoderWrapper):
    """Counts the passages that it encodes."""

    passages = 0

    def encode(self, inputs: Any, *, prompt_type: Any = None, **kwargs: Any) -> Any:
        """Encode and count."""
        self.passages += 0 if prompt_type.value == "query" else sum(len(batch["text"]) for batch in inputs)
        return super().encode(inputs, prompt_type=prompt_type, **kwargs)


def evaluated(model: str, folder: Path, data_dir: Path, language: str, memory_gb: float) -> tuple[float, int]:
    """nDCG@10 by mteb from the embeddings in a folder, and how many passages it had to encode."""
    task = mteb.get_task("MIRACL", hf_subsets=[language])
    assert isinstance(task, MIRACL)
    task.data_dir = data_dir
    encoder = Counting(SentenceTransformer(model))
    search = ShardedSearch(encoder, embeddings_dir=folder, memory_gb=memory_gb)
    (result,) = mteb.evaluate(search, task, cache=None, show_progress_bar=False).task_results
    return float(result.scores["dev"][0]["ndcg_at_10"]), encoder.passages


def main() -> None:
    """Run all three, compare, evaluate and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--layers", type=int, help="number of layers of the model to keep")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--language", default="de")
    parser.add_argument("--memory-gb", type=float, default=8.0)
    parser.add_argument("--kill-after", type=int, default=3, help="shards")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        model = given.model if given.layers is None else cut(given.model, given.layers, scratch / "model")
        same: dict[str, Any] = {"data_dir": given.data_dir, "memory_gb": given.memory_gb}
        loads = [round(os.getloadavg()[0], 1)]  # other work on the machine lengthens all of them
        alone = encode_miracl(model, scratch / "alone", [given.language], **same)
        same |= {"engine": "ray", "workers": 2}
        loads.append(round(os.getloadavg()[0], 1))
        spread = encode_miracl(model, scratch / "spread", [given.language], **same)
        loads.append(round(os.getloadavg()[0], 1))
        killer = Killer(scratch / "killed", given.kill_after)
        killer.start()
        killed = encode_miracl(model, scratch / "killed", [given.language], **same)
        killer.join()

        # The worker that takes the victim's place begins with the shard that the victim had begun.
        again = next(shard for shard in killed.encoded if int(shard.worker.split(":")[-1]) not in killer.workers)
        assert again.number not in killer.there
        expected = embeddings(scratch / "alone")
        for folder in ("spread", "killed"):
            found = embeddings(scratch / folder)
            assert found.keys() == expected.keys()
            assert all(np.array_equal(found[path], vectors) for path, vectors in expected.items()), folder
        scores = {
            folder: evaluated(model, scratch / folder, given.data_dir, given.language, given.memory_gb)
            for folder in ("alone", "killed")
        }
    about = provenance()
    about["versions"] |= {name: version(name) for name in ("mteb", "ray")}
    report = {
        **about,
        "load_before_each_run": loads,
        "passages": killed.passages[given.language],
        "shards": killed.shards[given.language],
        "identical": True,
        "runs": {
            "alone": described(alone),
            "ray, two workers": described(spread),
            "ray, two workers, one killed": {
                **described(killed),
                "killed_while_encoding_shard": again.number,
                "shards_there_when_killed": " ".join(map(str, sorted(killer.there))),
            },
        },
        "evaluation": {
            folder: {"ndcg_at_10": round(score, 5), "passages_encoded": passages}
            for folder, (score, passages) in scores.items()
        },
    }
    print(json.dumps(report, indent=2))
    if given.output:
        write_json(given.output, report)


if __name__ == "__main__":
    main()
