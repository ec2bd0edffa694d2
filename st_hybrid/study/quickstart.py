"""The whole library in a minute, without a network: train with each sampler, measure, compare.

The data are facts about currencies and languages (:mod:`st_hybrid.study.cldr`), the encoder is a bag of word vectors
that starts from random numbers. That is small enough to train nine times on a laptop, and enough to show what the
batches decide: whether a question finds its answer in its own language only, or wherever it is. Since the encoder
starts without translations, they come from cross-lingual batches alone, which a pretrained encoder depends on less:
compare samplers on your own encoder and data before you choose.
"""

from __future__ import annotations

import copy
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from datasets import Dataset
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from st_hybrid.evaluation import SETTINGS, RetrievalCollection, evaluate_retrieval
from st_hybrid.methods.centering import LanguageCentering
from st_hybrid.pairs import parallel_pairs
from st_hybrid.provenance import provenance
from st_hybrid.sampler import HybridBatchSampler
from st_hybrid.study.cldr import LANGUAGES, cldr_rows
from st_hybrid.trainer import HybridTrainer

UNTRAINED = "untrained"
ALPHAS = {"X-X-mono": 1.0, "X-Y": 0.0, "hybrid": 0.5}
RANK_DISTANCE = "rank distance"
MEASURES = {
    "Mo.": "mAP, pool in the question's language",
    "Cr.": "mAP, pool in one other language",
    "Mul.": "mAP, pool in all languages",
    RANK_DISTANCE: "ranks from the best to the worst translation of an answer there, lower is better",
}


def run_quickstart(
    output: str | Path = "quickstart",
    *,
    seeds: int = 3,
    steps: int = 300,
    batch_size: int = 128,
    groups: int = 1000,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train an encoder from scratch with each sampler, and print and plot how it retrieves.

    Every seed draws its own data and its own random start; X-X-mono, X-Y and hybrid then begin with the same weights
    and take the same number of steps of the same batch size. They are measured on held-out combinations of names that
    they know, as they are and with each language's mean vector (of the training rows) subtracted.

    Args:
        output: Folder for ``results.json`` and ``results.png``; made if missing.
        seeds: How many times to run it all, with seeds 0, 1, ...
        steps: Training steps of each model.
        batch_size: Pairs a step.
        groups: Parallel groups to draw for training and test together.
        console: Where to print; ``Console(quiet=True)`` prints nothing.

    Returns:
        What ``results.json`` holds: ``settings``, ``seconds``, where the figures come from (``command``, ``date``,
        ``versions``, ``hardware``) and ``scores``, a list with one entry for each seed, model and centring: its
        ``seed``, ``model``, ``centred`` and the measures ``Mo.``, ``Cr.``, ``Mul.`` and ``rank distance``.

    Raises:
        ValueError: ``seeds`` is not positive, or there are fewer groups to train on than ``batch_size``.

    Example:
        ::

            from st_hybrid.study.quickstart import run_quickstart

            results = run_quickstart("quickstart", seeds=1, steps=100)
    """
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}.")
    began = time.perf_counter()
    console = console or Console()
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)  # fails before the work, if it does
    scores: list[dict[str, Any]] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with _one_thread(), Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=seeds * len(ALPHAS) * steps)
        for seed in range(seeds):
            progress.update(task, description=f"seed {seed}: data and encoder")
            rows = cldr_rows(groups=groups, seed=seed)
            pairs, collection = parallel_pairs(rows["train"]), RetrievalCollection.from_rows(rows["test"], name="CLDR")
            start = _encoder(rows["train"], seed)
            scores += _measure(start, collection, rows["train"], seed=seed, model=UNTRAINED)
            for name, alpha in ALPHAS.items():
                progress.update(task, description=f"seed {seed}: {name}")
                model = copy.deepcopy(start)
                _train(model, pairs, alpha, steps, batch_size, seed, _Advance(progress, task))
                scores += _measure(model, collection, rows["train"], seed=seed, model=name)
    results = {
        "settings": {
            "seeds": seeds,
            "steps": steps,
            "batch_size": batch_size,
            "groups": groups,
            "languages": list(LANGUAGES),
            "questions": len(collection.queries),
            "passages": len(collection.passages),
        },
        "seconds": round(time.perf_counter() - began, 1),
        "scores": scores,
        **provenance(),
    }
    (output / "results.json").write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _plot(results, output / "results.png")
    _print(results, output, console)
    return results


@contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices this small gain nothing from a second thread, and on a busy machine threads wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _encoder(rows: Dataset, seed: int) -> SentenceTransformer:
    """The mean of learned vectors of word pieces: random numbers now, with a vocabulary learned from the rows."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=5000, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator([*rows["query"], *rows["positive"]], trainer)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(tokenizer.get_vocab_size(), 128, generator=generator) / 10
    encoder = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")
    # With an example for its card, the trainer does not read through the pairs in search of some.
    encoder.model_card_data.widget = [{"text": rows[0]["query"]}]
    return encoder


def _train(
    model: SentenceTransformer,
    pairs: Dataset,
    alpha: float,
    steps: int,
    batch_size: int,
    seed: int,
    callback: TrainerCallback,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trainer = HybridTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                folder,
                max_steps=steps,
                per_device_train_batch_size=batch_size,
                learning_rate=0.01,
                seed=seed,
                use_cpu=True,
                disable_tqdm=True,
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
            ),
            train_dataset=pairs,
            batch_sampler=partial(HybridBatchSampler, alpha=alpha),
            callbacks=[callback],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()


class _Advance(TrainerCallback):
    """Move the progress bar with each step."""

    def __init__(self, progress: Progress, task: Any) -> None:
        self.progress = progress
        self.task = task

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.progress.advance(self.task)


def _measure(
    encoder: SentenceTransformer, collection: RetrievalCollection, rows: Dataset, **about: Any
) -> list[dict[str, Any]]:
    """The measures of a model as it is, and with the means of the training rows' languages subtracted."""
    known = rows[: 200 * len(collection.languages)]  # 200 texts of each language
    languages = known["language"]
    centering = LanguageCentering.fit(encoder, known["query"], languages, known["positive"], languages)
    measured = []
    for centred in (False, True):
        scores = evaluate_retrieval(encoder, collection, centering=centering if centred else None)
        values = [scores.by_setting[kind].map for kind in SETTINGS]
        measures = dict(zip(MEASURES, [*values, scores.rank_distance], strict=True))
        measured.append({**about, "centred": centred, **measures})
    return measured


def _over_seeds(results: dict[str, Any], model: str, centred: bool, measure: str) -> tuple[float, float | None]:
    """Mean and, of two or more seeds, standard deviation."""
    values = [row[measure] for row in results["scores"] if row["model"] == model and row["centred"] == centred]
    return mean(values), stdev(values) if len(values) > 1 else None


def _of_seeds(results: dict[str, Any]) -> str:
    seeds = results["settings"]["seeds"]
    return f"mean ± std. deviation of {seeds} seeds" if seeds > 1 else "one seed"


def _print(results: dict[str, Any], output: Path, console: Console) -> None:
    settings = results["settings"]
    languages = len(settings["languages"])
    table = Table(title=f"{settings['questions']:,} held-out questions in {languages} languages, {_of_seeds(results)}")
    table.add_column("model")
    for measure in MEASURES:
        table.add_column(measure, justify="right")
    for model in (UNTRAINED, *ALPHAS):
        for centred in (False, True):
            cells = []
            for measure in MEASURES:
                digits = 0 if measure == RANK_DISTANCE else 3
                middle, spread = _over_seeds(results, model, centred, measure)
                cells.append(f"{middle:,.{digits}f}" + ("" if spread is None else f" ± {spread:,.{digits}f}"))
            table.add_row("  centred" if centred else model, *cells, end_section=centred)
    console.print(table)
    for measure, meaning in MEASURES.items():
        console.print(f"{measure}: {meaning}" + (f" (at best {languages - 1})" if measure == RANK_DISTANCE else ""))
    console.print("centred: with each language's mean vector subtracted from its texts")
    console.print(
        f"{settings['seeds'] * len(ALPHAS)} encoders were trained from scratch, {settings['steps']} steps of "
        f"{settings['batch_size']} pairs each, in {results['seconds']:.0f} seconds."
    )
    console.print(f"Plot and scores: {output / 'results.png'}, {output / 'results.json'}")


def _plot(results: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure  # the only place that needs it, and it takes long to import

    colours = {UNTRAINED: "#bbbbbb", "X-X-mono": "#4477aa", "X-Y": "#ee8866", "hybrid": "#228833"}
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 1.2))
    for place, measure in enumerate(MEASURES):
        axes, digits = (right, 0) if measure == RANK_DISTANCE else (left, 2)
        for number, (model, colour) in enumerate(colours.items()):
            middle, spread = _over_seeds(results, model, False, measure)
            x = place + 0.2 * (number - 1.5)
            bar = axes.bar(x, middle, 0.18, yerr=spread, color=colour, label=model, error_kw={"linewidth": 1})
            axes.bar_label(bar, fmt=f"{{:,.{digits}f}}", fontsize=9, padding=2)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    left.set(ylim=(0, 1.1), ylabel="mAP", title="retrieval: higher is better")
    left.set_xticks(range(3), [f"{name}\n{MEASURES[name].split(', ')[1]}" for name in list(MEASURES)[:3]], fontsize=9)
    right.set(yscale="log", ylim=(1, 1.5 * right.get_ylim()[1]), xticks=[], ylabel="rank distance (log scale)")
    right.set_title("language bias: lower is better")
    right.yaxis.set_major_formatter("{x:,.0f}")
    handles, labels = left.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=len(shown), frameon=False)
    languages = len(results["settings"]["languages"])
    figure.suptitle(f"Encoders trained from scratch in {languages} languages ({_of_seeds(results)})")
    figure.savefig(path, dpi=150)
