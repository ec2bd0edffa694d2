"""Fine-tune a model on parallel rows: what ``st-hybrid train`` does."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
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
from st_hybrid.evaluation import SETTINGS, CrossLingualRetrievalEvaluator, RetrievalCollection
from st_hybrid.files import replacing, write_json
from st_hybrid.loss import MultilingualMultipleNegativesRankingLoss
from st_hybrid.pairs import parallel_pairs
from st_hybrid.provenance import provenance
from st_hybrid.recipe import Recipe
from st_hybrid.rows import ROLES, ParallelRows
from st_hybrid.sampler import HybridBatchSampler
from st_hybrid.trainer import HybridTrainer

__all__ = ["finetune", "print_training"]

_SETTINGS = "settings.json"
_SUMMARY = "training.json"
_CHECKPOINTS = "checkpoints"
_HELD_OUT = "held-out"


def finetune(
    model: str | Path,
    rows: Dataset | Mapping[str, Dataset],
    output: str | Path,
    recipe: Recipe | None = None,
    *,
    data_name: str = "parallel rows",
    columns: Mapping[str, str] = MappingProxyType({}),
    negative_columns: Sequence[str] | None = None,
    source: Mapping[str, Any] = MappingProxyType({}),
    checked: Sequence[CheckedSet] = (),
    resume: bool = False,
) -> SentenceTransformer:
    """Train a model on parallel rows and write it, with its card, to a folder.

    The folder also gets ``settings.json`` (before the first step), ``checkpoints/`` and ``training.json`` (settings,
    command, versions, seconds, and the log of losses and scores).

    Args:
        model: A SentenceTransformer's folder or hub name.
        rows: Parallel rows, or a ``DatasetDict`` of several sets. Each batch then comes from one set, and larger sets
            give more batches.
        output: Folder to write.
        recipe: How to train; by default the paper's recipe.
        data_name: Name of the data in the model card. Several sets are named by their keys.
        columns: The rows' names of ``id``, ``language``, ``query`` and ``positive`` where they differ:
            ``{"query": "question"}``.
        negative_columns: Columns of hard negatives. By default every column whose name begins with ``negative``.
        source: How the rows were read, kept with the settings. A run can only be resumed with the same source.
        checked: Evaluation sets that the rows were checked against, from
            :func:`~st_hybrid.data.zero_shot.checked_sets`. The model card calls the evaluation on a set zero-shot only
            if it is among them (:func:`~st_hybrid.data.zero_shot.zero_shot`).
        resume: Continue the run in ``output`` from its last checkpoint, with the same settings. The run then draws the
            same batches as without the interruption.

    Returns:
        The trained model.

    Raises:
        FileExistsError: ``output`` holds a run and ``resume`` is not set.
        ValueError: The rows are not valid, the model or the rows lack what an option of the recipe needs, or the
            settings differ from those of the run to resume.

    Example:
        ::

            from st_hybrid.data import open_rows
            from st_hybrid.recipe import Recipe
            from st_hybrid.training import finetune

            finetune("intfloat/multilingual-e5-small", open_rows("rows.jsonl").rows, "out", Recipe(max_steps=200))
    """
    recipe, output = recipe or Recipe(), Path(output)
    given = {data_name: rows} if isinstance(rows, Dataset) else rows
    names = ", ".join(given)
    settings = {
        "model": str(model),
        "data": names,
        "columns": dict(columns),
        "negative_columns": None if negative_columns is None else list(negative_columns),
        "source": dict(source),
        **asdict(recipe),
    }
    checkpoint = _claim(output, settings, resume)

    sets = {
        name: ParallelRows(part, columns=columns, negative_columns=negative_columns) for name, part in given.items()
    }
    negatives = sorted({column for part in sets.values() for column in part.negative_columns})
    if recipe.negatives_follow is not None and not negatives:
        raise ValueError("negatives_follow has no effect: the rows have no hard negatives.")
    train_rows, evaluator = {name: part.dataset for name, part in sets.items()}, None
    if recipe.held_out:
        train_rows, test_rows = _hold_out(sets, recipe.held_out, recipe.seed)
        evaluator = CrossLingualRetrievalEvaluator(
            RetrievalCollection.from_rows(test_rows),
            name=_HELD_OUT,
            query_prompt=recipe.query_prompt,
            document_prompt=recipe.document_prompt,
        )
    pairs = {
        name: parallel_pairs(
            part,
            negative_columns=sets[name].negative_columns,
            negatives_follow=recipe.negatives_follow or "positive",
            partners=recipe.partners,
            seed=recipe.seed,
        )
        for name, part in train_rows.items()
    }

    encoder = SentenceTransformer(str(model))
    full_length, transformer = encoder.max_seq_length, encoder.transformers_model
    if transformer is None and (recipe.max_length or recipe.freeze_embeddings):
        raise ValueError(f"max_length and freeze_embeddings need a transformer, and {model} has none.")
    if recipe.max_length:
        encoder.max_seq_length = recipe.max_length
    if recipe.freeze_embeddings and transformer:
        transformer.get_input_embeddings().requires_grad_(False)
    encoder.model_card_data.train_datasets = [{"name": name} for name in sets]
    encoder.model_card_data.language = sorted({language for part in sets.values() for language in part.languages})
    encoder.model_card_data.add_tags(["st-hybrid", "multilingual", f"sampler:{recipe.sampler}"])

    trainer = HybridTrainer(
        model=encoder,
        args=_arguments(recipe, encoder, negatives, output / _CHECKPOINTS),
        train_dataset=next(iter(pairs.values())) if len(pairs) == 1 else DatasetDict(pairs),
        loss=MultilingualMultipleNegativesRankingLoss(
            encoder, scale=recipe.scale, mini_batch_size=recipe.mini_batch_size
        ),
        evaluator=evaluator,
        batch_sampler=functools.partial(HybridBatchSampler, **recipe.sampler_options),
        callbacks=[EarlyStoppingCallback(recipe.patience)] if recipe.patience else None,
    )
    began = time.perf_counter()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.perf_counter() - began

    if recipe.max_length:
        encoder.max_seq_length = full_length
    if trainer.is_world_process_zero():
        encoder.save_pretrained(str(output))
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
        write_json(output / _SUMMARY, summary)
        _complete_card(output / "README.md", recipe, names, sum(map(len, train_rows.values())))
    return encoder


def print_training(output: str | Path, console: Console) -> None:
    """Print the losses of a run and, with held-out groups, its scores.

    Args:
        output: The folder that :func:`finetune` wrote.
        console: Where to print.
    """
    run = json.loads((Path(output) / _SUMMARY).read_text(encoding="utf-8"))
    scores = [f"eval_{_HELD_OUT}_{name}" for name in (*(f"{setting}_map" for setting in SETTINGS), "rank_distance")]
    titles = ["loss", "loss\nMo.", "loss\nCr.", "mAP\nMo.", "mAP\nCr.", "mAP\nMul.", "rank\ndistance"]
    series = dict(zip(["loss", "loss_monolingual", "loss_cross_lingual", *scores], titles, strict=True))
    by_step: dict[int, dict[str, float]] = {}
    for entry in run["log"]:
        by_step.setdefault(entry["step"], {}).update(entry)
    shown = {key: title for key, title in series.items() if any(key in entry for entry in by_step.values())}
    # One row per evaluation; without evaluations, about ten of the logged steps.
    steps = [step for step, entry in by_step.items() if scores[0] in entry]
    steps = steps or [step for step, entry in by_step.items() if "loss" in entry][:: max(1, len(by_step) // 10)]
    table = Table(
        title=f"{run['steps']:,} steps in {run['seconds']:,.0f} s",
        caption="Mo.: monolingual\nCr.: cross-lingual\nMul.: multilingual",
    )
    for title in ("step", *shown.values()):
        table.add_column(title, justify="right", no_wrap=True)
    for step in steps:
        cells = (f"{by_step[step][key]:.3f}" if key in by_step[step] else "" for key in shown)
        table.add_row(str(step), *cells)
    console.print(table)


def _hold_out(sets: Mapping[str, ParallelRows], groups: int, seed: int) -> tuple[dict[str, Dataset], Dataset]:
    """Draw groups from all sets together, so that no set keeps the passage of a held-out group.

    Returns:
        The other rows of each set, and the held-out rows.
    """
    tables = []
    for name, part in sets.items():
        columns = {role: part.table[role].cast(pa.string()) for role in ROLES}
        columns["id"] = pc.binary_join_element_wise(name, columns["id"], " ")  # sets may use the same ids
        tables.append(pa.table(columns))
    together = ParallelRows(Dataset(pa.concat_tables(tables)))
    kept, held_out = together.split(groups, seed=seed)
    starts = np.cumsum([0, *map(len, sets.values())])
    rows_of_set = np.split(kept, np.searchsorted(kept, starts[1:-1]))
    left = {
        name: part.dataset.select(numbers - start)
        for (name, part), numbers, start in zip(sets.items(), rows_of_set, starts[:-1], strict=True)
    }
    return left, together.dataset.select(held_out)


def _claim(output: Path, settings: dict[str, Any], resume: bool) -> str | None:
    """Reserve the folder for this run, and find the checkpoint to continue from."""
    checkpoints, known = output / _CHECKPOINTS, output / _SETTINGS
    checkpoint = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    if known.is_file() and not resume and (checkpoint or (output / _SUMMARY).is_file()):
        raise FileExistsError(f"{output} already holds a run. Continue it (--resume) or choose another folder.")
    if known.is_file() and resume:
        before = json.loads(known.read_text(encoding="utf-8"))
        changes = [
            f"{name} was {before.get(name)!r} and is {value!r}"
            for name, value in settings.items()
            if value != before.get(name)
        ]
        if changes:
            raise ValueError(f"The run in {output} cannot be resumed with other settings: {', '.join(changes)}.")
    write_json(known, settings)
    return checkpoint


def _arguments(
    recipe: Recipe, encoder: SentenceTransformer, negatives: Sequence[str], checkpoints: Path
) -> SentenceTransformerTrainingArguments:
    own = encoder.prompts
    query = recipe.query_prompt if recipe.query_prompt is not None else own.get("query") or ""
    document = recipe.document_prompt if recipe.document_prompt is not None else own.get("document") or ""
    evaluation: dict[str, Any] = {}
    save_steps = recipe.save_steps or 0.1  # the trainer reads a number below 1 as a share of all steps
    if recipe.held_out:
        evaluation = {
            "eval_strategy": "steps",
            "eval_steps": save_steps,
            "load_best_model_at_end": True,
            "metric_for_best_model": f"eval_{_HELD_OUT}_multilingual_map",
            "greater_is_better": True,
        }
    bf16 = recipe.bf16
    if bf16 is None:
        bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return SentenceTransformerTrainingArguments(
        str(checkpoints),
        per_device_train_batch_size=recipe.batch_size,
        max_steps=recipe.max_steps or -1,
        num_train_epochs=recipe.epochs or 1,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup,  # a share, too
        weight_decay=recipe.weight_decay,
        bf16=bf16,
        use_cpu=not torch.accelerator.is_available(),  # otherwise several processes on CPUs train independently
        prompts={"query": query, **dict.fromkeys(["positive", *negatives], document)},
        save_strategy="steps",
        save_steps=save_steps,
        save_total_limit=2,
        logging_steps=10,
        logging_first_step=True,
        report_to="none",
        seed=recipe.seed,
        **evaluation,
    )


def _complete_card(card: Path, recipe: Recipe, data_name: str, rows: int) -> None:
    """Say in the model card how the batches were drawn and what the rows were checked against."""
    options = recipe.sampler_options
    sampling = options["language_sampling"] or "uniform"
    section = (
        "\n## Hybrid batch training\n\n"
        f"Trained with st-hybrid on {rows:,} parallel rows of {data_name}: "
        f"sampler `{recipe.sampler}` (alpha {options['alpha']:g}, {sampling} languages), "
        f"`MultilingualMultipleNegativesRankingLoss` (scale {recipe.scale:g}), batches of {recipe.batch_size} pairs, "
        f"seed {recipe.seed}.\n"
    )
    section += f"\n{zero_shot_statement(card.parent)}\n"
    before, marker, after = card.read_text(encoding="utf-8").partition("\n## Citation")
    with replacing(card) as temporary:
        temporary.write_text(before + section + marker + after, encoding="utf-8")
