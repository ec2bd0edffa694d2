"""The data commands: from what people have to parallel rows."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from st_hybrid.cli import trust as trust_cli
from st_hybrid.cli.data_options import (
    ColumnNames,
    Languages,
    OneLanguage,
    Output,
    Scratch,
    listed,
    named_columns,
    named_values,
)
from st_hybrid.cli.translate import translate

if TYPE_CHECKING:
    from st_hybrid.data import Rows

# As in st_hybrid.cli.main, the commands import the library when they run.

app = typer.Typer(help="Make parallel rows of the data that you have.", no_args_is_help=True)
imports = typer.Typer(
    help="Read data of a known layout and write parallel rows: id, language, query, positive and any negatives. "
    "Prints how many rows were read, and how many were left out and why.",
    no_args_is_help=True,
)
app.add_typer(imports, name="import")
app.command("check")(trust_cli.check)
app.command("decontaminate")(trust_cli.decontaminate)
app.command("mine")(trust_cli.mine)
app.command()(translate)


class FormName(str, Enum):
    """How a table holds several languages."""

    AUTO = "auto"
    LONG = "long"
    WIDE = "wide"


class PositiveName(str, Enum):
    """What of a paragraph answers a question."""

    SENTENCE = "sentence"
    PARAGRAPH = "paragraph"


FormOption = Annotated[
    FormName, typer.Option(help="long: a row a language. wide: a column a language, such as query_de, positive_de.")
]


@imports.command("files")
def import_files(
    files: Annotated[list[Path], typer.Argument(help="JSON lines, CSV, TSV (also .gz, .zst, .bz2, .xz) or Parquet.")],
    output: Output,
    column: ColumnNames = None,
    form: FormOption = FormName.AUTO,
    language: OneLanguage = None,
    languages: Languages = None,
    scratch: Scratch = None,
) -> None:
    """Files with a row a language, or with a column a language."""
    from st_hybrid.data import open_rows

    def read() -> Rows:
        return open_rows(
            files,
            columns=named_columns(column),
            form=form.value,
            language=language,
            languages=listed(languages),
            scratch=scratch,
            show_progress_bar=True,
        )

    _convert(read, output)


@imports.command("hub")
def import_hub(
    name: Annotated[str, typer.Argument(help="Data set on the hub, with a configuration after a colon: user/set:v1.")],
    output: Output,
    column: ColumnNames = None,
    split: Annotated[str, typer.Option(help="Split to read.")] = "train",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    streaming: Annotated[
        bool, typer.Option("--streaming", help="Read rows as they are needed, and keep no copy of the data set.")
    ] = False,
    max_rows: Annotated[int | None, typer.Option(min=1, help="Read so many rows from the beginning.")] = None,
    form: FormOption = FormName.AUTO,
    language: OneLanguage = None,
    languages: Languages = None,
    scratch: Scratch = None,
) -> None:
    """A data set of the Hugging Face hub, whole or streamed."""
    from st_hybrid.data import open_rows

    def read() -> Rows:
        return open_rows(
            name,
            split=split,
            revision=revision,
            streaming=streaming,
            max_rows=max_rows,
            columns=named_columns(column),
            form=form.value,
            language=language,
            languages=listed(languages),
            scratch=scratch,
            show_progress_bar=True,
        )

    _convert(read, output)


@imports.command("squad")
def import_squad(
    files: Annotated[
        list[str],
        typer.Argument(help="A folder of <language>.json, or the file of each language: de=squad-de.json."),
    ],
    output: Output,
    positive: Annotated[
        PositiveName, typer.Option(help="What answers a question: the answer's sentence, or its whole paragraph.")
    ] = PositiveName.SENTENCE,
    languages: Languages = None,
    scratch: Scratch = None,
) -> None:
    """SQuAD-format question answering in several languages that share question ids."""
    from st_hybrid.data import read_squad

    def read() -> Rows:
        given: Any = files[0]
        if len(files) > 1 or "=" in files[0]:
            given = named_values(files, "de=squad-de.json")
        return read_squad(
            given, positive=positive.value, languages=listed(languages), scratch=scratch, show_progress_bar=True
        )

    _convert(read, output)


@imports.command("mmarco")
def import_mmarco(
    folder: Annotated[Path, typer.Argument(help="mMARCO's data folder, with google/ and triples.train.ids.small.tsv.")],
    output: Output,
    languages: Languages = None,
    translation: Annotated[str, typer.Option(help="google, or the older helsinki.")] = "google",
    split: Annotated[str, typer.Option(help="Split of the queries: train or dev.")] = "train",
    qrels: Annotated[
        Path | None, typer.Option(help="Relevant passages; by default qrels.<split>.tsv, or the triples' positives.")
    ] = None,
    triples: Annotated[
        Path | None, typer.Option(help="Triples; by default triples.<split>.ids.small.tsv of the folder.")
    ] = None,
    negatives: Annotated[int, typer.Option(min=0, help="Hard negatives of each query, from the triples.")] = 0,
    max_queries: Annotated[int | None, typer.Option(min=1, help="Draw so many queries; all by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of that draw.")] = 0,
    scratch: Scratch = None,
) -> None:
    """MS MARCO's translations in their published layout, millions of passages a language."""
    from st_hybrid.data import read_mmarco

    def read() -> Rows:
        return read_mmarco(
            folder,
            languages=listed(languages),
            translation=translation,
            split=split,
            qrels=qrels,
            triples=triples,
            negatives=negatives,
            max_queries=max_queries,
            seed=seed,
            scratch=scratch,
            show_progress_bar=True,
        )

    _convert(read, output)


@imports.command("bitext")
def import_bitext(
    files: Annotated[
        list[Path],
        typer.Argument(help="Two files whose lines belong together, or one with two columns: TSV, JSON lines, …"),
    ],
    output: Output,
    languages: Annotated[
        str | None, typer.Option(help="The two languages, such as de,en; by default what files or columns are called.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="The two columns, where the languages' codes are not what they are called.")
    ] = None,
    scratch: Scratch = None,
) -> None:
    """Sentences and their translations; train on them with --sampler x-y."""
    from st_hybrid.data import read_bitext

    def read() -> Rows:
        return read_bitext(
            files, languages=listed(languages), text_columns=listed(columns), scratch=scratch, show_progress_bar=True
        )

    _convert(read, output)


def _convert(read: Callable[[], Rows], output: Path) -> None:
    from st_hybrid.data.write import check_output, write_rows

    check_output(output)
    rows, report = read()
    write_rows(rows, output)
    Console().print(report)
    Console(stderr=True).print(f"Wrote [bold]{output}[/]: {report.kept:,} rows.")
