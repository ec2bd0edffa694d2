"""Commands that make parallel rows worth training on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from sentence_transformers import CrossEncoder, SentenceTransformer

from st_hybrid.cli.options import Column, Data, DataDir, Output, Split, listed, opened, options_of
from st_hybrid.data import Limits, OverlapSettings, check_rows, mine_negatives, read_evaluation_texts, write_rows
from st_hybrid.data import decontaminate as remove_overlaps
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
    output: Output,
    model_options: Annotated[ModelOptions, Parameter(name="*", group="Model")] = ModelOptions(),  # noqa: B008 (frozen)
    checks: Annotated[Checks, Parameter(name="check", group="Checks")] = Checks(),  # noqa: B008 (frozen)
    language: str | None = None,
    journal: Path | None = None,
    report: Path | None = None,
    column: Column = None,
    split: Split = "train",
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
        language: The language of all rows, if no column has it. Ids may then be missing too.
        journal: File that stores the translations (OUTPUT.journal by default).
        report: JSON file for the counts.
        scratch: Folder for temporary files.
    """
    check_output(output)
    parallel, found = translate_rows(
        opened(data, split, column, language=language, scratch=scratch),
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
    data: Data,
    /,
    *,
    report: Path | None = None,
    plot: Path | None = None,
    model: str | None = None,
    limits: Annotated[Limits, Parameter(name="max", group="Limits")] = Limits(),  # noqa: B008 (frozen)
    column: Column = None,
    split: Split = "train",
    **options: Any,
) -> int:
    """Check parallel rows before training on them.

    Reports languages, empty and repeated rows, lengths, passage clusters and near-duplicates. Exit status: 0 within the
    limits, 3 beyond them, 1 for unreadable rows, 2 for wrong options. Needs the extra ``check``, except with
    ``--no-detect --no-near-duplicate-threshold``.

    Args:
        report: JSON file for the report.
        plot: Figure of the languages, such as ``languages.png``.
        model: Also count the tokens of this SentenceTransformer: a folder or hub name.
    """
    encoder = None if model is None else SentenceTransformer(model)
    rows = opened(data, split, column, keep_invalid=True, check_languages=True)
    found = check_rows(rows, limits, model=encoder, show_progress_bar=True, **options)
    Console().print(found)
    if report is not None:
        found.write(report, data)
    if plot is not None:
        found.plot(plot)
    return 3 if found.problems else 0


def decontaminate(
    data: Data,
    /,
    *,
    against: list[str],
    output: Output,
    data_dir: DataDir = None,
    settings: Annotated[OverlapSettings, Parameter(name="*", group="Overlap")] = OverlapSettings(),  # noqa: B008 (frozen)
    verify: Annotated[bool, Parameter(negative="--no-verify")] = True,
    column: Column = None,
    split: Split = "train",
) -> None:
    """Remove rows that share text with an evaluation set, and their translations.

    Finds equal texts (apart from case, spaces and punctuation), parts of texts and lightly edited ones, but no
    paraphrases. Writes the clean rows and OUTPUT.decontamination.json. ``st-hybrid train`` finds this report, and only
    then does the model card call the evaluation on the set zero-shot.

    Args:
        against: XQuAD-R, MLQA-R, MIRACL, or a file of texts (.txt with a text per line, JSON lines, CSV, TSV or
            Parquet). Repeat the option for more sets.
        data_dir: Folder with ``xquad-r/<lang>.json``, ``mlqa-r/<lang>.json`` and MIRACL's folders. Without it XQuAD-R
            and MLQA-R are downloaded.
        verify: Refuse XQuAD-R and MLQA-R files that are not the published ones.
    """
    check_output(output)
    if output.exists() and Path(data).exists() and output.samefile(data):
        raise ValueError(f"{output} is the data. Choose another --output.")
    sets = [read_evaluation_texts(name, data_dir, verify=verify) for name in against]
    found = remove_overlaps(opened(data, split, column), sets, settings, show_progress_bar=True)
    Console().print(found)
    if not len(found.clean):
        raise ValueError("Every row shares text with an evaluation set, so there is nothing to write.")
    write_rows(found.clean, output)
    write_report(found, data, output)
    Console(stderr=True).print(
        f"Wrote [bold]{output}[/]: {len(found.clean):,} of {found.rows:,} rows; and [bold]{report_path(output)}[/]."
    )


@options_of(mine_negatives, omit=("rows", "columns", "faiss_batch_size", "show_progress_bar"))
def mine(
    data: Data,
    /,
    *,
    model: str,
    output: Output,
    cross_encoder: str | None = None,
    column: Column = None,
    split: Split = "train",
    **options: Any,
) -> None:
    """Add hard negatives to parallel rows.

    Hard negatives are passages that a model ranks high for a query and that do not answer it. They never come from the
    query's own passage cluster. ``st-hybrid train`` uses the negative columns of the written file.

    Args:
        model: SentenceTransformer that ranks the passages: a folder or hub name.
        cross_encoder: CrossEncoder that scores the candidates again, for margins and score limits.
    """
    check_output(output)
    rows, second = opened(data, split, column), None if cross_encoder is None else CrossEncoder(cross_encoder)
    mined = mine_negatives(rows, SentenceTransformer(model), cross_encoder=second, show_progress_bar=True, **options)
    write_rows(mined, output)
    columns = ", ".join(name for name in mined.column_names if name.startswith("negative"))
    message = f"Wrote [bold]{output}[/]: {len(mined):,} rows with {columns}."
    if left_out := len(rows) - len(mined):
        message += f" Left out {left_out:,} rows with too few negatives."
    if carry_report(data, output):
        message += f" They are as clean as {data}: [bold]{report_path(output)}[/]."
    Console(stderr=True).print(message)
