"""Train with batches far larger than memory would hold.

More pairs a batch are more negatives for each query. With ``mini_batch_size`` the loss embeds that many texts at a
time and caches the gradients of their embeddings (GradCache), so memory follows the mini-batch and not the batch. The
result is that of the plain loss; each text is embedded twice, so a step takes somewhat longer.

A language with fewer passage clusters than a batch is left out of monolingual batches (a warning names it), so the data
bound the batch: with ``--batch-size 1024`` each language should have several thousand groups.

Run it::

    python large_batch_cached.py --data faq.jsonl --batch-size 1024 --mini-batch-size 64
"""

from __future__ import annotations

import argparse

from datasets import load_dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

from st_hybrid import HybridBatchSampler, HybridTrainer, MultilingualMultipleNegativesRankingLoss, parallel_pairs

parser = argparse.ArgumentParser(description="Train with large batches through the cached loss.")
parser.add_argument("--model", default="intfloat/multilingual-e5-small", help="folder or name on the Hub")
parser.add_argument("--data", required=True, help="JSONL file of parallel rows")
parser.add_argument("--output", default="large-batch-model", help="folder to write the model to")
parser.add_argument("--batch-size", type=int, default=1024)
parser.add_argument("--mini-batch-size", type=int, default=64, help="texts embedded at a time: as memory allows")
parser.add_argument("--max-steps", type=int, default=-1, help="stop after so many steps; -1: one epoch")
options = parser.parse_args()

model = SentenceTransformer(options.model)
pairs = parallel_pairs(load_dataset("json", data_files=options.data, split="train"))
loss = MultilingualMultipleNegativesRankingLoss(model, mini_batch_size=options.mini_batch_size)
args = SentenceTransformerTrainingArguments(
    options.output,
    num_train_epochs=1,
    max_steps=options.max_steps,
    per_device_train_batch_size=options.batch_size,
    learning_rate=1e-4,  # larger batches take larger steps
    warmup_steps=0.1,  # below 1: a share of the steps
    prompts={"query": "query: ", "positive": "passage: "},  # what the E5 models were trained with
    logging_steps=1,
    save_strategy="no",
    report_to="none",
)
trainer = HybridTrainer(model=model, args=args, train_dataset=pairs, loss=loss, batch_sampler=HybridBatchSampler)
trainer.train()
model.save_pretrained(options.output)
