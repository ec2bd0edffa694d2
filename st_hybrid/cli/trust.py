"""The data commands that make parallel rows worth training on."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from st_hybrid.cli.data_options import Output

# As in st_hybrid.cli.main, the commands import the library when they run.

Data = Annotated[
    str,
    typer.Argument(
        help="Parallel rows: a JSONL, CSV, TSV or Parquet file, a folder of save_to_disk, or a hub name.",
        show_default=False,
    ),
]
Limit = Annotated[
    float,
    typer.Option(min=0, max=1, help="Largest share that is no problem.", rich_help_panel="Limits"),
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


def check(
    data: Data,
    report: Annotated[Path | None, typer.Option(help="JSON file to write the whole report to.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Picture of languages by groups to write, such as languages.png.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Count the tokens of this SentenceTransformer, too: a folder or a hub name.")
    ] = None,
    detect: Annotated[
        bool,
        typer.Option(
            "--detect/--no-detect", help="Detect the language of texts.", rich_help_panel="Language detection"
        ),
    ] = True,
    every_language: Annotated[
        bool,
        typer.Option(
            "--every-language",
            help="Consider all languages that the detector knows, not only those of the rows and English: slower, and "
            "less sure.",
            rich_help_panel="Language detection",
        ),
    ] = False,
    confidence: Annotated[
        float | None,
        typer.Option(
            help="How sure it must be that a text is in another language.", rich_help_panel="Language detection"
        ),
    ] = None,
    min_letters: Annotated[
        int | None, typer.Option(min=1, help="Pass over shorter texts.", rich_help_panel="Language detection")
    ] = None,
    sample: Annotated[
        int,
        typer.Option(
            min=0, help="Look at so many rows of each language; 0 for all.", rich_help_panel="Language detection"
        ),
    ] = 2000,
    near_duplicates: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Similarity from which on passages are near-duplicates; 0 not to look for any."
        ),
    ] = 0.8,
    max_empty: Limit = 0.0,
    max_repeated: Limit = 0.0,
    max_duplicates: Limit = 0.01,
    max_wrong_language: Limit = 0.01,
    max_untranslated: Limit = 0.05,
    max_near_duplicates: float | None = None,
    split: Split = "train",
) -> None:
    """Look parallel rows over before training: languages, empty and repeated rows, lengths, clusters, near-duplicates.

    Exit status: 0 if nothing is beyond the limits, 3 if something is, 1 if the rows could not be checked, 2 for wrong
    options. Needs the extra "check", but for --no-detect --near-duplicates 0.
    """
    from st_hybrid.data.as_it_is import load_as_it_is
    from st_hybrid.data.check import check_rows
    from st_hybrid.data.check_report import Limits

    encoder = None
    if model:
        from sentence_transformers import SentenceTransformer

        encoder = SentenceTransformer(model)
    limits = Limits(
        empty=max_empty,
        repeated=max_repeated,
        duplicates=max_duplicates,
        wrong_language=max_wrong_language,
        untranslated=max_untranslated,
        near_duplicates=max_near_duplicates,
    )
    found = check_rows(
        load_as_it_is(data, split=split),
        limits,
        detect=detect,
        every_language=every_language,
        confidence=confidence,
        min_letters=min_letters,
        sample=sample or None,
        near_duplicate_threshold=near_duplicates or None,
        model=encoder,
        show_progress_bar=True,
    )
    Console().print(found)
    if report:
        found.write(report, data)
    if plot:
        found.plot(plot)
    if found.problems:
        raise typer.Exit(3)


def decontaminate(
    data: Data,
    against: Annotated[
        list[str],
        typer.Option(
            help="Evaluation set: XQuAD-R, MLQA-R, MIRACL, or a file of texts (a text a line, or JSONL, CSV, TSV or "
            "Parquet). May be given again."
        ),
    ],
    output: Output,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="ST_HYBRID_DATA",
            help="Folder with xquad-r/<lang>.json, mlqa-r/<lang>.json and MIRACL's folders; XQuAD-R and MLQA-R are "
            "fetched without it.",
        ),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(help="Share of the shorter text's n-grams that both must have.", rich_help_panel="Overlap"),
    ] = 0.5,
    ngram: Annotated[int, typer.Option(min=1, help="Letters of an n-gram.", rich_help_panel="Overlap")] = 7,
    min_letters: Annotated[
        int, typer.Option(min=1, help="Compare shorter texts as wholes only.", rich_help_panel="Overlap")
    ] = 25,
    published: Annotated[
        bool,
        typer.Option(
            "--published-counts/--no-published-counts",
            help="Refuse XQuAD-R and MLQA-R that are not the published ones.",
        ),
    ] = True,
    split: Split = "train",
) -> None:
    """Leave out rows that share text with an evaluation set, with their translations, and say which.

    Finds texts that are the same but for case, spaces and punctuation, parts of one another, or lightly edited; not
    paraphrases. Writes the clean rows, and beside them a report: OUTPUT.decontamination.json. st-hybrid train finds it
    there, and the model card then says that evaluation on the set is zero-shot; no card says so without it.
    """
    from st_hybrid.data import load_rows
    from st_hybrid.data.decontamination import decontaminate as find
    from st_hybrid.data.evaluation_texts import read_evaluation_texts
    from st_hybrid.data.overlap import OverlapSettings
    from st_hybrid.data.write import check_output, write_rows
    from st_hybrid.data.zero_shot import report_path, write_report

    settings = OverlapSettings(ngram=ngram, threshold=threshold, min_letters=min_letters)
    check_output(output)
    if output.exists() and Path(data).exists() and output.samefile(data):
        raise ValueError(f"{output} is the data themselves. Choose another --output; the data stay as they are.")
    sets = [read_evaluation_texts(name, data_dir, verify=published) for name in against]
    found = find(load_rows(data, split=split), sets, settings, show_progress_bar=True)
    if not len(found.clean):
        Console().print(found)
        raise ValueError("Every row shares text with an evaluation set, so nothing is left to write.")
    write_rows(found.clean, output)
    write_report(found, data, output)
    Console().print(found)
    Console(stderr=True).print(
        f"Wrote [bold]{output}[/]: {len(found.clean):,} of {found.rows:,} rows; and [bold]{report_path(output)}[/]."
    )


def mine(
    data: Data,
    model: Annotated[str, typer.Option(help="SentenceTransformer that ranks the passages: a folder or a hub name.")],
    output: Output,
    negatives_in: Annotated[
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
    seed: Annotated[int, typer.Option(help="Seed of the draw.", rich_help_panel="Candidates")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts encoded at once.")] = 32,
    query_prompt: Annotated[str | None, typer.Option(help="Put before queries; the model's own by default.")] = None,
    document_prompt: Annotated[
        str | None, typer.Option(help="Put before passages; the model's own by default.")
    ] = None,
    split: Split = "train",
) -> None:
    """Add hard negatives: passages that a model ranks high and that answer something else.

    Never from the query's own passage cluster, in any language. Train on the file as it is: negative columns are taken
    up, and what decontaminate found for the rows holds for it. Candidates are chosen by sentence-transformers'
    mine_hard_negatives.
    """
    from sentence_transformers import CrossEncoder, SentenceTransformer

    from st_hybrid.data import load_rows
    from st_hybrid.data.mining import mine_negatives
    from st_hybrid.data.write import check_output, write_rows
    from st_hybrid.data.zero_shot import carry_report, report_path

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
        negatives_in=negatives_in.value,
        num_negatives=negatives,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        batch_size=batch_size,
        seed=seed,
        show_progress_bar=True,
        **options,
    )
    write_rows(mined, output)
    columns = ", ".join(name for name in mined.column_names if name.startswith("negative"))
    told = f"Wrote [bold]{output}[/]: {len(mined):,} rows with {columns}."
    if left_out := len(rows) - len(mined):
        told += f" Left out {left_out:,} rows with too few negatives."
    if carry_report(data, output):
        told += f" They are as clean as {data}: [bold]{report_path(output)}[/]."
    Console(stderr=True).print(told)
