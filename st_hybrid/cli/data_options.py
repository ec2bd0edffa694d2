"""Options that the data commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

Output = Annotated[
    Path,
    typer.Option(help="File to write: .jsonl, .jsonl.gz, .jsonl.zst or .parquet; without a suffix, a folder."),
]
Languages = Annotated[
    str | None, typer.Option(help="Languages to read, with commas between them, such as de,en; all by default.")
]
ColumnNames = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        help="What the data call a column: query=question. For id, language, query, positive and negative; in wide "
        "form, what the columns' names begin with. May be given again.",
    ),
]
OneLanguage = Annotated[
    str | None, typer.Option(help="The language of all rows, where no column says; ids may then be missing as well.")
]
Scratch = Annotated[
    Path | None, typer.Option(help="Folder for temporary files, on a disk with room for the rows.", show_default=False)
]


def named_columns(given: Sequence[str] | None) -> dict[str, str]:
    """The values of ``--column`` by what the package calls the columns."""
    return named_values(given or [], "query=question")


def named_values(given: Sequence[str], example: str) -> dict[str, str]:
    """``a=b`` as a dictionary; ``b`` may have more equal signs."""
    if wrong := [pair for pair in given if not all(pair.partition("="))]:
        raise ValueError(f"{wrong[0]!r} should be a pair such as {example}.")
    pairs = [pair.partition("=") for pair in given]
    if twice := {name for name, _, _ in pairs if sum(name == other for other, _, _ in pairs) > 1}:
        raise ValueError(f"{min(twice)} is given more than once.")
    return {name: value for name, _, value in pairs}


def listed(given: str | None) -> list[str] | None:
    """What stands between commas."""
    return [part.strip() for part in given.split(",") if part.strip()] if given is not None else None
