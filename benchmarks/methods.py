"""Methods beside one another on the whole of XQuAD-R: the same data, the same number of steps, several seeds.

    python benchmarks/methods.py --start MODEL --data-dir DIR --work DIR --worker 1/2 & (and 2/2 on another core)
    python benchmarks/methods.py --work DIR --table

``--data-dir`` holds ``xquad-r``, ``qa`` and ``bitext``. Monolingual pairs are questions that people asked in Arabic,
Chinese, Japanese and Thai; cross-lingual pairs are human translations of news and of messages of programs, in the nine
languages of the hybrid batch training paper and ten others, without Greek and Vietnamese. Each cell is a method and a
seed. What ``--work`` holds is not run again. Every cell is measured as it is, with quotas per language, and centred
with means of the news. Nothing was chosen by these scores.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from methods_losses import LanguageCorrelationLoss, ScoreConsistencyLoss
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

from st_hybrid import (
    HybridBatchSampler,
    HybridTrainer,
    LanguageCentering,
    MultilingualMultipleNegativesRankingLoss,
    join_rows,
    parallel_pairs,
)
from st_hybrid.data import open_rows, read_squad
from st_hybrid.data.squad import Positive
from st_hybrid.evaluation import RetrievalCollection, encode_collection, load_lareqa, score_queries
from st_hybrid.files import replacing, write_json
from st_hybrid.methods.anchor import AnchorDistillationLoss, AnchorVectors
from st_hybrid.methods.merging import merged_weights
from st_hybrid.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "methods.json"
QUESTION_SETS: tuple[tuple[str, str, str, Positive], ...] = (
    ("ar", "arcd", "ar-arcd.json", "sentence"),
    ("zh", "cmrc", "zh-cmrc2018.json", "sentence"),
    ("zh", "drcd", "zh-drcd.json", "sentence"),
    ("ja", "jaquad", "ja-jaquad.json.gz", "sentence"),
    ("th", "iapp", "th-iapp.jsonl", "paragraph"),  # whose sentences no splitter finds
)
UNSEEN = ("el", "vi")  # as in the paper
SOFTWARE_GROUPS, SHORTEST = 3000, 40  # letters; of dense scripts a third
PROMPTS = {"query": "query: ", "positive": "passage: "}
SCALE, MAX_LENGTH = 100.0, 80
MEASURES = ("Mo.", "Cr.", "Mul.", "rank distance")

Loss = Callable[[SentenceTransformer, Dataset], torch.nn.Module]


def contrastive(model: SentenceTransformer, _: Dataset) -> torch.nn.Module:
    return MultilingualMultipleNegativesRankingLoss(model, scale=SCALE)


def distillation(model: SentenceTransformer, pairs: Dataset) -> torch.nn.Module:
    own: dict[str, Any] = {"query_prompt": PROMPTS["query"], "document_prompt": PROMPTS["positive"]}
    teacher = AnchorVectors.encode(model, pairs, dtype="bfloat16", **own)
    return AnchorDistillationLoss(model, teacher, weight=5.0, scale=SCALE)


def consistency(model: SentenceTransformer, _: Dataset) -> torch.nn.Module:
    return ScoreConsistencyLoss(model, weight=1.0, scale=SCALE)


def correlation(model: SentenceTransformer, _: Dataset) -> torch.nn.Module:
    return LanguageCorrelationLoss(model, weight=10.0, scale=SCALE)


@dataclass(frozen=True)
class Method:
    """How a method differs from hybrid training with alpha .4."""

    sampler: dict[str, Any] = field(default_factory=lambda: {"alpha": 0.4})
    loss: Loss = contrastive
    merge: float = 0.0  # share of the start's weights


HARD = {"alpha": 0.4, "same_document": True}
METHODS = {
    "untouched": None,
    "X-X-mono": Method({"alpha": 1.0}),
    "X-Y": Method({"alpha": 0.0}),
    "hybrid": Method(),
    "mixture in each batch": Method({"alpha": 0.4, "homogeneous": False}),
    "hybrid, same documents": Method(HARD),
    "hybrid, same documents, distillation": Method(HARD, distillation),
    "hybrid, same documents, score consistency": Method(HARD, consistency),
    "hybrid, same documents, correlation penalty": Method(HARD, correlation),
    "hybrid, same documents, merged with .3 of the start": Method(HARD, merge=0.3),
}


def read_rows(folder: Path) -> dict[str, Dataset]:
    """The questions, the news and a sample of the messages of programs."""
    bitext = []
    for name in ("ntrex", "software"):
        rows = open_rows(folder / "bitext" / f"{name}.jsonl.gz", columns={"document": "document"}).rows
        bitext.append(rows.select(np.flatnonzero(~np.isin(rows["language"][:], UNSEEN))))
    news, software = bitext
    long = [
        len(text) >= SHORTEST / (3 if language in ("ja", "ko", "zh") else 1)
        for language, text in zip(software["language"][:], software["query"][:], strict=True)
    ]
    software = software.select(np.flatnonzero(long))
    ids = np.array(software["id"][:])
    drawn = np.random.default_rng(0).permutation(np.unique(ids))[:SOFTWARE_GROUPS]
    questions = {
        f"{language} {name}": read_squad({language: folder / "qa" / file}, positive=positive).rows
        for language, name, file, positive in QUESTION_SETS
    }
    return {**questions, "news": news, "software": software.select(np.flatnonzero(np.isin(ids, drawn)))}


def train(
    start: str, method: Method | None, rows: Dataset, seed: int, steps: int, batch_size: int
) -> SentenceTransformer:
    """The model of a cell."""
    model = SentenceTransformer(start, device="cpu")
    if method is None:
        return model
    anchor = "en" if method.loss is distillation else None
    pairs = parallel_pairs(rows, document_column="document", anchor=anchor)
    model[0].model.get_input_embeddings().requires_grad_(False)
    args = SentenceTransformerTrainingArguments(
        "tmp_methods",
        per_device_train_batch_size=batch_size,
        max_steps=steps,
        learning_rate=5e-5,
        warmup_steps=0.1,
        weight_decay=0.01,
        bf16=True,
        use_cpu=True,
        seed=seed,
        prompts=PROMPTS,
        batch_sampler=functools.partial(HybridBatchSampler, **method.sampler),
        save_strategy="no",
        logging_steps=25,
        report_to="none",
    )
    trainer = HybridTrainer(model, args, pairs, loss=method.loss(model, pairs))
    trainer.data_collator.max_length = MAX_LENGTH
    trainer.train()
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    if method.merge:
        model.load_state_dict(merged_weights(SentenceTransformer(start, device="cpu"), model, method.merge))
    return model


def measure(model: SentenceTransformer, news: Dataset, collection: RetrievalCollection) -> dict[str, np.ndarray]:
    """The mean scores of each question over its languages, for each variant, shape ``(questions, measures)``."""
    with torch.autocast("cpu", torch.bfloat16):
        vectors = encode_collection(model, collection)
        centering = LanguageCentering.fit_rows(
            model, news, per_language=200, query_prompt=PROMPTS["query"], document_prompt=PROMPTS["positive"]
        )
    number = np.unique(list(collection.query_ids), return_inverse=True)[1]
    asked, own = np.arange(len(number)), collection.query_languages
    found = {}
    for name, options in {"plain": {}, "quotas": {"quotas": True}, "centered": {"centering": centering}}.items():
        scores = score_queries(*vectors, collection, **options)  # type: ignore[arg-type]
        maps = scores.measures["map"]
        monolingual, multilingual = maps[asked, own], maps[:, -1]
        cross_lingual = (maps[:, :-1].sum(axis=1) - monolingual) / (maps.shape[1] - 2)
        columns = np.stack([monolingual, cross_lingual, multilingual, scores.rank_distance], axis=1)
        sums = np.zeros((number.max() + 1, len(MEASURES)))
        np.add.at(sums, number, columns)
        found[name] = sums / np.bincount(number)[:, None]
    return found


def run(given: argparse.Namespace) -> None:
    """Train and measure the cells of this worker that the work folder lacks."""
    sets = read_rows(given.data_dir)
    rows = join_rows(sets, columns={"document": "document"})
    news = open_rows(given.data_dir / "bitext" / "ntrex.jsonl.gz").rows
    collection = load_lareqa("XQuAD-R", given.data_dir)
    given.work.mkdir(parents=True, exist_ok=True)
    about = {"rows": {name: len(part) for name, part in sets.items()}, "steps": given.steps, "batch": given.batch_size}
    write_json(given.work / "about.json", {**provenance(), **about, "command": shlex.join(sys.argv)})
    cells = [(name, seed) for seed in range(given.seeds) for name in METHODS if name != "untouched" or seed == 0]
    mine, of = map(int, given.worker.split("/"))
    for name, seed in cells[mine - 1 :: of]:
        file = given.work / f"{name}, seed {seed}.npz"
        if file.is_file():
            continue
        began = time.perf_counter()
        model = train(str(given.start), METHODS[name], rows, seed, given.steps, given.batch_size)
        found = measure(model, news, collection)
        with replacing(file) as temporary, temporary.open("wb") as target:
            np.savez(target, **found)
        means = " ".join(f"{value:.4f}" for value in found["plain"].mean(axis=0))
        print(f"{name}, seed {seed}: {means} in {time.perf_counter() - began:,.0f} s", flush=True)


def table(given: argparse.Namespace) -> None:
    """Print and write the means over seeds, and the differences from hybrid with 95% intervals.

    A resample draws questions, each in all its languages, and seeds, the same for both methods (multi-bootstrap,
    Sellam et al. 2022, https://arxiv.org/abs/2106.16163).
    """
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    cells = {name: [dict(np.load(file)) for file in sorted(given.work.glob(f"{name}, seed *.npz"))] for name in METHODS}
    shown = Table("XQuAD-R", "variant", "seeds", *MEASURES)
    for name, seeds in cells.items():
        for variant in seeds[0] if seeds else ():
            scores = np.stack([one[variant] for one in seeds])  # seeds, questions, measures
            entry: dict[str, Any] = {"mean": scores.mean(axis=(0, 1)), "of_seeds": scores.mean(axis=1)}
            reference = np.stack([one["plain"] for one in cells["hybrid"]]) if cells["hybrid"] else scores
            differences = []
            for _ in range(1000):
                questions = rng.integers(scores.shape[1], size=scores.shape[1])
                drawn = rng.integers(max(len(scores), len(reference)), size=len(scores))
                means = [part[drawn % len(part)][:, questions].mean(axis=(0, 1)) for part in (scores, reference)]
                differences.append(means[0] - means[1])
            entry["from_hybrid"] = np.quantile(differences, [0.025, 0.975], axis=0)
            found[f"{name}, {variant}"] = {key: np.round(value, 4).tolist() for key, value in entry.items()}
            cellwise = zip(entry["mean"], entry["from_hybrid"].T, strict=True)
            shown.add_row(
                name,
                variant,
                str(len(scores)),
                *(f"{mean:.3f} [{low:+.3f}, {high:+.3f}]" for mean, (low, high) in cellwise),
            )
    about = json.loads((given.work / "about.json").read_text(encoding="utf-8"))
    write_json(given.output, {**about, "measures": MEASURES, "methods": found})
    Console(width=150).print(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, help="encoder to train")
    parser.add_argument("--data-dir", type=Path, help="folder that holds xquad-r, qa and bitext")
    parser.add_argument("--work", type=Path, required=True, help="folder for the scores of the cells")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--worker", default="1/1", help="this worker and their number, such as 2/3")
    parser.add_argument("--table", action="store_true", help="print what the work folder holds, and write --output")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file of the table")
    given = parser.parse_args()
    table(given) if given.table else run(given)


if __name__ == "__main__":
    main()
