"""Commands that read data in a known layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from st_hybrid.cli.options import mapped, options_of
from st_hybrid.data import Rows, open_rows, read_bitext, read_mmarco, read_squad, write_rows
from st_hybrid.data.write import check_output


@options_of(open_rows, omit=("columns", "keep_invalid", "show_progress_bar"))
def rows(data: list[str], /, *, output: Path, column: list[str] | None = None, **options: Any) -> None:
    """Read rows or columns per language, and the layouts of FlagEmbedding, Tevatron, WebFAQ and SWIM-IR.

    Args:
        data: Files (JSON lines, CSV, TSV or Parquet, also compressed), a folder, or a hub name with a configuration
            after a colon.
        output: File to write: .jsonl, .jsonl.gz, .jsonl.zst or .parquet; without a suffix a folder.
        column: Map a column: ``query=question``. Repeat the option for more columns.
    """
    _convert(lambda: open_rows(data, columns=mapped(column), show_progress_bar=True, **options), output)


@options_of(read_squad, omit=("splitter", "show_progress_bar"))
def squad(files: list[str], /, *, output: Path, **options: Any) -> None:
    """Read question answering in SQuAD's format, in several languages.

    Args:
        files: A folder of <language>.json, or the file, folder or hub name of each language: ``de=squad-de.json``.
        output: File to write: .jsonl, .jsonl.gz, .jsonl.zst or .parquet; without a suffix a folder.
    """
    given: Any = mapped(files, "de=squad-de.json") if len(files) > 1 or "=" in files[0] else files[0]
    _convert(lambda: read_squad(given, show_progress_bar=True, **options), output)


@options_of(read_bitext, omit=("show_progress_bar",))
def bitext(files: list[str], /, *, output: Path, **options: Any) -> None:
    """Read sentences and their translations.

    Args:
        files: Two files with aligned lines, or one file, folder or hub name with two columns or OPUS's ``translation``.
        output: File to write: .jsonl, .jsonl.gz, .jsonl.zst or .parquet; without a suffix a folder.
    """
    _convert(lambda: read_bitext(files, show_progress_bar=True, **options), output)


@options_of(read_mmarco, omit=("show_progress_bar",))
def mmarco(folder: Path, /, *, output: Path, **options: Any) -> None:
    """Read mMARCO, the translations of MS MARCO.

    Args:
        folder: mMARCO's data folder, with google/ and triples.train.ids.small.tsv.
        output: File to write: .jsonl, .jsonl.gz, .jsonl.zst or .parquet; without a suffix a folder.
    """
    _convert(lambda: read_mmarco(folder, show_progress_bar=True, **options), output)


def _convert(read: Callable[[], Rows], output: Path) -> None:
    check_output(output)
    found, report = read()
    write_rows(found, output)
    Console().print(report)
    Console(stderr=True).print(f"Wrote [bold]{output}[/]: {report.kept:,} rows.")
