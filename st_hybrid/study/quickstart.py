"""The whole library in a minute, without a network: train with each sampler, measure and compare."""

import copy
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from textwrap import fill
from typing import Any

import torch
from datasets import Dataset
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from transformers import PrinterCallback

from st_hybrid.evaluation import SETTINGS, RetrievalCollection, evaluate_retrieval
from st_hybrid.files import replacing, write_json
from st_hybrid.methods.centering import LanguageCentering
from st_hybrid.pairs import parallel_pairs
from st_hybrid.progress import progress_bar
from st_hybrid.provenance import provenance
from st_hybrid.sampler import HybridBatchSampler
from st_hybrid.study.cldr import LANGUAGES, cldr_rows
from st_hybrid.study.scratch import trained_tokenizer
from st_hybrid.trainer import HybridTrainer

UNTRAINED = "untrained"
ALPHAS = {"X-X-mono": 1.0, "X-Y": 0.0, "hybrid": 0.5}
COLORS = {UNTRAINED: "#bbbbbb", "X-X-mono": "#4477aa", "X-Y": "#ee8866", "hybrid": "#228833"}
RANK_DISTANCE = "rank distance"
MEASURES = {
    "Mo.": "mAP, pool in the query's language",
    "Cr.": "mAP, pool in one other language",
    "Mul.": "mAP, pool in all languages",
    RANK_DISTANCE: f"ranks from the best to the worst translation, lower is better (at best {len(LANGUAGES) - 1})",
}


def run_quickstart(
    output: str | Path = "quickstart", *, seeds: int = 3, steps: int = 300, batch_size: int = 128, groups: int = 1000
) -> dict[str, Any]:
    """Train small encoders from scratch with each sampler, print and plot how they retrieve, and return the results.

    They are evaluated on held-out combinations of known names, plain and with each language's mean subtracted.

    Args:
        output: Folder for ``results.json``, whose content is returned, and ``results.png``.
        seeds: Number of repetitions, at least 1. Each has its own data and its own start values.
        steps: Training steps per model.
        batch_size: Pairs per step.
        groups: Parallel groups to generate, for training and test together.

    Example:
        ::

            from st_hybrid.study.quickstart import run_quickstart

            run_quickstart("quickstart", seeds=1, steps=100)
    """
    if seeds < 1 or steps < 1:
        raise ValueError(f"seeds and steps must be at least 1, got {seeds} and {steps}.")
    began, output = time.perf_counter(), Path(output)
    output.mkdir(parents=True, exist_ok=True)  # an error comes before the work
    scores: list[dict[str, Any]] = []
    total = seeds * len(ALPHAS)
    with _one_thread(), progress_bar(total, "Training", unit="models") as advance:
        for seed in range(seeds):
            rows = cldr_rows(groups=groups, seed=seed)
            pairs, collection = parallel_pairs(rows["train"]), RetrievalCollection.from_rows(rows["test"], name="CLDR")
            start = _encoder(rows["train"], seed)
            scores += _measure(start, collection, rows["train"], seed=seed, model=UNTRAINED)
            for name, alpha in ALPHAS.items():
                model = copy.deepcopy(start)
                _train(model, pairs, alpha, max_steps=steps, per_device_train_batch_size=batch_size, seed=seed)
                scores += _measure(model, collection, rows["train"], seed=seed, model=name)
                advance(1)
    settings = {"seeds": seeds, "steps": steps, "batch_size": batch_size, "groups": groups, "languages": [*LANGUAGES]}
    results = {
        "settings": {**settings, "queries": len(collection.queries), "passages": len(collection.passages)},
        "seconds": round(time.perf_counter() - began, 1),
        "scores": scores,
        **provenance(),
    }
    write_json(output / "results.json", results)
    seeds_of = f"mean ± standard deviation of {seeds} seeds" if seeds > 1 else "one seed"
    title = f"{len(LANGUAGES)} languages, {seeds_of}"
    _plot(results, title, output / "results.png")
    _print(results, title, output)
    return results


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: matrices this small gain nothing from a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _encoder(rows: Dataset, seed: int) -> SentenceTransformer:
    """A bag of random word vectors: all that it learns of translations comes from cross-lingual batches."""
    tokenizer = trained_tokenizer([*rows["query"], *rows["positive"]], 5000)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(tokenizer.get_vocab_size(), 128, generator=generator) / 10
    encoder = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")
    encoder.model_card_data.widget = [{"text": rows[0]["query"]}]  # otherwise the trainer searches for an example
    return encoder


def _train(model: SentenceTransformer, pairs: Dataset, alpha: float, **options: Any) -> None:
    quiet: dict[str, Any] = {"disable_tqdm": True, "logging_strategy": "no", "save_strategy": "no", "report_to": "none"}
    with tempfile.TemporaryDirectory() as folder:
        args = SentenceTransformerTrainingArguments(folder, learning_rate=0.01, use_cpu=True, **quiet, **options)
        trainer = HybridTrainer(model, args, pairs, batch_sampler=partial(HybridBatchSampler, alpha=alpha))
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def _measure(
    encoder: SentenceTransformer, collection: RetrievalCollection, rows: Dataset, **about: Any
) -> list[dict[str, Any]]:
    """Evaluate a model plain and centered."""
    known = rows.select(range(200 * len(collection.languages)))  # 200 texts of each language
    centering, measured = LanguageCentering.fit_rows(encoder, known), []
    for centered in (False, True):
        scores = evaluate_retrieval(encoder, collection, centering=centering if centered else None)
        values = [*(scores.by_setting[setting].map for setting in SETTINGS), scores.rank_distance]
        measured.append({**about, "centered": centered, **dict(zip(MEASURES, values, strict=True))})
    return measured


def _over_seeds(results: dict[str, Any], model: str, centered: bool, measure: str) -> tuple[float, float | None]:
    """Mean and, with several seeds, standard deviation."""
    values = [row[measure] for row in results["scores"] if row["model"] == model and row["centered"] == centered]
    return mean(values), stdev(values) if len(values) > 1 else None


def _print(results: dict[str, Any], title: str, output: Path) -> None:
    settings = results["settings"]
    table = Table("model", *MEASURES, title=f"{settings['queries']:,} held-out queries in {title}")
    for model, centered in product(COLORS, (False, True)):
        cells = []
        for measure in MEASURES:
            middle, spread = _over_seeds(results, model, centered, measure)
            digits = 0 if measure == RANK_DISTANCE else 3
            cells.append(f"{middle:,.{digits}f}" + ("" if spread is None else f" ± {spread:,.{digits}f}"))
        table.add_row("  centered" if centered else model, *cells, end_section=centered)
    meanings = MEASURES | {"centered": "each language's mean vector is subtracted from its texts"}
    Console().print(
        table,
        *(f"{name}: {meaning}" for name, meaning in meanings.items()),
        f"{settings['seeds'] * len(ALPHAS)} encoders were trained from scratch with {settings['steps']} steps of "
        f"{settings['batch_size']} pairs each, in {results['seconds']:.0f} seconds.",
        f"Plot and scores: {output / 'results.png'}, {output / 'results.json'}",
        sep="\n",
    )


def _plot(results: dict[str, Any], title: str, path: Path) -> None:
    from matplotlib.figure import Figure  # imported here because it takes long

    figure = Figure(figsize=(11, 4), layout="constrained")
    for axes, measure in zip(figure.subplots(1, len(MEASURES)), MEASURES, strict=True):
        digits, top = (0, None) if measure == RANK_DISTANCE else (2, 1.1)
        for model, color in COLORS.items():
            middle, spread = _over_seeds(results, model, False, measure)
            bar = axes.bar(model, middle, yerr=spread, color=color, label=model, error_kw={"linewidth": 1})
            axes.bar_label(bar, fmt=f"{{:,.{digits}f}}", fontsize=9, padding=2)
        axes.set(xticks=[], ylim=(0, top))
        axes.set_title(f"{measure}\n{fill(MEASURES[measure], 30)}", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(COLORS), frameon=False)
    figure.suptitle(f"Encoders trained from scratch, {title}")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
