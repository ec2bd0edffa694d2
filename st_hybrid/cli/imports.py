"""Commands that read data in a known layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from st_hybrid.cli.options import Column, Output, mapped, options_of
from st_hybrid.data import Rows, open_rows, read_bitext, read_mmarco, read_squad, write_rows
from st_hybrid.data.write import check_output


@options_of(open_rows, omit=("columns", "keep_invalid", "show_progress_bar"))
def rows(data: list[str], /, *, output: Output, column: Column = None, **options: Any) -> None:
    """Read files, folders or data sets of the hub, with rows or columns per language.

    Args:
        data: Files (JSON lines, CSV, TSV or Parquet, also compressed), a folder, or a hub name with a configuration
            after a colon.
    """
    _convert(output, open_rows, data, columns=mapped(column), **options)


@options_of(read_squad, omit=("splitter", "show_progress_bar"))
def squad(files: list[str], /, *, output: Output, **options: Any) -> None:
    """Read question answering in SQuAD's format, in several languages.

    Args:
        files: A folder of <language>.json, or the file of each language: ``de=squad-de.json``.
    """
    several = len(files) > 1 or "=" in files[0]
    _convert(output, read_squad, mapped(files, "de=squad-de.json") if several else files[0], **options)


@options_of(read_bitext, omit=("show_progress_bar",))
def bitext(files: list[str], /, *, output: Output, **options: Any) -> None:
    """Read sentences and their translations.

    Args:
        files: Two files with aligned lines, or one file with two columns.
    """
    _convert(output, read_bitext, files, **options)


@options_of(read_mmarco, omit=("show_progress_bar",))
def mmarco(folder: Path, /, *, output: Output, **options: Any) -> None:
    """Read mMARCO, the translations of MS MARCO.

    Args:
        folder: mMARCO's data folder, with google/ and triples.train.ids.small.tsv.
    """
    _convert(output, read_mmarco, folder, **options)


def _convert(output: Path, read: Callable[..., Rows], data: Any, **options: Any) -> None:
    check_output(output)
    found, report = read(data, show_progress_bar=True, **options)
    write_rows(found, output)
    Console().print(report)
    Console(stderr=True).print(f"Wrote [bold]{output}[/]: {report.kept:,} rows.")
