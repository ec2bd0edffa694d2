"""Train with batches that are too large for the memory of a GPU.

A larger batch gives each query more negatives. With ``mini_batch_size`` the loss embeds this many texts at a time and
caches the gradients of their embeddings (GradCache), so the memory depends on the mini-batch only. The result equals
that of the plain loss. Each text is embedded twice, so a step takes longer.

A language with fewer passage clusters than a batch is left out of monolingual batches, with a warning. With
``--batch-size 1024`` each language should have several thousand groups.

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
parser.add_argument("--mini-batch-size", type=int, default=64, help="texts to embed at a time, as memory allows")
parser.add_argument("--max-steps", type=int, default=-1, help="training steps; -1 for one epoch")
options = parser.parse_args()

model = SentenceTransformer(options.model)
pairs = parallel_pairs(load_dataset("json", data_files=options.data, split="train"))
loss = MultilingualMultipleNegativesRankingLoss(model, mini_batch_size=options.mini_batch_size)
args = SentenceTransformerTrainingArguments(
    options.output,
    num_train_epochs=1,
    max_steps=options.max_steps,
    per_device_train_batch_size=options.batch_size,
    learning_rate=1e-4,  # larger batches allow a higher learning rate
    warmup_steps=0.1,  # a number below 1 is a share of the steps
    prompts={"query": "query: ", "positive": "passage: "},  # the prefixes of the E5 models
    logging_steps=1,
    save_strategy="no",
    report_to="none",
)
trainer = HybridTrainer(model=model, args=args, train_dataset=pairs, loss=loss, batch_sampler=HybridBatchSampler)
trainer.train()
model.save_pretrained(options.output)
