"""Commands that make parallel rows worth training on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from datasets import Dataset
from rich.console import Console

from st_hybrid.cli.options import DataDir, listed, mapped, options_of
from st_hybrid.data import open_rows, write_rows
from st_hybrid.data.check import check_rows
from st_hybrid.data.check_report import Limits
from st_hybrid.data.decontamination import OverlapSettings
from st_hybrid.data.decontamination import decontaminate as remove_overlaps
from st_hybrid.data.evaluation_texts import read_evaluation_texts
from st_hybrid.data.mining import mine_negatives
from st_hybrid.data.write import check_output
from st_hybrid.data.zero_shot import carry_report, report_path, write_report
from st_hybrid.files import write_json
from st_hybrid.translation import Checks, ModelOptions, ModelTranslator, translate_rows


@options_of(translate_rows, omit=("rows", "languages", "translator", "checks", "detector", "show_progress_bar"))
def translate(
    data: str,
    /,
    *,
    to: list[str],
    model: str,
    output: Path,
    model_options: Annotated[ModelOptions, Parameter(name="*", group="Model")] = ModelOptions(),  # noqa: B008 (frozen)
    checks: Annotated[Checks, Parameter(name="check", group="Checks")] = Checks(),  # noqa: B008 (frozen)
    language: str | None = None,
    journal: Path | None = None,
    report: Path | None = None,
    column: list[str] | None = None,
    split: str = "train",
    scratch: Path | None = None,
    **options: Any,
) -> None:
    """Translate rows in one language into parallel rows.

    Each batch is stored in a journal. The same command continues after a crash. With more rows or languages it
    translates only what is new. Suspicious translations are left out and counted.

    Args:
        data: Rows in one language: a file, a folder or a hub name.
        to: Languages to translate into, such as ``de,fr,zh-Hant``.
        model: NLLB-200 or M2M100: a hub name such as ``facebook/nllb-200-distilled-600M``, or a folder.
        output: File to write: .jsonl, .jsonl.gz, .jsonl.zst or .parquet; without a suffix a folder.
        language: The language of all rows, if no column has it. Ids may then be missing too.
        journal: File that stores the translations (OUTPUT.journal by default).
        report: JSON file for the counts.
        column: Map a column: ``query=question``. Repeat the option for more columns.
        split: Split of the data set.
        scratch: Folder for temporary files.
    """
    check_output(output)
    rows = _open(data, split, column, language=language, scratch=scratch)
    parallel, found = translate_rows(
        rows,
        listed(to) or [],
        ModelTranslator(model, model_options),
        journal=journal or output.with_name(f"{output.name}.journal"),
        checks=checks,
        scratch=scratch,
        show_progress_bar=True,
        **options,
    )
    write_rows(parallel, output)
    if report is not None:
        write_json(report, found.to_dict())
    Console().print(found)
    Console(stderr=True).print(f"Wrote [bold]{output}[/]: {found.kept:,} rows.")


@options_of(check_rows, omit=("rows", "columns", "show_progress_bar"))
def check(
    data: str,
    /,
    *,
    report: Path | None = None,
    plot: Path | None = None,
    model: str | None = None,
    limits: Annotated[Limits, Parameter(name="max", group="Limits")] = Limits(),  # noqa: B008 (frozen)
    column: list[str] | None = None,
    split: str = "train",
    **options: Any,
) -> int:
    """Check parallel rows before training on them.

    Reports languages, empty and repeated rows, lengths, passage clusters and near-duplicates. Exit status: 0 within the
    limits, 3 beyond them, 1 for unreadable rows, 2 for wrong options. Needs the extra ``check``, except with
    ``--no-detect --no-near-duplicate-threshold``.

    Args:
        data: Parallel rows: a file, a folder or a hub name.
        report: JSON file for the report.
        plot: Figure of the languages, such as ``languages.png``.
        model: Also count the tokens of this SentenceTransformer: a folder or hub name.
        column: Map a column: ``query=question``. Repeat the option for more columns.
        split: Split of the data set.
    """
    encoder = None
    if model is not None:
        from sentence_transformers import SentenceTransformer

        encoder = SentenceTransformer(model)
    rows = open_rows(data, split=split, columns=mapped(column), keep_invalid=True, show_progress_bar=True).rows
    found = check_rows(rows, limits, model=encoder, show_progress_bar=True, **options)
    Console().print(found)
    if report is not None:
        found.write(report, data)
    if plot is not None:
        found.plot(plot)
    return 3 if found.problems else 0


def decontaminate(
    data: str,
    /,
    *,
    against: list[str],
    output: Path,
    data_dir: DataDir = None,
    settings: Annotated[OverlapSettings, Parameter(name="*", group="Overlap")] = OverlapSettings(),  # noqa: B008 (frozen)
    verify: Annotated[bool, Parameter(negative="--no-verify")] = True,
    column: list[str] | None = None,
    split: str = "train",
) -> None:
    """Remove rows that share text with an evaluation set, and their translations.

    Finds equal texts (apart from case, spaces and punctuation), parts of texts and lightly edited ones, but no
    paraphrases. Writes the clean rows and OUTPUT.decontamination.json. ``st-hybrid train`` finds this report, and only
    then does the model card call the evaluation on the set zero-shot.

    Args:
        data: Parallel rows: a file, a folder or a hub name.
        against: XQuAD-R, MLQA-R, MIRACL, or a file of texts (.txt with a text per line, JSON lines, CSV, TSV or
            Parquet). Repeat the option for more sets.
        output: File to write: .jsonl, .jsonl.gz, .jsonl.zst or .parquet; without a suffix a folder.
        data_dir: Folder with ``xquad-r/<lang>.json``, ``mlqa-r/<lang>.json`` and MIRACL's folders. Without it XQuAD-R
            and MLQA-R are downloaded.
        verify: Refuse XQuAD-R and MLQA-R files that are not the published ones.
        column: Map a column: ``query=question``. Repeat the option for more columns.
        split: Split of the data set.
    """
    check_output(output)
    if output.exists() and Path(data).exists() and output.samefile(data):
        raise ValueError(f"{output} is the data. Choose another --output.")
    sets = [read_evaluation_texts(name, data_dir, verify=verify) for name in against]
    found = remove_overlaps(_open(data, split, column), sets, settings, show_progress_bar=True)
    Console().print(found)
    if not len(found.clean):
        raise ValueError("Every row shares text with an evaluation set, so there is nothing to write.")
    write_rows(found.clean, output)
    write_report(found, data, output)
    Console(stderr=True).print(
        f"Wrote [bold]{output}[/]: {len(found.clean):,} of {found.rows:,} rows; and [bold]{report_path(output)}[/]."
    )


@options_of(mine_negatives, omit=("rows", "columns", "show_progress_bar"))
def mine(
    data: str,
    /,
    *,
    model: str,
    output: Path,
    cross_encoder: str | None = None,
    column: list[str] | None = None,
    split: str = "train",
    **options: Any,
) -> None:
    """Add hard negatives to parallel rows.

    Hard negatives are passages that a model ranks high for a query and that do not answer it. They never come from the
    query's own passage cluster. ``st-hybrid train`` uses the negative columns of the written file.

    Args:
        data: Parallel rows: a file, a folder or a hub name.
        model: SentenceTransformer that ranks the passages: a folder or hub name.
        output: File to write: .jsonl, .jsonl.gz, .jsonl.zst or .parquet; without a suffix a folder.
        cross_encoder: CrossEncoder that scores the candidates again, for margins and score limits.
        column: Map a column: ``query=question``. Repeat the option for more columns.
        split: Split of the data set.
    """
    from sentence_transformers import CrossEncoder, SentenceTransformer

    check_output(output)
    rows = _open(data, split, column)
    mined = mine_negatives(
        rows,
        SentenceTransformer(model),
        cross_encoder=None if cross_encoder is None else CrossEncoder(cross_encoder),
        show_progress_bar=True,
        **options,
    )
    write_rows(mined, output)
    columns = ", ".join(name for name in mined.column_names if name.startswith("negative"))
    message = f"Wrote [bold]{output}[/]: {len(mined):,} rows with {columns}."
    if left_out := len(rows) - len(mined):
        message += f" Left out {left_out:,} rows with too few negatives."
    if carry_report(data, output):
        message += f" They are as clean as {data}: [bold]{report_path(output)}[/]."
    Console(stderr=True).print(message)


def _open(data: str, split: str, column: list[str] | None, **options: Any) -> Dataset:
    """The rows, with a report of what was left out."""
    rows, report = open_rows(
        data, split=split, columns=mapped(column), check_languages=False, show_progress_bar=True, **options
    )
    if report.dropped:
        Console(stderr=True).print(report)
    return rows
