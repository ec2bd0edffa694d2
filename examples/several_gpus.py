"""Train on several GPUs with the script for a single GPU; only the launcher differs.

Run it on the GPUs of one machine with one of these launchers::

    torchrun --nproc_per_node 4 several_gpus.py --data faq.jsonl
    accelerate launch --multi_gpu --num_processes 4 several_gpus.py --data faq.jsonl

Without a GPU the processes use the CPU, which is enough to try the script.

All processes draw the same batches, and accelerate gives each process its own. The batches of one step are of one kind
and, if monolingual, of one language. No two pairs of a step share a passage. ``gather_across_devices=True`` uses the
passages of all processes as negatives, so 4 GPUs with 64 pairs each train like one GPU with 256 pairs.
"""

from __future__ import annotations

import argparse

import torch
from datasets import load_dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

from st_hybrid import HybridBatchSampler, HybridTrainer, MultilingualMultipleNegativesRankingLoss, parallel_pairs

parser = argparse.ArgumentParser(description="Train on several GPUs, under torchrun or accelerate launch.")
parser.add_argument("--model", default="intfloat/multilingual-e5-small", help="folder or name on the Hub")
parser.add_argument("--data", required=True, help="JSONL file of parallel rows")
parser.add_argument("--output", default="several-gpus-model", help="folder to write the model to")
parser.add_argument("--batch-size", type=int, default=64, help="pairs per batch and process")
parser.add_argument("--max-steps", type=int, default=-1, help="training steps; -1 for one epoch")
options = parser.parse_args()

model = SentenceTransformer(options.model)
args = SentenceTransformerTrainingArguments(
    options.output,
    num_train_epochs=1,
    max_steps=options.max_steps,
    per_device_train_batch_size=options.batch_size,
    dataloader_drop_last=True,  # gathering needs equally many pairs on every process
    learning_rate=3e-5,
    warmup_steps=0.1,  # a number below 1 is a share of the steps
    prompts={"query": "query: ", "positive": "passage: "},  # the prefixes of the E5 models
    save_strategy="no",
    report_to="none",
    use_cpu=not torch.cuda.is_available(),  # otherwise processes on CPUs train independently
)
with args.main_process_first():  # one process reads the file, the others its cache
    pairs = parallel_pairs(load_dataset("json", data_files=options.data, split="train"))
loss = MultilingualMultipleNegativesRankingLoss(model, gather_across_devices=True)
trainer = HybridTrainer(model=model, args=args, train_dataset=pairs, loss=loss, batch_sampler=HybridBatchSampler)
trainer.train()
trainer.save_model(options.output)  # the main process alone writes
if trainer.is_world_process_zero():
    print(f"Trained on {args.world_size} processes, {args.world_size * options.batch_size} pairs per step.")
