"""Losses that are not in the package, beside hybrid batches of one document, on the whole of XQuAD-R.

    python benchmarks/rejected_losses.py --start MODEL --data-dir DIR --output FILE

The study of methods (``grids/methods.yaml``) compares what the package has. This script adds what it left out, under
the settings of the grids: the rows of ``recipe_data.py``, batches of 48, learning rate 5e-5. Scores of a file that is
there are kept.
"""

import argparse
import functools
import json
import shlex
import sys
import tempfile
from pathlib import Path

from methods_losses import LanguageCorrelationLoss, ScoreConsistencyLoss
from recipe_data import DOCUMENT, read_sets
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

from st_hybrid import (
    HybridBatchSampler,
    HybridTrainer,
    MultilingualMultipleNegativesRankingLoss,
    join_rows,
    parallel_pairs,
)
from st_hybrid.dtypes import training_dtype
from st_hybrid.encoders import compute_in
from st_hybrid.evaluation import SETTINGS, evaluate_retrieval, load_lareqa
from st_hybrid.files import write_json
from st_hybrid.provenance import provenance

LOSSES = {
    "none": MultilingualMultipleNegativesRankingLoss,
    "score consistency": functools.partial(ScoreConsistencyLoss, weight=1.0),
    "correlation penalty": functools.partial(LanguageCorrelationLoss, weight=10.0),
}


def main() -> None:
    """Train with each loss, and write the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", required=True, help="encoder to train")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder that holds xquad-r, qa and bitext")
    parser.add_argument("--output", type=Path, required=True, help="JSON file of the scores")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = json.loads(given.output.read_text(encoding="utf-8"))["scores"] if given.output.is_file() else {}
    collection = load_lareqa("XQuAD-R", given.data_dir)
    rows = join_rows(read_sets(given.data_dir), columns=DOCUMENT)
    pairs = parallel_pairs(rows, document_column="document")
    for name, loss in LOSSES.items():
        if name in found:
            continue
        model = SentenceTransformer(given.start)
        dtype = training_dtype(model.device.type)
        model.transformers_model.get_input_embeddings().requires_grad_(False)
        with tempfile.TemporaryDirectory() as folder:
            args = SentenceTransformerTrainingArguments(
                folder,
                per_device_train_batch_size=48,
                max_steps=given.steps,
                learning_rate=5e-5,
                warmup_steps=0.1,
                weight_decay=0.01,
                bf16=dtype == "bfloat16",
                use_cpu=model.device.type == "cpu",
                seed=given.seed,
                prompts={"query": "query: ", "positive": "passage: "},
                batch_sampler=functools.partial(HybridBatchSampler, alpha=0.4, same_document=True),
                save_strategy="no",
                logging_steps=25,
                report_to="none",
            )
            trainer = HybridTrainer(model, args, pairs, loss=loss(model, scale=100.0))
            trainer.data_collator.max_length = 80
            trainer.train()
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        compute_in(model, dtype)
        scores = evaluate_retrieval(model, collection, query_prompt="query: ", document_prompt="passage: ")
        measured = {kind: scores.by_setting[kind].map for kind in SETTINGS}
        found[name] = {**measured, "rank_distance": scores.rank_distance}
        about = {**provenance(), "command": shlex.join(sys.argv), "steps": given.steps, "seed": given.seed}
        write_json(given.output, {**about, "scores": found})
        print(name, found[name])


if __name__ == "__main__":
    main()
