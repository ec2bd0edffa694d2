"""The command that translates rows in one language into parallel rows."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from st_hybrid.cli.data_options import ColumnNames, OneLanguage, Output, Scratch, listed, named_columns

# As in st_hybrid.cli.main, the command imports the library when it runs.


class BackEnd(str, Enum):
    """What runs the model."""

    TRANSFORMERS = "transformers"
    CTRANSLATE2 = "ctranslate2"


def translate(
    data: Annotated[
        str,
        typer.Argument(help="JSON lines, CSV, TSV or Parquet, or a data set on the hub with a configuration after :."),
    ],
    to: Annotated[str, typer.Option(help="Languages to translate into, such as de,fr,zh-Hant.")],
    model: Annotated[
        str,
        typer.Option(
            help="NLLB-200 or M2M100: facebook/nllb-200-distilled-600M, facebook/m2m100_418M, or a folder with one; "
            "for ctranslate2 also a folder with a converted one."
        ),
    ],
    output: Output,
    language: OneLanguage = None,
    column: ColumnNames = None,
    split: Annotated[str, typer.Option(help="Split of a data set on the hub.")] = "train",
    backend: Annotated[
        BackEnd,
        typer.Option(
            help="ctranslate2 is the faster one; it comes with the extra 'translate'.", rich_help_panel="Model"
        ),
    ] = BackEnd.TRANSFORMERS,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, cuda:1; by default a GPU if there is one.", rich_help_panel="Model"),
    ] = None,
    compute_type: Annotated[
        str | None,
        typer.Option(
            help="float32, float16 or bfloat16, for ctranslate2 also int8, the fastest on a CPU. By default what the "
            "model is stored in; for transformers, float16 on a GPU and float32 elsewhere.",
            rich_help_panel="Model",
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="The tokenizer of a converted model whose folder has none.", rich_help_panel="Model"),
    ] = None,
    beam_size: Annotated[int, typer.Option(min=1, help="Hypotheses kept; 1 is greedy.", rich_help_panel="Model")] = 4,
    max_length: Annotated[
        int, typer.Option(min=2, help="Tokens of a sentence's translation at most.", rich_help_panel="Model")
    ] = 256,
    max_source_length: Annotated[
        int, typer.Option(min=2, help="Tokens of a sentence that the model reads at most.", rich_help_panel="Model")
    ] = 512,
    max_batch_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of a batch, padding included.", rich_help_panel="Model")
    ] = 4096,
    whole_texts: Annotated[
        bool,
        typer.Option(
            "--whole-texts",
            help="Give the model whole texts. It was trained on sentences, and of a paragraph often leaves some out.",
            rich_help_panel="Model",
        ),
    ] = False,
    without_check: Annotated[
        list[str] | None,
        typer.Option(
            help="A check not to make: emptied, copied, script, language, length, repetition or truncated. May be "
            "given again.",
            rich_help_panel="Checks",
        ),
    ] = None,
    keep_suspicious: Annotated[
        bool,
        typer.Option(
            "--keep-suspicious",
            help="Keep suspicious rows, and say why in a column 'suspicious'.",
            rich_help_panel="Checks",
        ),
    ] = False,
    report: Annotated[Path | None, typer.Option(help="JSON file for the counts.", rich_help_panel="Checks")] = None,
    journal: Annotated[
        Path | None,
        typer.Option(help="File to keep translations in as they come; by default OUTPUT.journal.", show_default=False),
    ] = None,
    scratch: Scratch = None,
) -> None:
    """Translate rows in one language: parallel rows for who has none.

    Keeps every batch in a journal beside the output. Started again after a crash, the same command goes on there; with
    more rows or languages it translates what is new. Translations that look wrong are left out and counted: sources
    copied, another script or language, much too short or long, the same over and over, nothing left.
    """
    from st_hybrid.data import read_files, read_hub
    from st_hybrid.data.write import check_output, write_rows
    from st_hybrid.files import write_json
    from st_hybrid.translation import Checks, ModelOptions, ModelTranslator, translate_rows

    check_output(output)
    checks = Checks(skip=tuple(without_check or ()))  # type: ignore[arg-type]
    options = ModelOptions(
        backend.value,
        device,
        compute_type,  # type: ignore[arg-type]
        tokenizer,
        beam_size,
        max_length,
        max_source_length,
    )
    columns = named_columns(column)
    if Path(data).is_file():
        rows, read = read_files(data, columns=columns, language=language, scratch=scratch, progress=True)
    else:
        rows, read = read_hub(data, split=split, columns=columns, language=language, scratch=scratch, progress=True)
    try:
        translator = ModelTranslator(model, options)
    except ModuleNotFoundError as error:
        raise ValueError(str(error)) from error
    parallel, told = translate_rows(
        rows,
        listed(to) or [],
        translator,
        journal=journal or output.with_name(f"{output.name}.journal"),
        checks=checks,
        keep_suspicious=keep_suspicious,
        sentences=not whole_texts,
        max_batch_tokens=max_batch_tokens,
        scratch=scratch,
        show_progress_bar=True,
    )
    write_rows(parallel, output)
    if report is not None:
        write_json(report, told.to_dict())
    Console().print(read)
    Console().print(told)
    Console(stderr=True).print(f"Wrote [bold]{output}[/]: {told.kept:,} rows.")
