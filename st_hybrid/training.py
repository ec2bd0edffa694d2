"""Fine-tune a model on parallel rows: what ``st-hybrid train`` does."""

import functools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.base.modules import Router, Transformer
from torch import nn
from transformers import EarlyStoppingCallback

from st_hybrid.checkpoints import last_complete_checkpoint
from st_hybrid.data.zero_shot import CheckedSet, zero_shot_statement
from st_hybrid.dtypes import Dtype, require_dtype, training_dtype
from st_hybrid.encoders import load_encoder, require_dense
from st_hybrid.evaluation import SETTINGS, CrossLingualRetrievalEvaluator, RetrievalCollection
from st_hybrid.files import replacing, write_json, writing
from st_hybrid.loss import MultilingualMultipleNegativesRankingLoss
from st_hybrid.methods.anchor import ANCHOR_WEIGHT, AnchorDistillationLoss, AnchorVectors
from st_hybrid.methods.merging import merged_weights
from st_hybrid.pairs import parallel_pairs
from st_hybrid.provenance import provenance
from st_hybrid.recipe import Recipe
from st_hybrid.rows import DOCUMENT, ParallelRows, join_rows
from st_hybrid.sampler import HybridBatchSampler
from st_hybrid.trainer import HybridTrainer

__all__ = ["finetune", "print_training"]

_SETTINGS, _SUMMARY, _CHECKPOINTS = "settings.json", "training.json", "checkpoints"
_HELD_OUT = "held-out"
_HEADING = "## Hybrid batch training"  # of this run's part of the model card
_SAVES = 0.1  # the trainer reads a number below 1 as a share of all steps
_FIXED: dict[str, Any] = {
    "save_strategy": "steps",
    "save_total_limit": 2,
    "restore_callback_states_from_checkpoint": True,  # how long early stopping has waited
    "report_to": "none",
}


def finetune(
    model: str | Path,
    rows: Dataset | Mapping[str, Dataset],
    output: str | Path,
    recipe: Recipe | None = None,
    *,
    source: Mapping[str, Any] = MappingProxyType({}),
    checked: Sequence[CheckedSet] = (),
    resume: bool = False,
) -> SentenceTransformer:
    """Train a model on parallel rows, write it with its card to a folder, and return it.

    The folder also gets ``settings.json`` (before the first step), ``checkpoints/`` (with an anchor also the start's
    vectors) and ``training.json`` (settings, command, versions, seconds, and the log of losses and scores).

    Args:
        model: A SentenceTransformer's folder or hub name.
        rows: Parallel rows, or several sets by name, which are one pool (:func:`~st_hybrid.join_rows`) unless the
            recipe keeps them apart.
        output: Folder to write.
        recipe: How to train; by default the paper's recipe.
        source: How the rows were read. A run can only be resumed with the same source.
        checked: Evaluation sets that the rows were checked against, from
            :func:`~st_hybrid.data.zero_shot.checked_sets`, for :func:`~st_hybrid.data.zero_shot.zero_shot`.
        resume: Continue the run in ``output``, if there is one, from its last complete checkpoint, with the same
            batches, or anew without one. A complete run stays as it is.

    Raises:
        FileExistsError: ``output`` holds a run and ``resume`` is not set.
        ValueError: The rows are not valid, an option has no effect, the hardware does not have the recipe's ``dtype``,
            or the run to resume had other settings.

    Example:
        ::

            from st_hybrid.data import open_rows
            from st_hybrid.recipe import Recipe
            from st_hybrid.training import finetune

            finetune("intfloat/multilingual-e5-small", open_rows("rows.jsonl").rows, "out", Recipe(max_steps=200))
    """
    recipe, output = recipe or Recipe(), Path(output)
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    device = accelerator.type if accelerator else "cpu"
    dtype = recipe.dtype or training_dtype(device)
    require_dtype(dtype, device)
    given = {"parallel rows": rows} if isinstance(rows, Dataset) else dict(rows)
    settings = {"model": str(model), "data": ", ".join(given), "source": dict(source), **asdict(recipe), "dtype": dtype}
    checkpoint = _claim(output, settings, resume)
    if resume and _is_complete(output):
        return require_dense(load_encoder(output), "finetune")

    sets = _read_sets(given, recipe)
    negatives = sorted({column for one in sets.values() for column in one.negative_columns})
    spoken = (np.unique(np.stack([one.group, one.language]), axis=1)[0] for one in sets.values())
    most = max(int(np.bincount(groups).max()) for groups in spoken)
    for name, useless, reason in (
        ("negatives_follow", not negatives, "the rows have no hard negatives"),
        ("language_sampling", all(len(one.languages) == 1 for one in sets.values()), "the rows are in one language"),
        ("partners", (recipe.partners or 0) >= most - 1, f"no id has more than {most} languages"),
    ):
        if getattr(recipe, name) is not None and useless:
            raise ValueError(f"{name} has no effect: {reason}. Leave it out.")
    train_rows, evaluator = {name: one.dataset for name, one in sets.items()}, None
    if recipe.held_out:
        train_rows, test_rows = _hold_out(sets, recipe.held_out, recipe.seed)
        own: dict[str, Any] = {"query_prompt": recipe.query_prompt, "document_prompt": recipe.document_prompt}
        evaluator = CrossLingualRetrievalEvaluator(RetrievalCollection.from_rows(test_rows), name=_HELD_OUT, **own)
    options: dict[str, Any] = {"negatives_follow": recipe.negatives_follow or "positive"}
    options |= {"partners": recipe.partners, "anchor": recipe.anchor, "seed": recipe.seed}
    options["document_column"] = DOCUMENT if recipe.same_document else None
    pairs = parallel_pairs(DatasetDict(train_rows), **options)

    encoder = require_dense(load_encoder(model), "finetune")
    transformers = [module for module in encoder.modules() if isinstance(module, Transformer)]
    longest = max((module.max_seq_length or 0 for module in transformers), default=0)
    if recipe.max_length and recipe.max_length >= longest:
        found = f"cuts texts at {longest} tokens anyway" if longest else "has no transformer, and cuts no text"
        raise ValueError(f"max_length has no effect: {model} {found}.")
    if recipe.dtype not in (None, "float32") and not transformers:
        raise ValueError(f"dtype has no effect: {model} has no transformer. Leave it out.")
    if recipe.freeze_embeddings:
        _freeze_embeddings(transformers, str(model))
    encoder.model_card_data.train_datasets = [{"name": name} for name in sets]
    encoder.model_card_data.language = sorted({language for one in sets.values() for language in one.languages})
    encoder.model_card_data.add_tags(["st-hybrid", "multilingual", f"sampler:{recipe.sampler}"])

    args = _arguments(recipe, dtype, encoder, negatives, output / _CHECKPOINTS)
    trainer = HybridTrainer(
        model=encoder,
        args=args,
        train_dataset=pairs if len(pairs) > 1 else next(iter(pairs.values())),
        loss=_loss(recipe, dtype, encoder, pairs, args),
        evaluator=evaluator,
        batch_sampler=functools.partial(HybridBatchSampler, **recipe.sampler_options),
        callbacks=[EarlyStoppingCallback(recipe.patience)] if recipe.patience else None,
    )
    trainer.data_collator.max_length = recipe.max_length
    _check_steps(recipe, trainer)
    done = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.accelerator.unwrap_model(encoder, keep_fp32_wrapper=False)  # what is returned encodes like what is saved
    if recipe.merge:
        encoder.load_state_dict(merged_weights(load_encoder(model, device="cpu"), encoder, recipe.merge))
    if trainer.is_world_process_zero():
        merged = evaluator(encoder) if recipe.merge and evaluator else None
        with writing(output):
            encoder.save_pretrained(str(output))
        summary = {
            "settings": settings,
            "checked_against": [asdict(one) for one in checked],
            **provenance(),
            "processes": trainer.args.world_size,
            "resumed_from": checkpoint and Path(checkpoint).name,
            "steps": trainer.state.global_step,
            "seconds": round(done.metrics["train_runtime"], 1),
            "log": trainer.state.log_history,
            **({"merged": merged} if merged else {}),
        }
        write_json(output / _SUMMARY, summary)
        about = f"{sum(map(len, train_rows.values())):,} parallel rows of {settings['data']}"
        _complete_card(output / "README.md", about, recipe)
    return encoder


def print_training(output: str | Path, console: Console) -> None:
    """Print the losses of the run in a folder of :func:`finetune` and, with held-out groups, its scores."""
    run = json.loads((Path(output) / _SUMMARY).read_text(encoding="utf-8"))
    by_step: dict[int, dict[str, float]] = {}
    for entry in run["log"]:
        by_step.setdefault(entry["step"], {}).update(entry)
    scores = [f"eval_{_HELD_OUT}_{name}" for name in (*(f"{setting}_map" for setting in SETTINGS), "rank_distance")]
    series = ["loss", "loss_monolingual", "loss_cross_lingual", "loss_distillation", *scores]
    series = [key for key in series if any(key in entry for entry in by_step.values())]
    # One row per evaluation; without evaluations, about ten of the logged steps.
    steps = [step for step, entry in by_step.items() if not entry.keys().isdisjoint(scores)]
    steps = steps or [step for step, entry in by_step.items() if "loss" in entry][:: max(1, len(by_step) // 10)]
    titles = (key.removeprefix(f"eval_{_HELD_OUT}_").replace("_", "\n") for key in series)
    table = Table("step", *titles, title=f"{run['steps']:,} steps in {run['seconds']:,.0f} s")
    for step in steps:
        table.add_row(str(step), *(f"{by_step[step][key]:.3f}" if key in by_step[step] else "" for key in series))
    if merged := {f"eval_{name}": score for name, score in run.get("merged", {}).items()}:
        table.add_row("merged", *(f"{merged[key]:.3f}" if key in merged else "" for key in series))
    console.print(table)


def _read_sets(given: Mapping[str, Dataset], recipe: Recipe) -> dict[str, ParallelRows]:
    """Read and check each set, and join them if the recipe does not keep them apart."""
    if recipe.same_document and not any(DOCUMENT in one.column_names for one in given.values()):
        raise ValueError(
            f"same_document has no effect: no rows have a column {DOCUMENT!r}. Name yours (--column document=…)."
        )
    if recipe.one_set_per_batch and len(given) == 1:
        raise ValueError("one_set_per_batch has no effect: there is one data set. Leave it out.")
    columns = {DOCUMENT: DOCUMENT} if recipe.same_document else {}
    if len(given) == 1 or recipe.one_set_per_batch:
        return {name: ParallelRows(one, columns=columns) for name, one in given.items()}
    for one in given.values():
        ParallelRows(one)  # an error counts the rows of one set
    return {", ".join(given): ParallelRows(join_rows(given, columns=columns), columns=columns)}


def _hold_out(sets: Mapping[str, ParallelRows], groups: int, seed: int) -> tuple[dict[str, Dataset], Dataset]:
    """Draw groups from all sets together; return the other rows of each set and those drawn, which share no passage."""
    together = ParallelRows(
        join_rows({name: one.dataset.remove_columns(one.negative_columns) for name, one in sets.items()})
    )
    kept, held_out = together.split(groups, seed=seed)
    starts = np.cumsum([0, *map(len, sets.values())])
    of_set = zip(sets, np.split(kept, np.searchsorted(kept, starts[1:-1])), starts[:-1], strict=True)
    left = {name: sets[name].dataset.select(numbers - start) for name, numbers, start in of_set}
    return left, together.dataset.select(held_out)


def _claim(output: Path, settings: dict[str, Any], resume: bool) -> str | None:
    """Reserve the folder for this run, and find the checkpoint to continue from."""
    checkpoints, known = output / _CHECKPOINTS, output / _SETTINGS
    checkpoint = last_complete_checkpoint(checkpoints)
    if known.is_file() and not resume and (checkpoint or (output / _SUMMARY).is_file()):
        raise FileExistsError(f"{output} already holds a run. Continue it (--resume) or choose another folder.")
    if resume and known.is_file():
        before = json.loads(known.read_text(encoding="utf-8"))
        changes = [f"{k} was {before.get(k)!r} and is {new!r}" for k, new in settings.items() if new != before.get(k)]
        if changes:
            raise ValueError(f"The run in {output} cannot be resumed with other settings: {', '.join(changes)}.")
    write_json(known, settings)
    return checkpoint if resume else None


def _is_complete(output: Path) -> bool:
    """Whether a run wrote the summary and, after it, its part of the card."""
    card = output / "README.md"
    return (output / _SUMMARY).is_file() and card.is_file() and _HEADING in card.read_text(encoding="utf-8")


def _loss(
    recipe: Recipe,
    dtype: Dtype,
    encoder: SentenceTransformer,
    pairs: DatasetDict,
    args: SentenceTransformerTrainingArguments,
) -> nn.Module | dict[str, nn.Module]:
    """The loss of the recipe; with an anchor one for each data set, whose anchor rows are encoded here."""
    options: dict[str, Any] = {"scale": recipe.scale, "mini_batch_size": recipe.mini_batch_size}
    if recipe.anchor is None:
        return MultilingualMultipleNegativesRankingLoss(encoder, **options)
    options["weight"] = recipe.anchor_weight or ANCHOR_WEIGHT
    query, document = _prompts(recipe, encoder)
    own: dict[str, Any] = {"query_prompt": query, "document_prompt": document, "dtype": dtype}
    own["show_progress_bar"] = args.local_process_index == 0
    losses: dict[str, nn.Module] = {}
    # The first process encodes, and the others read what it wrote.
    with _cutting(encoder, recipe.max_length), args.main_process_first(desc="encoding of the anchor rows"):
        for number, (name, part) in enumerate(pairs.items()):
            file = Path(str(args.output_dir)) / f"anchor-{number}.safetensors"
            teacher = AnchorVectors.encode(encoder, part, file=file, **own)
            losses[name] = AnchorDistillationLoss(encoder, teacher, **options)
    return losses if len(losses) > 1 else losses[name]


@contextmanager
def _cutting(encoder: SentenceTransformer, max_length: int | None) -> Iterator[None]:
    """Cut texts at this length while the block runs, as the collator does in training."""
    lengths = {module: module.max_seq_length for module in encoder.modules() if isinstance(module, Transformer)}
    for module in lengths if max_length else ():
        module.max_seq_length = max_length
    yield
    for module, length in lengths.items() if max_length else ():
        module.max_seq_length = length


def _prompts(recipe: Recipe, encoder: SentenceTransformer) -> tuple[str, str]:
    """The prefixes of queries and of passages."""
    given = {"query": recipe.query_prompt, "document": recipe.document_prompt}
    query, document = (encoder.prompts.get(role) or "" if one is None else one for role, one in given.items())
    return query, document


def _freeze_embeddings(transformers: Sequence[Transformer], model: str) -> None:
    try:
        for module in transformers:
            module.model.get_input_embeddings().requires_grad_(False)
    except NotImplementedError:  # a model of texts and pictures
        transformers = ()
    if not transformers:
        raise ValueError(
            f"freeze_embeddings has no effect: {model} has no transformer whose token embeddings are known."
        )


def _check_steps(recipe: Recipe, trainer: HybridTrainer) -> None:
    """Refuse options that need more steps than there are."""
    if recipe.save_steps or recipe.patience:
        batches = math.ceil((recipe.epochs or 1) * len(trainer.get_train_dataloader()))
        steps = recipe.max_steps or batches
        evaluations = steps // (recipe.save_steps or math.ceil(_SAVES * steps))
        if not evaluations:
            raise ValueError(f"save_steps has no effect: the training has only {steps} steps.")
        if recipe.patience and recipe.patience >= evaluations:
            raise ValueError(f"patience has no effect: the training has only {evaluations} evaluations.")


def _arguments(
    recipe: Recipe, dtype: Dtype, encoder: SentenceTransformer, negatives: Sequence[str], checkpoints: Path
) -> SentenceTransformerTrainingArguments:
    (query, document), measured = _prompts(recipe, encoder), recipe.held_out is not None
    save_steps = recipe.save_steps or _SAVES
    documents = ["positive", *negatives]
    routes = {"query": "query", **dict.fromkeys(documents, "document")}
    return SentenceTransformerTrainingArguments(
        str(checkpoints),
        per_device_train_batch_size=recipe.batch_size,
        max_steps=recipe.max_steps or -1,
        num_train_epochs=recipe.epochs or 1,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup,  # a share, too
        weight_decay=recipe.weight_decay,
        bf16=dtype == "bfloat16",
        fp16=dtype == "float16",
        use_cpu=not torch.accelerator.is_available(),  # otherwise several processes on CPUs train independently
        prompts={"query": query, **dict.fromkeys(documents, document)},
        router_mapping=routes if any(isinstance(module, Router) for module in encoder) else None,
        save_steps=save_steps,
        eval_strategy="steps" if measured else "no",
        eval_steps=save_steps,
        load_best_model_at_end=measured,
        metric_for_best_model=f"eval_{_HELD_OUT}_multilingual_map",
        greater_is_better=True,
        logging_steps=10,
        logging_first_step=True,
        seed=recipe.seed,
        **_FIXED,
    )


def _complete_card(card: Path, about: str, recipe: Recipe) -> None:
    """Say in the model card how the batches were drawn and what the rows were checked against."""
    options = recipe.sampler_options
    section = (
        f"\n{_HEADING}\n\nTrained with st-hybrid on {about}: sampler `{recipe.sampler}` "
        f"(alpha {options['alpha']:g}, {options['language_sampling'] or 'all'} languages), "
        f"`MultilingualMultipleNegativesRankingLoss` (scale {recipe.scale:g}), batches of {recipe.batch_size} pairs, "
        f"seed {recipe.seed}.\n"
    )
    if recipe.anchor:
        section += (
            f"The loss also holds each text's distance from the start's vector of its translation in `{recipe.anchor}` "
            f"(`AnchorDistillationLoss`, weight {recipe.anchor_weight or ANCHOR_WEIGHT:g}).\n"
        )
    if recipe.merge:
        section += (
            f"After training, the weights were averaged with the start's: {recipe.merge:g} of the start's and "
            f"{1 - recipe.merge:g} of the trained ones.\n"
        )
    section += f"\n{zero_shot_statement(card.parent)}\n"
    written = card.read_text(encoding="utf-8") if card.is_file() else ""  # sentence-transformers skips one that fails
    before, marker, after = written.partition("\n## Citation")
    with replacing(card) as temporary:
        temporary.write_text(before + section + marker + after, encoding="utf-8")
