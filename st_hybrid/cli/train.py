"""Commands that train."""

import gc
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from st_hybrid.cli.options import Column, Data, DtypeOption, Split, mapped, opened
from st_hybrid.recipe import Recipe

# The functions import the library when they run, because importing torch takes seconds.


def quickstart(*, output: Path = Path("quickstart"), seeds: int = 3, steps: int = 300) -> None:
    """Train small encoders from scratch, without a network, and compare the samplers.

    Generates questions and answers in 11 languages from names in Unicode CLDR. Takes about a minute.

    Args:
        output: Folder for ``results.json`` and ``results.png``.
        seeds: Number of repetitions.
        steps: Training steps per model.
    """
    from st_hybrid.study.quickstart import run_quickstart

    run_quickstart(output, seeds=seeds, steps=steps)


def train(
    *,
    model: str,
    data: list[str],
    output: Path,
    recipe: Annotated[Recipe, Parameter(name="*", negative=None, negative_bool="no-")] = Recipe(),  # noqa: B008 (frozen)
    column: Column = None,
    split: Split = "train",
    resume: bool = False,
) -> None:
    """Fine-tune a model on parallel rows, with hybrid batches or a baseline.

    Rows that share an id are translations of one another. The columns are id, language, query, positive and, if you
    have them, negatives. On several GPUs: ``torchrun --nproc_per_node 4 -m st_hybrid.cli train ...``

    Args:
        model: Model to start from: a folder or hub name.
        data: Parallel rows: a file, a folder, or a hub name with a configuration after a colon. Repeat the option to
            train on several data sets.
        output: Folder for the model, its card, checkpoints and ``training.json``.
        resume: Continue the run in the output folder, if it has one, from its last checkpoint.
    """
    import torch

    from st_hybrid.data import open_row_sets
    from st_hybrid.data.zero_shot import checked_sets
    from st_hybrid.training import finetune, print_training

    columns = ({"document": "document"} if recipe.same_document else {}) | mapped(column)
    sets = open_row_sets(data, split=split, columns=columns, check_languages=False)
    source = {"split": split, "columns": columns}
    finetune(model, sets, output, recipe, source=source, checked=checked_sets(data), resume=resume)
    if torch.distributed.is_initialized():
        gc.collect()  # the trainer, which holds the process group, too
        torch.distributed.destroy_process_group()  # a process that ends with its group open may abort
    if int(os.environ.get("RANK", 0)) == 0:
        print_training(output, Console())
        Console(stderr=True).print(f"Wrote [bold]{output}[/]: the model, its card README.md and training.json.")


def center(
    *,
    model: str,
    data: Data,
    output: Path | None = None,
    method: Literal["center", "shift", "lir"] = "center",
    strength: float = 1.0,
    source: str | None = None,
    components: int | None = None,
    unseen: Literal["error", "keep", "global"] | None = None,
    per_language: int = 1000,
    batch_size: int = 32,
    dtype: DtypeOption = None,
    column: Column = None,
    split: Split = "train",
    seed: int = 0,
) -> None:
    """Estimate what vectors say of their language, to take it out of them without training.

    This removes much of a model's preference for the query's language. Without ``--output`` the estimate goes into the
    model's folder. The language of each query and passage must then be known at search time, and ``st-hybrid evaluate
    --center MODEL`` reports the scores. With ``--output``, the new model takes a text to be in the language whose mean
    is nearest.

    Args:
        model: Model: a folder or hub name; without ``--output`` a folder.
        output: Folder for a copy of the model that applies the method by itself.
        method: Take the language's mean vector from queries and passages (center), shift passages to a source language
            (shift), or take the language's first singular directions from both (lir).
        strength: Share to take, from 0 to 1. Less than 1 leaves the query's language an advantage.
        source: Language that passages are shifted to (en by default).
        components: Number of directions per language for lir (1 by default).
        unseen: For a language without means: raise an error (by default), keep its vectors, or subtract the average of
            all means (global).
        per_language: Number of rows to draw per language.
        batch_size: Texts per encoding batch.
        seed: Seed of the draw.
    """
    from st_hybrid.encoders import load_encoder, require_dense
    from st_hybrid.methods.centering import LanguageCentering

    if output is None and not Path(model).is_dir():
        raise FileNotFoundError(f"{model} is not a folder. Name a folder to write into, or a new one with --output.")
    if output is not None and unseen is not None:
        raise ValueError("unseen has no effect with --output: every vector has a nearest mean. Leave it out.")
    settings = {"method": method, "strength": strength, "source": source, "unseen": unseen, "components": components}
    options: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    options |= {"per_language": per_language, "seed": seed, "batch_size": batch_size, "show_progress_bar": True}
    rows, encoder = opened(data, split, column), require_dense(load_encoder(model, dtype=dtype), "Centering")
    centering = LanguageCentering.fit_rows(encoder, rows, **options)
    if output is None:
        centering.save_pretrained(model)
    else:
        encoder.append(centering)
        encoder.save_pretrained(str(output))
    languages = ", ".join(centering.languages["query"])
    Console(stderr=True).print(f"Wrote the means of {languages} into [bold]{output or model}[/].")
