"""Parallel rows from bitext: sentences in one language, each with its translation into another."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from st_hybrid.data.blocks import plain_suffix, read_blocks
from st_hybrid.data.collect import Batch, Place, Rows, collect, interleaved
from st_hybrid.data.names import language_of_file, means_language
from st_hybrid.data.report import ReadReport
from st_hybrid.data.tables import TABULAR, TRANSLATION, Source
from st_hybrid.languages import check_language
from st_hybrid.rows import is_empty

_NAMES = "Name the two languages: languages=['de', 'en'], or --languages de,en."


def read_bitext(
    files: str | Path | Sequence[str | Path],
    *,
    languages: Sequence[str] | None = None,
    text_columns: Sequence[str] | None = None,
    show_progress_bar: bool = False,
) -> Rows:
    r"""Read pairs of a sentence and its translation.

    A pair is a group of two rows, and each row's query and positive are the sentence itself. The group's cross-lingual
    pairs are a sentence and its translation, both ways. Its monolingual pairs are a sentence and itself, which teach
    nothing: train on bitext with ``--sampler x-y``, or beside other rows with a low ``--alpha``.

    Args:
        files: Two files with aligned lines, as Moses and OPUS have it (``corpus.de`` and ``corpus.en``), or one: TSV
            with two columns and neither header nor quotation marks; or JSON lines, CSV or Parquet, a folder or a hub
            name, with a column per language or OPUS's column ``translation``. Files may be compressed.
        languages: The two languages, in the order of files or columns. By default the suffixes of two files, or the
            languages among the column names. Required for TSV.
        text_columns: The two columns, in the order of ``languages``, if their names are not the language codes.
        show_progress_bar: Show the number of rows read.

    Returns:
        The rows and a report of what was left out. Ids are the file's name and the number of the line or row.

    Raises:
        ValueError: Two files differ in length, a line of TSV has not two columns, or a language is unknown.

    Example:
        ::

            from st_hybrid.data import read_bitext

            rows, report = read_bitext(["corpus.de.gz", "corpus.en.gz"])
    """
    paths = [Path(path) for path in ([files] if isinstance(files, str | Path) else files)]
    if len(paths) not in (1, 2):
        raise ValueError(f"Bitext is one file with two columns, or two files with a language each; got {len(paths)}.")
    for what, given in (("languages", languages), ("text_columns", text_columns)):
        if given is not None and (len(given) != 2 or given[0] == given[1]):
            raise ValueError(f"Bitext has two {what}, got {', '.join(given) or 'none'}.")
    if text_columns is not None and (languages is None or len(paths) == 2):
        raise ValueError(f"text_columns applies to one file with columns. {_NAMES}")
    for code in languages or ():
        check_language(code, "languages")
    tabular = len(paths) == 1 and (not paths[0].is_file() or plain_suffix(paths[0]) in {*TABULAR} - {".tsv"})
    if missing := [str(path) for path in paths if not tabular and not path.is_file()]:
        raise FileNotFoundError(f"There is no file {', '.join(missing)}.")

    report = ReadReport()
    for path in paths:
        report.count(str(path), 0)
    if tabular:
        batches = _columns(paths[0], languages, text_columns, report)
    elif len(paths) == 2:
        batches = _two_files(paths, languages or [language_of_file(path, _NAMES) for path in paths], report)
    elif languages is not None:
        batches = _tsv(paths[0], languages, report)
    else:
        raise ValueError(f"{paths[0]} does not say which languages its columns are in. {_NAMES}")
    return collect(batches, report, show_progress_bar=show_progress_bar)


def _rows(
    sides: Sequence[pa.ChunkedArray],
    languages: Sequence[str],
    path: Path,
    before: int,
    place: Place,
    report: ReadReport,
) -> Batch:
    """The rows of pairs, two for each; ``before`` pairs came before them."""
    empty = is_empty(sides[0]) | is_empty(sides[1])
    report.read += 2 * int(empty.sum())
    report.drop("pair with an empty side", 2 * int(empty.sum()), lambda: place(int(np.argmax(empty))))
    pairs = np.flatnonzero(~empty)
    ids = pc.binary_join_element_wise(path.name, pa.array(pairs + before + 1).cast(pa.string()), "-")
    parts = [
        pa.table({"id": ids, "language": pa.repeat(code, len(ids)), "query": text, "positive": text})
        for code, text in zip(languages, (side.take(pa.array(pairs)) for side in sides), strict=True)
    ]
    return Batch(interleaved(parts), lambda row: place(int(pairs[row // 2])))


def _tsv(path: Path, languages: Sequence[str], report: ReadReport) -> Iterator[Batch]:
    for block in read_blocks(path):
        columns = pc.split_pattern(block.lines(), "\t")
        if len(wrong := np.flatnonzero(pc.not_equal(pc.list_value_length(columns), 2))):
            line, count = block.first + wrong[0], len(columns[int(wrong[0])])
            raise ValueError(f"{path}:{line}: the line has {count} columns, not two with a tab between.")
        sides = [pa.chunked_array([pc.list_element(columns, side)]) for side in (0, 1)]
        report.count(str(path), len(columns))
        yield _rows(sides, languages, path, block.first - 1, _lines_from(path, block.first), report)


def _two_files(paths: Sequence[Path], languages: Sequence[str], report: ReadReport) -> Iterator[Batch]:
    reading = [(block.lines() for block in read_blocks(path)) for path in paths]
    waiting = [pa.chunked_array([], pa.large_string())] * 2
    before = 0
    while True:
        behind = 0 if len(waiting[0]) <= len(waiting[1]) else 1
        if (lines := next(reading[behind], None)) is None:
            break
        report.count(str(paths[behind]), len(lines))
        waiting[behind] = pa.chunked_array([*waiting[behind].chunks, lines])
        if ready := min(map(len, waiting)):
            sides = [side.slice(0, ready) for side in waiting]
            yield _rows(sides, languages, paths[0], before, _lines_from(paths[0], before + 1), report)
            waiting = [side.slice(ready) for side in waiting]
            before += ready
    rest = [before + len(side) + sum(map(len, more)) for side, more in zip(waiting, reading, strict=True)]
    if rest[0] != rest[1]:
        counts = " and ".join(f"{path} has {lines:,}" for path, lines in zip(paths, rest, strict=True))
        raise ValueError(f"The lines of the two files are aligned by number, but {counts}.")


def _lines_from(path: Path, first: int) -> Place:
    return lambda row: f"{path}:{first + row}"


def _columns(
    path: Path, languages: Sequence[str] | None, columns: Sequence[str] | None, report: ReadReport
) -> Iterator[Batch]:
    source = Source(str(path))
    names = source.columns()
    languages = languages or list(filter(means_language, names))
    if len(languages) != 2:
        raise ValueError(f"{path} has the columns {', '.join(names)}, and not two of them name a language. {_NAMES}")
    columns = columns or languages
    if missing := [name for name in columns if name not in names]:
        raise ValueError(f"{path} has no column {', '.join(map(repr, missing))}, only {', '.join(names)}.")
    both = pa.struct([(name, pa.string()) for name in columns])
    before = 0
    for batch in source.read(lambda name: both if name == TRANSLATION else pa.string() if name in columns else None):
        prefix = f"{TRANSLATION}." if TRANSLATION in batch.table.column_names else ""
        sides = [batch.table.flatten()[f"{prefix}{name}"] for name in columns]
        report.count(str(path), len(batch.table))
        yield _rows(sides, languages, path, before, batch.place, report)
        before += len(batch.table)
