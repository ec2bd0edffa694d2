"""Commands that make parallel rows, check them and clean them."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from sentence_transformers import CrossEncoder

from st_hybrid import data as library
from st_hybrid.cli.options import Column, Commas, Data, DataDir, DtypeOption, Output, Split, mapped, opened, options_of
from st_hybrid.data import Limits, OverlapSettings
from st_hybrid.data.write import check_output
from st_hybrid.data.zero_shot import carry_report, report_path, write_report
from st_hybrid.encoders import load_encoder, require_dense
from st_hybrid.evaluation import PUBLISHED_COUNTS
from st_hybrid.files import write_json
from st_hybrid.translation import Checks, ModelOptions, ModelTranslator, translate_rows


@options_of(library.open_rows, omit=("columns", "keep_invalid", "show_progress_bar"))
def rows(data: list[str], /, *, output: Output, column: Column = None, **options: Any) -> None:
    """Read rows or columns per language, and the layouts of FlagEmbedding, Tevatron, WebFAQ and SWIM-IR.

    Args:
        data: Files (JSON lines, CSV, TSV or Parquet, also compressed), a folder, or a hub name with a configuration
            after a colon.
    """
    _convert(output, library.open_rows, data, columns=mapped(column), **options)


@options_of(library.read_squad, omit=("splitter", "show_progress_bar"))
def squad(files: list[str], /, *, output: Output, **options: Any) -> None:
    """Read question answering in SQuAD's format, in several languages.

    Args:
        files: A folder of <language>.json, or the file, folder or hub name of each language: ``de=squad-de.json``.
    """
    several = len(files) > 1 or "=" in files[0]
    _convert(output, library.read_squad, mapped(files, "de=squad-de.json") if several else files[0], **options)


@options_of(library.read_bitext, omit=("show_progress_bar",))
def bitext(files: list[str], /, *, output: Output, **options: Any) -> None:
    """Read sentences and their translations.

    Args:
        files: Two files with aligned lines, or one file, folder or hub name with two columns or OPUS's ``translation``.
    """
    _convert(output, library.read_bitext, files, **options)


@options_of(library.read_mmarco, omit=("show_progress_bar",))
def mmarco(folder: Path, /, *, output: Output, **options: Any) -> None:
    """Read mMARCO, the translations of MS MARCO.

    Args:
        folder: mMARCO's data folder, with google/ and triples.train.ids.small.tsv.
    """
    _convert(output, library.read_mmarco, folder, **options)


def _convert(output: Path, read: Callable[..., library.Rows], data: Any, **options: Any) -> None:
    check_output(output)
    found, report = read(data, show_progress_bar=True, **options)
    library.write_rows(found, output)
    Console().print(report)
    Console(stderr=True).print(f"Wrote [bold]{output}[/]: {report.kept:,} rows.")


@options_of(translate_rows, omit=("rows", "languages", "translator", "checks", "detector", "show_progress_bar"))
def translate(
    data: str,
    /,
    *,
    to: Commas,
    model: str,
    output: Output,
    model_options: Annotated[ModelOptions, Parameter(name="*", group="Model")] = ModelOptions(),  # noqa: B008 (frozen)
    checks: Annotated[Checks, Parameter(name="check", group="Checks")] = Checks(),  # noqa: B008 (frozen)
    language: str | None = None,
    journal: Path | None = None,
    report: Path | None = None,
    column: Column = None,
    split: Split = "train",
    **options: Any,
) -> None:
    """Translate rows in one language into parallel rows.

    The same command continues after a crash and translates only what is new. It leaves out suspicious translations.

    Args:
        data: Rows in one language: a file, a folder or a hub name.
        to: Languages to translate into, such as ``de,fr,zh-Hant``.
        model: NLLB-200 or M2M100: a hub name such as ``facebook/nllb-200-distilled-600M``, or a folder.
        language: The language of all rows, if no column has it. Ids may then be missing too.
        journal: File that stores the translations as they are made (OUTPUT.journal by default).
        report: JSON file for the counts.
    """
    check_output(output)
    rows = opened(data, split, column, language=language)
    translator, journal = ModelTranslator(model, model_options), journal or output.with_name(f"{output.name}.journal")
    options = {"journal": journal, "checks": checks, "show_progress_bar": True, **options}
    parallel, found = translate_rows(rows, to, translator, **options)
    library.write_rows(parallel, output)
    if report is not None:
        write_json(report, found.to_dict())
    Console().print(found)
    Console(stderr=True).print(f"Wrote [bold]{output}[/]: {found.kept:,} rows.")


@options_of(library.check_rows, omit=("rows", "columns", "show_progress_bar"))
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

    Exit status: 0 within the limits, 3 beyond them, 1 for unreadable rows, 2 for wrong options.

    Args:
        report: JSON file for the report.
        plot: Figure of the languages, such as ``languages.png``.
        model: Also count the tokens of this SentenceTransformer: a folder or hub name.
    """
    encoder = None if model is None else require_dense(load_encoder(model), "Counting tokens")
    rows = opened(data, split, column, keep_invalid=True, check_languages=True)
    found = library.check_rows(rows, limits, model=encoder, show_progress_bar=True, **options)
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
    paraphrases. Writes the clean rows and a report beside them, which ``st-hybrid train`` reads for the model card.

    Args:
        against: XQuAD-R, MLQA-R, MIRACL, Belebele, MultiEuP, or a file of texts (.txt with a text per line, JSON lines,
            CSV, TSV or Parquet). Repeat the option for more sets.
        data_dir: Folder of the sets, as for ``st-hybrid evaluate``, with ``belebele/*.jsonl`` and ``multi-eup/*.csv``.
            Without it XQuAD-R and MLQA-R are downloaded.
        verify: Refuse XQuAD-R and MLQA-R files that are not the published ones.
    """
    check_output(output)
    if output.exists() and Path(data).exists() and output.samefile(data):
        raise ValueError(f"{output} is the data. Choose another --output.")
    if not verify and not {name.lower() for name in against} & {name.lower() for name in PUBLISHED_COUNTS}:
        raise ValueError("--no-verify has no effect: it is for XQuAD-R and MLQA-R.")
    sets = [library.read_evaluation_texts(name, data_dir, verify=verify) for name in against]
    found = library.decontaminate(opened(data, split, column), sets, settings, show_progress_bar=True)
    Console().print(found)
    if not len(found.clean):
        raise ValueError("Every row shares text with an evaluation set, so there is nothing to write.")
    library.write_rows(found.clean, output)
    write_report(found, data, output)
    Console(stderr=True).print(
        f"Wrote [bold]{output}[/]: {len(found.clean):,} of {found.rows:,} rows; and [bold]{report_path(output)}[/]."
    )


@options_of(library.mine_negatives, omit=("rows", "columns", "show_progress_bar"))
def mine(
    data: Data,
    /,
    *,
    model: str,
    output: Output,
    cross_encoder: str | None = None,
    dtype: DtypeOption = None,
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
    options = {"cross_encoder": second, "show_progress_bar": True, **options}
    encoder = require_dense(load_encoder(model, dtype=dtype), "Mining")
    mined = library.mine_negatives(rows, encoder, **options)
    library.write_rows(mined, output)
    columns = ", ".join(name for name in mined.column_names if name.startswith("negative"))
    message = f"Wrote [bold]{output}[/]: {len(mined):,} rows with {columns}."
    if left_out := len(rows) - len(mined):
        message += f" Left out {left_out:,} rows with too few negatives."
    if carry_report(data, output):
        message += f" They are as clean as {data}: [bold]{report_path(output)}[/]."
    Console(stderr=True).print(message)
