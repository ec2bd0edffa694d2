"""Train on your own parallel rows, and evaluate on held-out rows before and after.

The file has one JSON object per line. Rows that share an ``id`` are translations of one another::

    {"id": "faq-7", "language": "en", "query": "How do I reset my password?", "positive": "Open Settings, then ..."}
    {"id": "faq-7", "language": "de", "query": "Wie ändere ich mein Passwort?", "positive": "Öffne Einstellungen ..."}

A group may lack some languages. Columns may have other names: ``parallel_pairs(rows, query_column="question")``.
Columns whose names begin with ``negative`` are hard negatives.

Run it::

    python own_jsonl.py --data faq.jsonl --output faq-model
"""

from __future__ import annotations

import argparse

from datasets import load_dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

from st_hybrid import HybridBatchSampler, HybridTrainer, parallel_pairs, split_groups
from st_hybrid.evaluation import RetrievalCollection, evaluate_retrieval

PROMPTS = {"query": "query: ", "positive": "passage: "}  # the prefixes of the E5 models


def show(when: str, model: SentenceTransformer, collection: RetrievalCollection) -> None:
    """Print the mAP of the three kinds of retrieval, and the language bias."""
    scores = evaluate_retrieval(
        model, collection, query_prompt=PROMPTS["query"], document_prompt=PROMPTS["positive"], show_progress_bar=True
    )
    print(
        f"{when:>6}: mAP {', '.join(f'{setting} {means.map:.3f}' for setting, means in scores.by_setting.items())}; "
        f"rank distance {scores.rank_distance:.1f} of {len(collection.passages)} (lower is better)"
    )


parser = argparse.ArgumentParser(description="Train on a JSONL file of parallel rows and evaluate on held-out ones.")
parser.add_argument("--model", default="intfloat/multilingual-e5-small", help="folder or name on the Hub")
parser.add_argument("--data", required=True, help="JSONL file of parallel rows")
parser.add_argument("--output", default="own-jsonl-model", help="folder to write the model to")
parser.add_argument("--held-out", type=int, default=200, help="groups to hold out from training and to evaluate on")
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--max-steps", type=int, default=-1, help="training steps; -1 for one epoch")
options = parser.parse_args()

rows = load_dataset("json", data_files=options.data, split="train")
parts = split_groups(rows, test_size=options.held_out)  # no group and no passage is in both parts
collection = RetrievalCollection.from_rows(parts["test"])

model = SentenceTransformer(options.model)
show("before", model, collection)

args = SentenceTransformerTrainingArguments(
    options.output,
    num_train_epochs=1,
    max_steps=options.max_steps,
    per_device_train_batch_size=options.batch_size,
    learning_rate=3e-5,
    warmup_steps=0.1,  # a number below 1 is a share of the steps
    prompts=PROMPTS,
    save_strategy="no",
    report_to="none",
)
trainer = HybridTrainer(
    model=model, args=args, train_dataset=parallel_pairs(parts["train"]), batch_sampler=HybridBatchSampler
)
trainer.train()
show("after", model, collection)
model.save_pretrained(options.output)
