"""The command line; each command is a thin call into the library."""

from __future__ import annotations

import os
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

import st_hybrid
from st_hybrid.cli import data as data_cli

# The commands import the library when they run: torch takes seconds, and --help should not.

app = typer.Typer(
    help="Train and measure retrieval models within a language, across languages and over mixed-language pools.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(data_cli.app, name="data")


class Sampler(str, Enum):
    """What a batch holds."""

    HYBRID = "hybrid"
    X_X_MONO = "x-x-mono"
    X_Y = "x-y"
    X_X = "x-x"


class Languages(str, Enum):
    """How monolingual batches take their language."""

    UNIFORM = "uniform"
    PROPORTIONAL = "proportional"


class Side(str, Enum):
    """Whose hard negatives a cross-lingual pair has."""

    POSITIVE = "positive"
    QUERY = "query"


class Unseen(str, Enum):
    """What to do with texts in a language without means."""

    ERROR = "error"
    KEEP = "keep"
    GLOBAL = "global"


class EncodeTask(str, Enum):
    """Task whose passages to encode."""

    MIRACL = "MIRACL"


class Engine(str, Enum):
    """What runs the encoding."""

    LOCAL = "local"
    RAY = "ray"


def _version(wanted: bool) -> None:
    if wanted:
        print(f"st-hybrid {st_hybrid.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def quickstart(
    output: Annotated[Path, typer.Option(help="Folder for results.json and results.png.")] = Path("quickstart"),
    seeds: Annotated[int, typer.Option(min=1, help="How many times to run it all.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each model.")] = 300,
) -> None:
    """Train small encoders from scratch, without any network, and compare the samplers.

    Generates questions and answers in many languages from Unicode CLDR's names of places, languages and currencies,
    trains X-X-mono, X-Y and hybrid with the same budget, and prints how well each retrieves. Takes about a minute.
    """
    from st_hybrid.study.quickstart import run_quickstart

    run_quickstart(output, seeds=seeds, steps=steps, console=Console())


Column = Annotated[str, typer.Option(rich_help_panel="Columns")]


@app.command()
def train(
    model: Annotated[str, typer.Option(help="SentenceTransformer to start from: a folder or a hub name.")],
    data: Annotated[
        list[str],
        typer.Option(
            help="Parallel rows: a JSONL, CSV, TSV or Parquet file, a folder of save_to_disk, or a hub name with "
            "a configuration after a colon. May be given again: a batch comes from one data set, drawn by size."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the model, its card, checkpoints and training.json.")],
    sampler: Annotated[
        Sampler,
        typer.Option(
            help="hybrid, or a baseline: x-x-mono (a batch of one language), x-y (each pair in two languages), "
            "x-x (each pair in one language, languages mixed).",
            rich_help_panel="Batches",
        ),
    ] = Sampler.HYBRID,
    alpha: Annotated[
        float, typer.Option(help="Share of monolingual batches, for hybrid.", rich_help_panel="Batches")
    ] = 0.5,
    languages: Annotated[
        Languages,
        typer.Option(help="Monolingual batches visit languages equally often or by size.", rich_help_panel="Batches"),
    ] = Languages.UNIFORM,
    partners: Annotated[
        int, typer.Option(min=0, help="Partner languages of a query; 0 for all.", rich_help_panel="Batches")
    ] = 0,
    negatives_follow: Annotated[
        Side,
        typer.Option(
            help="Whose hard negatives a cross-lingual pair has: its positive's row's, or its query's row's, which are "
            "in the query's language if they were mined within it.",
            rich_help_panel="Batches",
        ),
    ] = Side.POSITIVE,
    batch_size: Annotated[int, typer.Option(min=1, help="Pairs a step and process.", rich_help_panel="Batches")] = 100,
    mini_batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Encode so many pairs at once and cache gradients: a large batch in little memory.",
            rich_help_panel="Batches",
        ),
    ] = None,
    max_steps: Annotated[
        int, typer.Option(min=0, help="Training steps; 0 for --epochs.", rich_help_panel="Recipe")
    ] = 0,
    epochs: Annotated[float, typer.Option(help="Passes over the rows.", rich_help_panel="Recipe")] = 1.0,
    learning_rate: Annotated[float, typer.Option(help="Peak of a linear schedule.", rich_help_panel="Recipe")] = 3e-5,
    warmup: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share of the steps with a rising rate.", rich_help_panel="Recipe")
    ] = 0.1,
    weight_decay: Annotated[float, typer.Option(help="Weight decay of AdamW.", rich_help_panel="Recipe")] = 1e-2,
    scale: Annotated[
        float,
        typer.Option(
            help="Inverse temperature of the loss. Take the one that the model was trained with: 100 for E5.",
            rich_help_panel="Recipe",
        ),
    ] = 20.0,
    max_length: Annotated[
        int, typer.Option(min=0, help="Tokens of a text in training; 0 for the model's own.", rich_help_panel="Recipe")
    ] = 0,
    query_prompt: Annotated[
        str | None, typer.Option(help="Put before queries; the model's own by default.", rich_help_panel="Recipe")
    ] = None,
    document_prompt: Annotated[
        str | None, typer.Option(help="Put before passages; the model's own by default.", rich_help_panel="Recipe")
    ] = None,
    freeze_embeddings: Annotated[
        bool, typer.Option("--freeze-embeddings", help="Leave token embeddings as they are.", rich_help_panel="Recipe")
    ] = False,
    bf16: Annotated[
        bool | None,
        typer.Option(help="bfloat16 arithmetic; by default where the GPU has it.", rich_help_panel="Recipe"),
    ] = None,
    held_out: Annotated[
        int,
        typer.Option(
            min=0, help="Groups kept from training to measure retrieval on.", rich_help_panel="While training"
        ),
    ] = 0,
    eval_steps: Annotated[
        int,
        typer.Option(min=0, help="Steps between checkpoints; 0 for ten of them.", rich_help_panel="While training"),
    ] = 0,
    patience: Annotated[
        int,
        typer.Option(
            min=0,
            help="Stop after so many measurements without a better multilingual mAP; 0 to go on.",
            rich_help_panel="While training",
        ),
    ] = 0,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the last checkpoint in --output.", rich_help_panel="While training"),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything random.", rich_help_panel="Recipe")] = 0,
    split: Annotated[str, typer.Option(help="Split of the data set.", rich_help_panel="Columns")] = "train",
    id_column: Column = "id",
    language_column: Column = "language",
    query_column: Column = "query",
    positive_column: Column = "positive",
) -> None:
    """Fine-tune a model on parallel rows: hybrid batches, or one of the baselines.

    Rows that share an id are translations: id, language, query, positive and, if you have them, negative columns. The
    defaults are the recipe of hybrid batch training (arXiv 2408.10536). For several GPUs:
    torchrun --nproc_per_node 4 -m st_hybrid.cli.main train ...
    """
    from st_hybrid.data import open_row_sets
    from st_hybrid.data.zero_shot import checked_sets
    from st_hybrid.recipe import Recipe
    from st_hybrid.training import finetune, print_training

    columns = {"id": id_column, "language": language_column, "query": query_column, "positive": positive_column}
    sets = open_row_sets(data, split=split, columns=columns, check_languages=False, show_progress_bar=True)
    rows = sets if len(sets) > 1 else next(iter(sets.values()))
    checked = checked_sets(data)
    recipe = Recipe(
        sampler=sampler.value,
        alpha=alpha if sampler is Sampler.HYBRID else None,
        language_sampling=None if languages is Languages.UNIFORM else languages.value,
        batch_size=batch_size,
        mini_batch_size=mini_batch_size,
        max_steps=max_steps or None,
        epochs=None if max_steps else epochs,
        learning_rate=learning_rate,
        warmup=warmup,
        weight_decay=weight_decay,
        scale=scale,
        max_length=max_length or None,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        freeze_embeddings=freeze_embeddings,
        bf16=bf16,
        held_out=held_out or None,
        save_steps=eval_steps or None,
        patience=patience or None,
        partners=partners or None,
        negatives_follow=None if negatives_follow is Side.POSITIVE else negatives_follow.value,
        seed=seed,
    )
    source = {"split": split, "columns": columns}
    finetune(model, rows, output, recipe, data_name=Path(data[0]).name, source=source, checked=checked, resume=resume)
    if int(os.environ.get("RANK", 0)) == 0:
        print_training(output, Console())
    Console(stderr=True).print(f"Wrote [bold]{output}[/]: the model, its card README.md and training.json.")


@app.command()
def center(
    model: Annotated[Path, typer.Option(help="Folder of a SentenceTransformer; the means are written into it.")],
    data: Annotated[str, typer.Option(help="Texts whose language is known: parallel rows, as for train.")],
    rows: Annotated[int, typer.Option(min=1, help="At most so many rows of each language.")] = 1000,
    unseen: Annotated[
        Unseen, typer.Option(help="Other languages: an error, kept as they are, or the mean of all languages.")
    ] = Unseen.ERROR,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts encoded at once.")] = 32,
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "train",
) -> None:
    """Estimate each language's mean vectors, to subtract them when searching; needs no training.

    Try it before you train: it removes much of the preference for the query's own language. The language of every
    query and passage must be known when searching. evaluate --center MODEL reports with the means.
    """
    from st_hybrid.data import open_rows
    from st_hybrid.methods.centering import LanguageCentering

    encoder = _load_model(str(model))
    centering = LanguageCentering.fit_rows(
        encoder,
        open_rows(data, split=split, check_languages=False).rows,
        per_language=rows,
        unseen=unseen.value,
        batch_size=batch_size,
        show_progress_bar=True,
    )
    centering.save_pretrained(model)
    Console(stderr=True).print(f"Wrote the means of {', '.join(centering.means['query'])} into [bold]{model}[/].")


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(help="SentenceTransformer: a folder or a hub name.")],
    output: Annotated[
        Path,
        typer.Option(
            help="JSON file to write, with the scores of each query beside it; tasks that it holds already stay."
        ),
    ],
    task: Annotated[list[str], typer.Option(help="XQuAD-R, MLQA-R or MIRACL; may be given again.")] = ["XQuAD-R"],  # noqa: B006
    data_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="ST_HYBRID_DATA",
            help="Folder with xquad-r/<lang>.json, mlqa-r/<lang>.json and MIRACL's layout; fetched if there is none.",
        ),
    ] = None,
    center: Annotated[
        list[str] | None,
        typer.Option(
            help="Report with language means subtracted too: a folder that the center command wrote them to, or "
            "'evaluated' for the means of the evaluated texts themselves. May be given again."
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option(help="Refuse XQuAD-R and MLQA-R files that are not the published ones.")
    ] = True,
    sample: Annotated[
        int | None, typer.Option(help="Number of queries to draw; the pool shrinks to their paragraphs.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sample (0 by default).")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts encoded at once.")] = 32,
    query_prompt: Annotated[str | None, typer.Option(help="Put before queries; the model's own by default.")] = None,
    document_prompt: Annotated[
        str | None, typer.Option(help="Put before candidates; the model's own by default.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Folder for heat maps: which languages a question finds first.")
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(help="Language of MIRACL; may be given again. All by default.", rich_help_panel="MIRACL"),
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Folder to keep embeddings of passages in, and to read them from.", rich_help_panel="MIRACL"),
    ] = None,
    memory_gb: Annotated[
        float | None,
        typer.Option(help="Memory for the search besides the model, in gigabytes.", rich_help_panel="MIRACL"),
    ] = None,
    index_factory: Annotated[
        str | None,
        typer.Option(
            help="Search approximately through this index of faiss, such as 'IVF4096,PQ48'.", rich_help_panel="MIRACL"
        ),
    ] = None,
    index_parameters: Annotated[
        str | None,
        typer.Option(help="Search parameters of the index, such as 'nprobe=32'.", rich_help_panel="MIRACL"),
    ] = None,
) -> None:
    """Measure a model on monolingual, cross-lingual and multilingual retrieval, from one encoding pass, or on MIRACL.

    Prints mAP, recall, nDCG, MRR, the rank distance (the language bias; lower is better), PEER (language fairness) and
    which languages are found first. Writes every pair of languages to a JSON file, and the scores of each query to
    OUTPUT.per-query.parquet.
    """
    from st_hybrid.benchmark import CorpusSearch, evaluate_tasks, print_scores
    from st_hybrid.evaluation.per_query import per_query_path

    scores = evaluate_tasks(
        model,
        task,  # type: ignore[arg-type]
        data_dir,
        output,
        centers=center or [],
        verify=verify,
        sample=sample,
        seed=seed,
        batch_size=batch_size,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        plots=plots,
        corpus_search=CorpusSearch(language, embeddings, memory_gb, index_factory, index_parameters),
    )
    print_scores(scores, Console())
    pictures = "" if plots is None else f", and pictures into [bold]{plots}[/]"
    Console(stderr=True).print(f"Wrote [bold]{output}[/] and [bold]{per_query_path(output)}[/]{pictures}.")


@app.command()
def encode(
    model: Annotated[str, typer.Option(help="SentenceTransformer: a folder or a hub name.")],
    output: Annotated[Path, typer.Option(help="Folder to keep embeddings in; it may serve many models.")],
    task: Annotated[EncodeTask, typer.Option(help="Whose passages.")] = EncodeTask.MIRACL,
    language: Annotated[
        list[str] | None,
        typer.Option(help="Language code; may be given again. By default all in --data-dir, or all 18."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="ST_HYBRID_DATA",
            help="Folder in MIRACL's official layout; by default mteb's copy on the Hugging Face Hub.",
        ),
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(
            help="local for this process; ray for the cluster that RAY_ADDRESS names, or else this machine.",
            rich_help_panel="Workers",
        ),
    ] = Engine.LOCAL,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes of ray; by default one a GPU, or one.", rich_help_panel="Workers"),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="GPUs of a worker, also a fraction; by default one if the cluster has any.",
            rich_help_panel="Workers",
        ),
    ] = None,
    memory_gb: Annotated[
        float,
        typer.Option(
            help="Gigabytes that a worker may take beside the model. Bounds the size of shards, so give the evaluation "
            "the same.",
            rich_help_panel="Workers",
        ),
    ] = 8.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Passages encoded at once.")] = 32,
    document_prompt: Annotated[
        str | None, typer.Option(help="Put before passages; the model's own by default.")
    ] = None,
) -> None:
    """Encode the passages of MIRACL, on one machine or with ray on many, for later evaluations.

    A worker that is lost is replaced and its shard encoded again; a run that was killed goes on where it stopped. On
    several machines, model and data must lie under the same path or hub name, and --output in a folder that they share.
    """
    from st_hybrid.tasks.encode_ahead import encode_miracl, print_encoding

    report = encode_miracl(
        model,
        output,
        language or None,
        data_dir=data_dir,
        engine=engine.value,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        batch_size=batch_size,
        memory_gb=memory_gb,
        document_prompt=document_prompt,
    )
    print_encoding(report, Console())
    Console(stderr=True).print(f"The embeddings are in [bold]{escape(str(output))}[/].")


def _load_model(name: str) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(name)


def main() -> None:
    """Run a command; what a user can mend is said in one line."""
    debug = bool(os.environ.get("ST_HYBRID_DEBUG"))
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError) as error:
        if debug:
            raise
        Console(stderr=True).print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
