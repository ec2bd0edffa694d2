"""Commands that train."""

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
            train on several data sets. Each batch then comes from one of them, and larger ones give more batches.
        output: Folder for the model, its card, checkpoints and ``training.json``.
        resume: Continue the run in the output folder, if it has one, from its last checkpoint.
    """
    from st_hybrid.data import open_row_sets
    from st_hybrid.data.zero_shot import checked_sets
    from st_hybrid.training import finetune, print_training

    columns = mapped(column)
    sets = open_row_sets(data, split=split, columns=columns, check_languages=False)
    source = {"split": split, "columns": columns}
    finetune(model, sets, output, recipe, source=source, checked=checked_sets(data), resume=resume)
    if int(os.environ.get("RANK", 0)) == 0:
        print_training(output, Console())
        Console(stderr=True).print(f"Wrote [bold]{output}[/]: the model, its card README.md and training.json.")


def center(
    *,
    model: Path,
    data: Data,
    per_language: int = 1000,
    unseen: Literal["error", "keep", "global"] = "error",
    batch_size: int = 32,
    dtype: DtypeOption = None,
    column: Column = None,
    split: Split = "train",
    seed: int = 0,
) -> None:
    """Estimate each language's mean vectors and write them into a model's folder.

    Subtracting the means removes much of a model's preference for the query's language, without training. The language
    of each query and passage must be known at search time. ``st-hybrid evaluate --center MODEL`` reports the scores.

    Args:
        model: Folder of a SentenceTransformer.
        per_language: Number of rows to draw per language.
        unseen: For a language without means: raise an error, keep its vectors, or subtract the average of all means.
        batch_size: Texts per encoding batch.
        seed: Seed of the draw.
    """
    from st_hybrid.encoders import load_encoder, require_dense
    from st_hybrid.methods.centering import LanguageCentering

    if not model.is_dir():
        raise FileNotFoundError(f"{model} is not a folder. The means are written into a model's folder: save it first.")
    rows, encoder = opened(data, split, column), require_dense(load_encoder(model, dtype=dtype), "Centering")
    options: dict[str, Any] = {"unseen": unseen, "batch_size": batch_size, "show_progress_bar": True}
    centering = LanguageCentering.fit_rows(encoder, rows, per_language=per_language, seed=seed, **options)
    centering.save_pretrained(model)
    Console(stderr=True).print(f"Wrote the means of {', '.join(centering.means['query'])} into [bold]{model}[/].")
