"""Encoders with fewer layers, each brought back near its original: the smaller sizes of a pretrained ladder.

    python benchmarks/cut_layers.py --start MODEL --data FILE FILE --layers 3 6 --output FOLDER

keeps layers at equal distances, the last among them, and trains the rest to the vectors of the whole model: the mean
squared error over every distinct query and positive of the rows, in all languages alike, so that the recovery says
nothing of which texts belong together. Token embeddings stay as they are. ``FOLDER/<model>-<n>-layers`` is a
SentenceTransformer, with ``recovery.json``: settings, loss before and after, seconds.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MSELoss

from st_hybrid.data import open_rows
from st_hybrid.dtypes import training_dtype
from st_hybrid.encoders import compute_in
from st_hybrid.files import write_json
from st_hybrid.provenance import provenance


def cut(model: SentenceTransformer, layers: int) -> None:
    """Keep some layers at equal distances, and the last one."""
    transformer = model.transformers_model
    total = transformer.config.num_hidden_layers
    stacks = [part for part in transformer.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == total]
    if len(stacks) != 1 or not 1 <= layers < total:
        raise SystemExit(f"{layers} layers cannot be kept of {total} in {len(stacks)} stacks.")
    kept = [round((number + 1) * total / layers) - 1 for number in range(layers)]
    for number in reversed([number for number in range(total) if number not in kept]):
        del stacks[0][number]
    transformer.config.num_hidden_layers = layers


def recover(model: SentenceTransformer, texts: list[str], vectors: np.ndarray, given: argparse.Namespace) -> list[Any]:
    """Train a model to the vectors of the whole one; gives the log of losses."""
    model.transformers_model.get_input_embeddings().requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        args = SentenceTransformerTrainingArguments(
            folder,
            max_steps=given.steps,
            per_device_train_batch_size=given.batch_size,
            learning_rate=given.learning_rate,
            warmup_steps=0.1,
            seed=given.seed,
            bf16=training_dtype(model.device.type) == "bfloat16",
            use_cpu=not torch.accelerator.is_available(),
            logging_steps=10,
            logging_first_step=True,
            save_strategy="no",
            report_to="none",
        )
        rows = Dataset.from_dict({"text": texts, "label": vectors})
        trainer = SentenceTransformerTrainer(model, args, rows, loss=MSELoss(model))
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def main() -> None:
    """Cut, recover and save each size that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", default="intfloat/multilingual-e5-small", help="the whole model")
    parser.add_argument("--data", nargs="+", required=True, help="rows to take texts from; never evaluation data")
    parser.add_argument("--layers", type=int, nargs="+", default=[3, 6])
    parser.add_argument("--output", type=Path, default=Path("models"))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--max-length", type=int, default=80, help="tokens per text")
    parser.add_argument("--query-prompt", default="query: ")
    parser.add_argument("--document-prompt", default="passage: ")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    sets = [open_rows(file, check_languages=False).rows for file in given.data]
    texts = sorted({given.query_prompt + text for rows in sets for text in rows["query"]})
    texts += sorted({given.document_prompt + text for rows in sets for text in rows["positive"]})
    chosen = np.random.default_rng(given.seed).permutation(len(texts))[: given.steps * given.batch_size]
    texts = [texts[number] for number in chosen.tolist()]
    whole = SentenceTransformer(given.start)
    compute_in(whole, training_dtype(whole.device.type))
    length, whole.max_seq_length = whole.max_seq_length, given.max_length
    vectors = whole.encode(texts, show_progress_bar=True, convert_to_numpy=True)
    for layers in given.layers:
        folder = given.output / f"{Path(given.start).name}-{layers}-layers"
        if folder.is_dir():
            continue
        began, model = time.perf_counter(), SentenceTransformer(given.start)
        model.max_seq_length = given.max_length
        cut(model, layers)
        losses = recover(model, texts, vectors, given)
        model.max_seq_length = length
        model.save_pretrained(str(folder))
        settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(given).items()}
        about = {"settings": settings, "texts": len(texts), "losses": losses}
        write_json(folder / "recovery.json", {**about, "seconds": time.perf_counter() - began, **provenance()})
        print(f"{folder}: loss {losses[0]:.2g} to {losses[-1]:.2g}")


if __name__ == "__main__":
    main()
