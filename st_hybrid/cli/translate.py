"""The command that translates rows in one language into parallel rows."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from st_hybrid.cli.data_options import ColumnNames, OneLanguage, Output, Scratch, listed, named_columns

if TYPE_CHECKING:
    from st_hybrid.translation import Decoding, Translator

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
        typer.Option(
            help="Folder to keep translations in as they come; by default OUTPUT.journal.", show_default=False
        ),
    ] = None,
    scratch: Scratch = None,
) -> None:
    """Translate rows in one language: parallel rows for who has none.

    Keeps every batch in a journal beside the output. Started again after a crash, the same command goes on there; with
    more rows or languages it translates what is new. Translations that look wrong are left out and counted: sources
    copied, another script or language, much too short or long, the same over and over, nothing left.
    """
    from st_hybrid.data import open_rows
    from st_hybrid.data.write import check_output, write_rows
    from st_hybrid.translation import REASONS, Checks, Decoding, translate_rows

    check_output(output)
    left_out = set(without_check or ())
    if unknown := left_out - set(REASONS):
        raise ValueError(f"There is no check {min(unknown)!r}; there are {', '.join(REASONS)}.")
    decoding = Decoding(beam_size, max_length, max_source_length)
    columns = named_columns(column)
    rows, read = open_rows(
        data, split=split, columns=columns, language=language, scratch=scratch, show_progress_bar=True
    )
    translator = _translator(backend, model, decoding, device, compute_type, tokenizer)
    parallel, told = translate_rows(
        rows,
        listed(to) or [],
        translator,
        journal=journal or output.with_name(f"{output.name}.journal"),
        checks=Checks(tuple(name for name in REASONS if name not in left_out)),
        keep_suspicious=keep_suspicious,
        sentences=not whole_texts,
        max_batch_tokens=max_batch_tokens,
        scratch=scratch,
        progress=True,
    )
    write_rows(parallel, output)
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(told.as_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    Console().print(read)
    Console().print(told)
    Console(stderr=True).print(f"Wrote [bold]{output}[/]: {told.kept:,} rows.")


def _translator(
    backend: BackEnd,
    model: str,
    decoding: Decoding,
    device: str | None,
    compute_type: str | None,
    tokenizer: str | None,
) -> Translator:
    from st_hybrid.translation import CTranslate2Translator, TransformersTranslator

    if backend is BackEnd.CTRANSLATE2:
        try:
            return CTranslate2Translator(
                model, decoding=decoding, device=device, compute_type=compute_type or "default", tokenizer=tokenizer
            )
        except ModuleNotFoundError as error:
            raise ValueError(str(error)) from error
    if tokenizer is not None:
        raise ValueError("--tokenizer is for converted models; add --backend ctranslate2.")
    return TransformersTranslator(model, decoding=decoding, device=device, dtype=compute_type)
