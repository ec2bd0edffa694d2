"""Training and encoding in bfloat16 against float32: speed, vectors and scores.

    python benchmarks/dtype.py --model MODEL --data ROWS --output benchmarks/results/dtype/speed.json
    python benchmarks/dtype.py --model MODEL --data-dir DIR --output benchmarks/results/dtype/xquad-r.json

Training in bfloat16 also takes turns with sentence-transformers' own loss, which pads every text of a batch to the
longest: ours encodes texts of similar length together on a CPU.

The types take turns on the same batches and texts, so each ratio is a median of pairs. Seconds are those of the
processor: set OMP_NUM_THREADS=1, and other programs disturb them little. Encoding has two ways to compute in bfloat16:
under autocast, as ``--dtype bfloat16`` does, and with the weights themselves in it.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import TrainerCallback

from st_hybrid import HybridTrainer, MultilingualMultipleNegativesRankingLoss, parallel_pairs
from st_hybrid.data import open_rows
from st_hybrid.encoders import load_encoder, require_dense
from st_hybrid.evaluation import RetrievalCollection, encode_collection, load_lareqa, score_embeddings
from st_hybrid.files import write_json
from st_hybrid.provenance import provenance

FLOAT32, AUTOCAST, WEIGHTS = "float32", "bfloat16", "bfloat16 weights"
WRAPPED = "bfloat16, MultipleNegativesRankingLoss"


class StepSeconds(TrainerCallback):
    """The processor seconds of each training step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self.began = time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop the clock."""
        self.seconds.append(time.process_time() - self.began)


def train(given: argparse.Namespace, rows: Dataset, way: str) -> tuple[list[float], list[float]]:
    """The seconds and the losses of some steps, as ``st-hybrid train`` takes them."""
    model = SentenceTransformer(given.model)
    if given.freeze_embeddings:
        for module in model.modules():
            if isinstance(module, Transformer):
                module.model.get_input_embeddings().requires_grad_(False)
    clock = StepSeconds()
    with tempfile.TemporaryDirectory() as folder:
        args = SentenceTransformerTrainingArguments(
            folder,
            per_device_train_batch_size=given.batch_size,
            max_steps=given.steps + given.warmup,
            learning_rate=5e-5,
            bf16=way != FLOAT32,
            use_cpu=not torch.accelerator.is_available(),
            prompts={"query": "query: ", "positive": "passage: "},
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        made = MultipleNegativesRankingLoss if way == WRAPPED else MultilingualMultipleNegativesRankingLoss
        loss = made(model, scale=100)
        trainer = HybridTrainer(model, args, parallel_pairs(rows), loss=loss, callbacks=[clock])
        trainer.data_collator.max_length = given.max_length
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return clock.seconds[given.warmup :], losses


def compare_training(given: argparse.Namespace, rows: Dataset) -> dict[str, Any]:
    """Steps and texts per second in each way, on the same batches."""
    seconds: dict[str, list[float]] = {FLOAT32: [], WRAPPED: [], AUTOCAST: []}
    losses = {}
    for _ in range(given.rounds):
        for way, steps in seconds.items():
            took, losses[way] = train(given, rows, way)
            steps += took
    medians = {way: statistics.median(steps) for way, steps in seconds.items()}
    return {
        way: {
            "steps_per_second": round(1 / median, 3),
            "texts_per_second": round(2 * given.batch_size / median, 1),
            "losses": [round(loss, 4) for loss in losses[way]],
            "times_as_fast": times_as_fast(seconds[FLOAT32], seconds[way]),
        }
        for way, median in medians.items()
    } | {"by_length_times_as_fast": times_as_fast(seconds[WRAPPED], seconds[AUTOCAST])}


def times_as_fast(slow: list[float], fast: list[float]) -> dict[str, Any]:
    """Median and quartiles of the ratios of pairs."""
    ratios = [one / other for one, other in zip(slow, fast, strict=True)]
    low, middle, high = np.percentile(ratios, [25, 50, 75]).round(2).tolist()
    return {"median": middle, "quartiles": [low, high], "pairs": len(ratios)}


def cosines(vectors: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """The cosines of the vectors of two ways, text by text, and how far their lengths are from 1."""
    lengths = np.linalg.norm(others, axis=1)
    found = np.einsum("ij,ij->i", vectors, others) / lengths / np.linalg.norm(vectors, axis=1)
    return {
        "cosine_mean": round(float(found.mean()), 7),
        "cosine_min": round(float(found.min()), 7),
        "length_error_max": float(f"{abs(lengths - 1).max():.1e}"),
    }


def encoders(model: str) -> dict[str, SentenceTransformer]:
    """The model, computing in each way."""
    return {
        FLOAT32: require_dense(load_encoder(model), "Encoding"),
        AUTOCAST: require_dense(load_encoder(model, dtype="bfloat16"), "Encoding"),
        WEIGHTS: SentenceTransformer(model, model_kwargs={"dtype": torch.bfloat16}),
    }


def compare_encoding(given: argparse.Namespace, models: dict[str, SentenceTransformer], texts: list[str]) -> Any:
    """Texts per second of each way, and how far its vectors are from those in float32."""
    seconds: dict[str, list[float]] = {way: [] for way in models}
    vectors = {}
    for turn in range(given.rounds + 1):
        for way, model in models.items():
            began = time.process_time()
            vectors[way] = model.encode_document(texts)
            if turn:  # the first is a warm-up
                seconds[way].append(time.process_time() - began)
    return {
        way: {
            "texts_per_second": round(len(texts) / statistics.median(took), 1),
            "times_as_fast": times_as_fast(seconds[FLOAT32], took),
            **cosines(vectors[FLOAT32], vectors[way]),
        }
        for way, took in seconds.items()
    }


def compare_scores(models: dict[str, SentenceTransformer], collection: RetrievalCollection) -> dict[str, Any]:
    """Scores on a collection of each way, and how far they are from those in float32."""
    found: dict[str, Any] = {}
    exact: Any = None
    for way, model in models.items():
        began = time.process_time()
        queries, passages = map(np.asarray, encode_collection(model, collection))
        took = time.process_time() - began
        vectors = np.concatenate([queries, passages]).astype(np.float32)
        scores = score_embeddings(queries.astype(np.float32), passages.astype(np.float32), collection)
        exact = exact or (vectors, scores)
        differences = [abs(scores.per_pair[pair].map - one.map) for pair, one in exact[1].per_pair.items()]
        found[way] = {
            "encoding_seconds": round(took, 1),
            "texts_per_second": round(len(vectors) / took, 1),
            **{setting: round(one.map, 5) for setting, one in scores.by_setting.items()},
            "rank_distance": round(scores.rank_distance or 0, 2),
            "largest_difference_of_a_pair": round(max(differences), 5),
            **cosines(exact[0], vectors),
        }
        print(way, json.dumps(found[way]), flush=True)
    return {"queries": len(collection.queries), "passages": len(collection.passages), "ways": found}


def main() -> None:
    """Compare the types and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, help="parallel rows, to measure the speed of training and encoding")
    parser.add_argument("--data-dir", type=Path, help="folder with xquad-r, to evaluate on it")
    parser.add_argument("--languages", nargs="+", help="languages of XQuAD-R (all by default)")
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--max-length", type=int, default=80)
    parser.add_argument("--freeze-embeddings", action="store_true")
    parser.add_argument("--steps", type=int, default=4, help="timed steps per round")
    parser.add_argument("--warmup", type=int, default=1, help="untimed steps per round")
    parser.add_argument("--texts", type=int, default=96, help="texts to encode per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()

    if not given.data and not given.data_dir:
        parser.error("give --data, --data-dir or both")
    report: dict[str, Any] = {
        "what": "medians of rounds in which the types take turns; seconds of the processor; ratios: medians of pairs",
        **provenance(),
        **{name: value for name, value in vars(given).items() if name not in ("output", "data_dir", "data", "model")},
    }
    report["model"] = Path(given.model).name
    sections: dict[str, Callable[[], Any]] = {}
    if given.data:
        rows = open_rows(given.data, check_languages=False).rows
        drawn = rows.shuffle(seed=0)["positive"][: given.texts]
        sections["training"] = lambda: compare_training(given, rows)
        sections["encoding"] = lambda: compare_encoding(given, encoders(given.model), drawn)
    if given.data_dir:
        collection = load_lareqa("XQuAD-R", given.data_dir, given.languages)
        sections["xquad_r"] = lambda: compare_scores(encoders(given.model), collection)
    for name, section in sections.items():
        report[name] = section()
        print(name, json.dumps(report[name], indent=2), flush=True)
        if given.output:
            write_json(given.output, report)


if __name__ == "__main__":
    main()
