"""Fine-tune a model on parallel rows with the paper's recipe: what ``st-hybrid train`` does."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset, DatasetDict
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from transformers import EarlyStoppingCallback
from transformers.trainer_utils import get_last_checkpoint

from st_hybrid.data.zero_shot import CheckedSet, zero_shot_statement
from st_hybrid.evaluation import SETTINGS, CrossLingualRetrievalEvaluator, parallel_collection
from st_hybrid.loss import MultilingualMultipleNegativesRankingLoss
from st_hybrid.pairs import Side, pair_text, parallel_pairs
from st_hybrid.provenance import provenance
from st_hybrid.rows import split_groups
from st_hybrid.sampler import HybridBatchSampler
from st_hybrid.trainer import HybridTrainer

#: The sampler's settings by the names that the papers give them; ``hybrid`` takes ``alpha`` as given.
SAMPLERS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "hybrid": {},
        "x-x-mono": {"alpha": 1.0},
        "x-y": {"alpha": 0.0},
        "x-x": {"alpha": 1.0, "languages": "mixed"},
    }
)

_SETTINGS = "settings.json"
_SUMMARY = "training.json"
_CHECKPOINTS = "checkpoints"
_HELD_OUT = "held-out"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train. The defaults are those of Elmahdy, Lin and Ahmad 2024 (arXiv 2408.10536) where it states them.

    Args:
        sampler: ``"hybrid"`` or a baseline: ``"x-x-mono"``, ``"x-y"``, ``"x-x"``.
        alpha: Share of monolingual batches of ``hybrid``.
        languages: How monolingual batches take their language, ``"uniform"`` or ``"proportional"``.
        batch_size: Pairs of a step, for each process.
        mini_batch_size: Pairs encoded at once; with it the loss caches gradients, so that memory is that of a
            mini-batch.
        max_steps: Steps to train; 0 for ``epochs``.
        epochs: Passes over the parallel rows.
        learning_rate: Peak of a linear schedule.
        warmup: Share of the steps in which the learning rate rises.
        weight_decay: Weight decay of AdamW.
        scale: Inverse temperature of the loss.
        max_length: Tokens of a text in training, the rest is cut; 0 for the model's own.
        query_prompt: Put before queries; by default the model's own query prompt.
        document_prompt: Put before passages; by default the model's own document prompt.
        freeze_embeddings: Leave the token embeddings as they are, most of a small multilingual model's weights.
        bf16: bfloat16 arithmetic; by default where the GPU has it.
        held_out: Groups kept from training to measure retrieval on; 0 for none.
        eval_steps: Steps between two measurements and checkpoints; 0 for ten of them.
        patience: Stop after so many measurements without a better multilingual mAP; 0 to go on. Either way the best
            checkpoint is kept if there are held-out groups.
        partners: Partner languages of a query, see :func:`~st_hybrid.parallel_pairs`; 0 for all.
        negatives_follow: Whose hard negatives a cross-lingual pair has, ``"positive"`` or ``"query"``, see there.
        seed: Seed of everything random.
    """

    sampler: str = "hybrid"
    alpha: float = 0.5
    languages: str = "uniform"
    batch_size: int = 100
    mini_batch_size: int | None = None
    max_steps: int = 0
    epochs: float = 1.0
    learning_rate: float = 3e-5
    warmup: float = 0.1
    weight_decay: float = 1e-2
    scale: float = 20.0
    max_length: int = 0
    query_prompt: str | None = None
    document_prompt: str | None = None
    freeze_embeddings: bool = False
    bf16: bool | None = None
    held_out: int = 0
    eval_steps: int = 0
    patience: int = 0
    partners: int = 0
    negatives_follow: Side = "positive"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {self.sampler!r}.")
        if self.patience and not self.held_out:
            raise ValueError("patience needs held-out groups to measure on: set held_out too.")

    def batch_sampler(self) -> Any:
        """The sampler to hand to a trainer."""
        settings = {"alpha": self.alpha, "languages": self.languages, **SAMPLERS[self.sampler]}
        return functools.partial(HybridBatchSampler, **settings)


def finetune(
    model: str | Path,
    rows: Dataset | Mapping[str, Dataset],
    output: str | Path,
    recipe: Recipe | None = None,
    *,
    data_name: str = "parallel rows",
    columns: Mapping[str, str] = MappingProxyType({}),
    source: Mapping[str, Any] = MappingProxyType({}),
    checked: Sequence[CheckedSet] = (),
    resume: bool = False,
) -> SentenceTransformer:
    """Train a model on parallel rows and write it, with its card, to a folder.

    Beside the model the folder gets ``settings.json`` (before the first step), ``checkpoints/`` and ``training.json``
    (settings, command, versions, seconds and the log of losses and scores).

    Args:
        model: A SentenceTransformer's folder or hub name.
        rows: Parallel rows; or a ``DatasetDict`` of several sets, as of
            :func:`~st_hybrid.data.open_row_sets`. Then each batch comes from one set, and they are drawn by size.
        output: Folder to write.
        recipe: How to train; by default the paper's recipe.
        data_name: What the model card calls the data; several sets are called by their keys.
        columns: The rows' columns, as keyword arguments of :func:`~st_hybrid.parallel_pairs`.
        source: How the rows were read, to be kept with the settings: a run goes on only with the same.
        checked: Evaluation sets that the rows were checked against, as :func:`~st_hybrid.data.zero_shot.checked_sets`
            finds them; the card calls evaluation zero-shot on no others.
        resume: Go on from the last checkpoint in ``output``, which must be of the same settings. The run then sees the
            batches that it would have seen.

    Returns:
        The trained model.

    Raises:
        FileExistsError: ``output`` holds a run and ``resume`` is not set.
        ValueError: The rows are not valid, or the settings differ from those of the run to resume.

    Example:
        ::

            from st_hybrid.training import Recipe, finetune
            from st_hybrid.data import open_rows

            finetune("intfloat/multilingual-e5-small", open_rows("rows.jsonl").rows, "out", Recipe(max_steps=200))
    """
    recipe, output = recipe or Recipe(), Path(output)
    sets = {data_name: rows} if isinstance(rows, Dataset) else dict(rows)
    names = ", ".join(sets)
    settings = {
        "model": str(model),
        "data": names,
        "columns": dict(columns),
        "source": dict(source),
        **asdict(recipe),
    }
    checkpoint = _claim(output, settings, resume)

    train_sets, evaluator = sets, None
    if recipe.held_out:
        train_sets, test_rows = _hold_out(sets, recipe.held_out, columns, recipe.seed)
        evaluator = CrossLingualRetrievalEvaluator(
            parallel_collection(test_rows),
            name=_HELD_OUT,
            query_prompt=recipe.query_prompt,
            document_prompt=recipe.document_prompt,
        )
    pairs = {
        name: parallel_pairs(
            part,
            partners=recipe.partners or None,
            negatives_follow=recipe.negatives_follow,
            seed=recipe.seed,
            **columns,
        )
        for name, part in train_sets.items()
    }

    encoder = SentenceTransformer(str(model))
    full_length = encoder.max_seq_length
    if recipe.max_length:
        encoder.max_seq_length = recipe.max_length
    if recipe.freeze_embeddings:
        if encoder.transformers_model is None:
            raise ValueError(f"{model} has no transformer, so there are no token embeddings to freeze.")
        encoder.transformers_model.get_input_embeddings().requires_grad_(False)
    encoder.model_card_data.train_datasets = [{"name": name} for name in sets]
    encoder.model_card_data.language = sorted({code for part in pairs.values() for code in pair_text(part).languages})
    encoder.model_card_data.add_tags(["st-hybrid", "multilingual", f"sampler:{recipe.sampler}"])

    trainer = HybridTrainer(
        model=encoder,
        args=_arguments(recipe, encoder, pairs, output),
        train_dataset=next(iter(pairs.values())) if len(pairs) == 1 else DatasetDict(pairs),
        loss=MultilingualMultipleNegativesRankingLoss(
            encoder, scale=recipe.scale, mini_batch_size=recipe.mini_batch_size
        ),
        evaluator=evaluator,
        batch_sampler=recipe.batch_sampler(),
        callbacks=[EarlyStoppingCallback(recipe.patience)] if recipe.patience else None,
    )
    began = time.perf_counter()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.perf_counter() - began

    encoder.max_seq_length = full_length
    if trainer.is_world_process_zero():
        encoder.save_pretrained(str(output))
        _finish_card(output / "README.md", recipe, names, sum(map(len, train_sets.values())), checked)
        summary = {
            "settings": settings,
            "checked_against": [asdict(one) for one in checked],
            **provenance(),
            "processes": trainer.args.world_size,
            "resumed_from": checkpoint and Path(checkpoint).name,
            "steps": trainer.state.global_step,
            "seconds": round(seconds, 1),
            "log": trainer.state.log_history,
        }
        (output / _SUMMARY).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return encoder


def print_training(output: str | Path, console: Console) -> None:
    """Print how a run went: its losses and, if groups were held out, its scores on them.

    Args:
        output: The folder of :func:`finetune`.
        console: Where to print.
    """
    run = json.loads((Path(output) / _SUMMARY).read_text(encoding="utf-8"))
    series = {
        "loss": "loss",
        "loss_monolingual": "loss\nMo.",
        "loss_cross_lingual": "loss\nCr.",
        **{
            f"eval_{_HELD_OUT}_{setting}_map": f"mAP\n{short}"
            for setting, short in zip(SETTINGS, ("Mo.", "Cr.", "Mul."), strict=True)
        },
        f"eval_{_HELD_OUT}_rank_distance": "rank\ndistance",
    }
    by_step: dict[int, dict[str, float]] = {}
    for entry in run["log"]:
        by_step.setdefault(entry["step"], {}).update(entry)
    shown = {key: title for key, title in series.items() if any(key in entry for entry in by_step.values())}
    # Without measurements every logged step has a row, and of a long run ten.
    steps = [step for step, entry in by_step.items() if f"eval_{_HELD_OUT}_rank_distance" in entry]
    steps = steps or [step for step, entry in by_step.items() if "loss" in entry][:: max(1, len(by_step) // 10)]
    table = Table(
        title=f"{run['steps']:,} steps in {run['seconds']:,.0f} s",
        caption="Mo.: monolingual\nCr.: cross-lingual\nMul.: multilingual",
    )
    for title in ("step", *shown.values()):
        table.add_column(title, justify="right", no_wrap=True)
    for step in steps:
        entry = by_step[step]
        table.add_row(str(step), *(f"{entry[key]:.3f}" if key in entry else "" for key in shown))
    console.print(table)


def _hold_out(
    sets: Mapping[str, Dataset], groups: int, columns: Mapping[str, str], seed: int
) -> tuple[dict[str, Dataset], Dataset]:
    """Draw groups from all sets together, so that none has the passage of a held-out one.

    Returns:
        What is left of each set, and the held-out rows, under the default names of the columns.
    """
    names = {key: columns.get(f"{key}_column", key) for key in ("id", "language", "query", "positive")}
    tables = []
    for number, (name, rows) in enumerate(sets.items()):
        if not set(names.values()) <= set(rows.column_names):
            parallel_pairs(rows, **columns)  # type: ignore[arg-type]  # says what is missing
        table = rows.select_columns(list(names.values())).with_format("arrow")[:].select(list(names.values()))
        ids = pc.binary_join_element_wise(name, table[0].cast(pa.string()), " ")  # sets may number groups alike
        texts = {key: table[column].cast(pa.string()) for key, column in names.items() if key != "id"}
        place = {"set": pa.repeat(number, len(table)), "row": pa.array(np.arange(len(table)))}
        tables.append(pa.table({"id": ids, **texts, **place}))
    split = split_groups(Dataset(pa.concat_tables(tables)), groups, seed=seed)
    left = split["train"].with_format("numpy", columns=["set", "row"])[:]
    parts = {name: rows.select(left["row"][left["set"] == number]) for number, (name, rows) in enumerate(sets.items())}
    return parts, split["test"].remove_columns(["set", "row"])


def _claim(output: Path, settings: dict[str, Any], resume: bool) -> str | None:
    """Take the folder for this run, and find the checkpoint to go on from."""
    checkpoints = output / _CHECKPOINTS
    checkpoint = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    known = output / _SETTINGS
    if known.is_file() and not resume and (checkpoint or (output / _SUMMARY).is_file()):
        raise FileExistsError(f"{output} holds a run already. Go on with it (--resume) or choose another folder.")
    if known.is_file() and resume:
        before = json.loads(known.read_text(encoding="utf-8"))
        if differing := [name for name in settings if settings[name] != before.get(name)]:
            named = ", ".join(f"{name} was {before.get(name)!r} and is {settings[name]!r}" for name in differing)
            raise ValueError(f"The run in {output} cannot go on with other settings: {named}.")
    output.mkdir(parents=True, exist_ok=True)
    known.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return checkpoint


def _arguments(
    recipe: Recipe, encoder: SentenceTransformer, pairs: Mapping[str, Dataset], output: Path
) -> SentenceTransformerTrainingArguments:
    given = {"query": recipe.query_prompt, "positive": recipe.document_prompt}
    own = {"query": encoder.prompts.get("query"), "positive": encoder.prompts.get("document")}
    prompts = {column: prompt if prompt is not None else own[column] or "" for column, prompt in given.items()}
    negatives = {name for part in pairs.values() for name in pair_text(part).negative_columns}
    measured: dict[str, Any] = {}
    if recipe.held_out:
        measured = {
            "eval_strategy": "steps",
            "load_best_model_at_end": True,
            "metric_for_best_model": f"eval_{_HELD_OUT}_multilingual_map",
            "greater_is_better": True,
        }
    interval = recipe.eval_steps or 0.1  # below 1 the trainer takes it for a share of all steps
    bf16 = recipe.bf16
    if bf16 is None:
        bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return SentenceTransformerTrainingArguments(
        str(output / _CHECKPOINTS),
        per_device_train_batch_size=recipe.batch_size,
        max_steps=recipe.max_steps or -1,
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup,  # likewise
        weight_decay=recipe.weight_decay,
        bf16=bf16,
        use_cpu=not torch.accelerator.is_available(),  # or processes on CPUs would each train on their own
        prompts={**prompts, **dict.fromkeys(negatives, prompts["positive"])},
        save_strategy="steps",
        save_steps=interval,
        eval_steps=interval if recipe.held_out else None,
        save_total_limit=2,
        logging_steps=10,
        logging_first_step=True,
        report_to="none",
        seed=recipe.seed,
        **measured,
    )


def _finish_card(card: Path, recipe: Recipe, data_name: str, rows: int, checked: Sequence[CheckedSet]) -> None:
    """Say in the model card how the batches were drawn and the rows checked, which the trainer's own does not know."""
    settings = recipe.batch_sampler().keywords
    section = (
        "\n## Hybrid batch training\n\n"
        f"Trained with [st-hybrid](https://pypi.org/project/st-hybrid/) on {rows:,} parallel rows of {data_name}: "
        f"sampler `{recipe.sampler}` (alpha {settings['alpha']:g}, {settings['languages']} languages), "
        f"`MultilingualMultipleNegativesRankingLoss` (scale {recipe.scale:g}), batches of {recipe.batch_size} pairs, "
        f"seed {recipe.seed}.\n"
    )
    if statement := zero_shot_statement(checked):
        section += f"\n{statement}\n"
    text = card.read_text(encoding="utf-8")
    marker = "\n## Citation"
    card.write_text(text.replace(marker, section + marker, 1) if marker in text else text + section, encoding="utf-8")
