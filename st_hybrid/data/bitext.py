"""Parallel rows from bitext: sentences in one language, each with its translation into another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from st_hybrid.data.blocks import COMPRESSIONS, Block, Ints, check_utf8, plain_suffix, read_blocks
from st_hybrid.data.collect import Batch, Rows, blank, collect, interleaved
from st_hybrid.data.report import Tally
from st_hybrid.data.tables import read_tables
from st_hybrid.languages import check_language, english_name, is_language

_BOTH = "translation"  # the column in which OPUS's data sets on the hub hold both languages


def read_bitext(
    files: str | Path | Sequence[str | Path],
    *,
    languages: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    scratch: str | Path | None = None,
    progress: bool = False,
) -> Rows:
    """Read pairs of a sentence and its translation.

    A pair is a group of two rows, and each row's query and positive are the sentence itself. The group's cross-lingual
    pairs are then a sentence and its translation, both ways. Its monolingual pairs are a sentence and itself, which
    teach nothing: train on bitext with ``--sampler x-y``, or beside other rows with a low ``--alpha``. A pair with an
    empty side is left out whole.

    Args:
        files: Two files whose lines belong together (``corpus.de`` and ``corpus.en``, as Moses and OPUS have it), or
            one: TSV of two columns without header or quotation marks (any suffix but those that follow); or JSON lines
            or Parquet with a column a language, or with OPUS's column ``translation`` that holds both; or CSV with a
            header. All but Parquet may be compressed.
        languages: The two languages, in the order of files or columns. By default what two files are called after
            their last dot (``corpus.de.gz``: ``de``), and for one file the languages that its columns are called.
            Needed for TSV.
        columns: The two columns in the order of ``languages``, where they are not called by the languages' codes.
        scratch: Folder on whose disk the rows are put while the process runs; by default the system's for temporary
            files.
        progress: Show how many rows have come.

    Returns:
        The rows, whose ids are the file's name and the number of the line or row, and a report of what was left out.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: Two files have different numbers of lines, a line of TSV has not two columns, a language's code is
            none or cannot be told; the message names file and line.

    Example:
        ::

            from st_hybrid.data import read_bitext

            rows, report = read_bitext(["corpus.de.gz", "corpus.en.gz"])
    """
    paths = [Path(path) for path in ([files] if isinstance(files, str | Path) else files)]
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise FileNotFoundError(f"There is no file {', '.join(missing)}.")
    if len(paths) not in (1, 2):
        raise ValueError(f"Bitext is one file with two columns, or two files with a language each; got {len(paths)}.")
    for what, given in (("languages", languages), ("columns", columns)):
        if given is not None and (len(given) != 2 or given[0] == given[1]):
            raise ValueError(f"Bitext has two {what}, got {', '.join(given) or 'none'}.")
    if columns is not None and languages is None:
        raise ValueError("Say which languages the columns are in: languages=('de', 'en').")
    for code in languages or ():
        check_language(code, "languages")

    tally = Tally()
    for path in paths:
        tally.source(str(path), 0)
    if len(paths) == 2:
        batches = _two_files(paths, languages or [_language_of(path) for path in paths], tally)
    elif plain_suffix(paths[0]) in (".jsonl", ".json", ".csv", ".parquet"):
        batches = _columns(paths[0], languages, columns, tally)
    elif languages is None:
        raise ValueError(f"{paths[0]} does not say which languages its columns are in: languages=('de', 'en').")
    else:
        batches = _tsv(paths[0], languages, tally)
    return collect(batches, tally, scratch=scratch, progress=progress)


def _language_of(path: Path) -> str:
    name = path.name
    while name.lower().endswith(COMPRESSIONS):
        name = name.rpartition(".")[0]
    return check_language(name.rpartition(".")[2], str(path))


def _rows(
    sides: Sequence[pa.Array | pa.ChunkedArray],
    languages: Sequence[str],
    name: str,
    before: int,
    where: Callable[[int], str],
    tally: Tally,
) -> Batch:
    """The rows of pairs, two for each; ``before`` pairs came before them."""
    pairs = np.arange(len(sides[0]))
    empty = blank(sides[0]) | blank(sides[1])
    if empty.any():
        tally.read += 2 * int(empty.sum())
        tally.drop("pair with an empty side", 2 * int(empty.sum()), where(int(np.argmax(empty))))
        pairs = pairs[~empty]
        sides = [side.filter(pa.array(~empty)) for side in sides]
    ids = pc.binary_join_element_wise(name, pa.array(pairs + before + 1).cast(pa.string()), "-")
    parts = [
        pa.table({"id": ids, "language": pa.repeat(code, len(side)), "query": side, "positive": side})
        for code, side in zip(languages, sides, strict=True)
    ]
    return Batch(interleaved(parts), lambda row: where(int(pairs[row // 2])))


def _tsv(path: Path, languages: Sequence[str], tally: Tally) -> Iterator[Batch]:
    for block in read_blocks(path):
        starts, ends = block.bounds()
        tabs = block.first_tabs(starts, ends)
        again = block.first_tabs(np.where(tabs < 0, ends, tabs + 1), ends)
        if len(wrong := np.flatnonzero((tabs < 0) | (again >= 0))):
            columns = "1 column" if tabs[wrong[0]] < 0 else "more than two columns"
            raise ValueError(
                f"{path}:{block.first + wrong[0]}: {columns}, where there should be two with a tab between them."
            )
        sides = [_decoded(block, path, starts, tabs), _decoded(block, path, tabs + 1, ends)]
        tally.source(str(path), len(starts))
        yield _rows(sides, languages, path.name, block.first - 1, partial(_line, path, block.first), tally)


def _two_files(paths: Sequence[Path], languages: Sequence[str], tally: Tally) -> Iterator[Batch]:
    reading = [_lines(path) for path in paths]
    waiting: list[pa.ChunkedArray] = [pa.chunked_array([], pa.string())] * 2
    before = 0
    while True:
        behind = 0 if len(waiting[0]) <= len(waiting[1]) else 1
        lines = next(reading[behind], None)
        if lines is None:
            break
        tally.source(str(paths[behind]), len(lines))
        waiting[behind] = pa.chunked_array([*waiting[behind].chunks, lines])
        ready = min(map(len, waiting))
        if ready:
            sides = [side.slice(0, ready) for side in waiting]
            yield _rows(sides, languages, paths[0].name, before, partial(_line, paths[0], before + 1), tally)
            waiting = [side.slice(ready) for side in waiting]
            before += ready
    rest = [before + len(side) + sum(map(len, more)) for side, more in zip(waiting, reading, strict=True)]
    if rest[0] != rest[1]:
        counts = " and ".join(f"{path} has {lines:,}" for path, lines in zip(paths, rest, strict=True))
        raise ValueError(f"Lines of the same number belong together, but {counts}.")


def _lines(path: Path) -> Iterator[pa.Array]:
    for block in read_blocks(path):
        yield _decoded(block, path, *block.bounds())


def _decoded(block: Block, path: Path, starts: Ints, ends: Ints) -> pa.Array:
    try:
        return block.texts(starts, ends)
    except UnicodeDecodeError:
        check_utf8(path)
        raise


def _columns(
    path: Path, languages: Sequence[str] | None, columns: Sequence[str] | None, tally: Tally
) -> Iterator[Batch]:
    names = _names(path)
    if languages is None:
        # Codes of languages that are seldom heard of are left to be named: "src" is Logudorese Sardinian.
        languages = [name for name in names if is_language(name) and english_name(name)]
        if len(languages) > 2:
            languages = [name for name in languages if name != "id"]  # a number more often than Indonesian
        if len(languages) != 2:
            raise ValueError(
                f"{path} has the columns {', '.join(names)}, and not two of them are called by a language's code. Say "
                "which languages it holds, and in which columns: languages=('de', 'en')."
            )
    columns = columns or languages
    both = pa.struct([(name, pa.string()) for name in columns])
    before = 0
    for batch in read_tables(path, lambda name: both if name == _BOTH else pa.string() if name in columns else None):
        table = batch.table
        if _BOTH in table.column_names:
            struct = table[_BOTH].combine_chunks()
            sides = [struct.field(name) for name in columns]
        elif missing := [name for name in columns if name not in table.column_names]:
            raise ValueError(f"{path} has no column {', '.join(map(repr, missing))}, only {', '.join(names)}.")
        else:
            sides = [table[name] for name in columns]
        tally.source(str(path), table.num_rows)
        yield _rows(sides, languages, path.name, before, batch.where, tally)
        before += table.num_rows


def _names(path: Path) -> list[str]:
    """The names of the columns; JSON's with those that OPUS's column holds, Parquet's with these alone."""
    if path.suffix.lower() == ".parquet":
        schema = pq.read_schema(path)
        return [field.name for field in schema.field(_BOTH).type] if _BOTH in schema.names else schema.names
    first = next(read_tables(path, lambda name: None), None)
    return first.columns if first is not None else []


def _line(path: Path, first: int, row: int) -> str:
    return f"{path}:{first + row}"
