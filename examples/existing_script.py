"""An existing sentence-transformers training script, with only the data set, the sampler and the loss changed.

Lines marked ``-`` are the old ones and lines marked ``+`` replace them. All other lines are unchanged. The data are
parallel rows, one JSON object per line. Rows that share an ``id`` are translations of one another::

    {"id": "faq-7", "language": "en", "query": "How do I reset my password?", "positive": "Open Settings, then ..."}
    {"id": "faq-7", "language": "de", "query": "Wie ändere ich mein Passwort?", "positive": "Öffne Einstellungen ..."}

Run it::

    python existing_script.py --data faq.jsonl --output faq-model
"""

from __future__ import annotations

import argparse

from datasets import load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)

# - from sentence_transformers.losses import MultipleNegativesRankingLoss
# - from sentence_transformers.training_args import BatchSamplers
from st_hybrid import HybridBatchSampler, MultilingualMultipleNegativesRankingLoss, parallel_pairs  # +

parser = argparse.ArgumentParser(description="Fine-tune a multilingual encoder with hybrid batches.")
parser.add_argument("--model", default="intfloat/multilingual-e5-small", help="folder or name on the Hub")
parser.add_argument("--data", required=True, help="JSONL file of parallel rows")
parser.add_argument("--output", default="existing-script-model", help="folder to write the model to")
parser.add_argument("--batch-size", type=int, default=100)
parser.add_argument("--max-steps", type=int, default=-1, help="training steps; -1 for one epoch")
options = parser.parse_args()

model = SentenceTransformer(options.model)

rows = load_dataset("json", data_files=options.data, split="train")
# - train_dataset = rows.select_columns(["query", "positive"])
train_dataset = parallel_pairs(rows)  # +

# - loss = MultipleNegativesRankingLoss(model)
loss = MultilingualMultipleNegativesRankingLoss(model)  # +

args = SentenceTransformerTrainingArguments(
    options.output,
    num_train_epochs=1,
    max_steps=options.max_steps,
    per_device_train_batch_size=options.batch_size,
    learning_rate=3e-5,
    warmup_steps=0.1,  # a number below 1 is a share of the steps
    prompts={"query": "query: ", "positive": "passage: "},  # the prefixes of the E5 models
    # - batch_sampler=BatchSamplers.NO_DUPLICATES,
    batch_sampler=HybridBatchSampler,  # +
    save_strategy="no",
    report_to="none",
)
trainer = SentenceTransformerTrainer(model=model, args=args, train_dataset=train_dataset, loss=loss)
trainer.train()
model.save_pretrained(options.output)
