"""The data commands that make parallel rows worth training on."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

# As in st_hybrid.cli, the commands import the library when they run.

Data = Annotated[
    str,
    typer.Argument(
        help="Parallel rows: a JSONL, CSV, TSV or Parquet file, a folder of save_to_disk, or a hub name.",
        show_default=False,
    ),
]
Output = Annotated[
    Path,
    typer.Option(help="File to write: .jsonl, .jsonl.gz, .jsonl.zst or .parquet; without a suffix, a folder."),
]
Split = Annotated[str, typer.Option(help="Split of the data set, where it has several.")]


class NegativeLanguages(str, Enum):
    """Where negatives come from."""

    SAME = "same"
    OTHER = "other"
    BOTH = "both"


class Strategy(str, Enum):
    """Which of the candidates become negatives."""

    TOP = "top"
    RANDOM = "random"


def mine(
    data: Data,
    model: Annotated[str, typer.Option(help="SentenceTransformer that ranks the passages: a folder or a hub name.")],
    output: Output,
    languages: Annotated[
        NegativeLanguages,
        typer.Option(help="Negatives in the row's language, in any other, or as many of each."),
    ] = NegativeLanguages.SAME,
    negatives: Annotated[int, typer.Option(min=1, help="Negatives of each row and kind.")] = 1,
    range_min: Annotated[
        int, typer.Option(min=0, help="Skip so many of the best candidates.", rich_help_panel="Candidates")
    ] = 0,
    range_max: Annotated[
        int | None,
        typer.Option(min=1, help="Look at so many of the best candidates.", rich_help_panel="Candidates"),
    ] = None,
    max_score: Annotated[
        float | None, typer.Option(help="Skip candidates with a higher score.", rich_help_panel="Candidates")
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Skip candidates with a lower score.", rich_help_panel="Candidates")
    ] = None,
    absolute_margin: Annotated[
        float | None,
        typer.Option(help="Skip candidates less than this below the right answer.", rich_help_panel="Candidates"),
    ] = None,
    relative_margin: Annotated[
        float | None,
        typer.Option(help="The same, as a share of the right answer's score.", rich_help_panel="Candidates"),
    ] = None,
    strategy: Annotated[
        Strategy, typer.Option(help="Take the best candidates, or draw.", rich_help_panel="Candidates")
    ] = Strategy.TOP,
    cross_encoder: Annotated[
        str | None,
        typer.Option(help="CrossEncoder that scores candidates for margins and scores.", rich_help_panel="Candidates"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts encoded at once.")] = 32,
    query_prompt: Annotated[str | None, typer.Option(help="Put before queries; the model's own by default.")] = None,
    document_prompt: Annotated[
        str | None, typer.Option(help="Put before passages; the model's own by default.")
    ] = None,
    split: Split = "train",
) -> None:
    """Add hard negatives: passages that a model ranks high and that answer something else.

    Never from the query's own passage cluster, in any language. Train on the file as it is: negative columns are taken
    up. Candidates are chosen by sentence-transformers' mine_hard_negatives.
    """
    from sentence_transformers import CrossEncoder, SentenceTransformer

    from st_hybrid.negatives import mine_negatives
    from st_hybrid.sources.files import load_rows
    from st_hybrid.sources.write import check_output, write_rows

    check_output(output)
    rows = load_rows(data, split=split)
    options: dict[str, Any] = {
        "range_min": range_min,
        "range_max": range_max,
        "max_score": max_score,
        "min_score": min_score,
        "absolute_margin": absolute_margin,
        "relative_margin": relative_margin,
        "sampling_strategy": strategy.value,
        "cross_encoder": CrossEncoder(cross_encoder) if cross_encoder else None,
    }
    mined = mine_negatives(
        rows,
        SentenceTransformer(model),
        languages=languages.value,
        num_negatives=negatives,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        batch_size=batch_size,
        show_progress_bar=True,
        **options,
    )
    write_rows(mined, output)
    columns = ", ".join(name for name in mined.column_names if name.startswith("negative"))
    told = f"Wrote [bold]{output}[/]: {len(mined):,} rows with {columns}."
    if left_out := len(rows) - len(mined):
        told += f" Left out {left_out:,} rows with too few negatives."
    Console(stderr=True).print(told)
