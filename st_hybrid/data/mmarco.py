"""Parallel rows from mMARCO in its published layout, millions of passages a language."""

from __future__ import annotations

import mmap
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from st_hybrid.data.blocks import COMPRESSIONS, Block, Ints, check_utf8, open_input, read_blocks
from st_hybrid.data.collect import Batch, Rows, collect
from st_hybrid.data.report import Tally
from st_hybrid.languages import check_language, language_named

_BLOCK = 1 << 25  # bytes of a collection to look through at once
_BATCH = 20_000  # rows to compose at once


def read_mmarco(
    folder: str | Path,
    *,
    languages: Sequence[str] | None = None,
    translation: str = "google",
    split: str = "train",
    qrels: str | Path | None = None,
    triples: str | Path | None = None,
    negatives: int = 0,
    max_queries: int | None = None,
    seed: int = 0,
    scratch: str | Path | None = None,
    progress: bool = False,
) -> Rows:
    """Read mMARCO's queries with the passages that answer them, in any of its languages.

    The folder is mMARCO's ``data``, or one laid out like it::

        google/collections/german_collection.tsv           passage number, tab, passage
        google/queries/train/german_queries.train.tsv      query number, tab, query
        triples.train.ids.small.tsv                        query, positive and negative number
        qrels.train.tsv                                    query number, 0, passage number, 1 (MS MARCO's own file)

    Each query with a relevant passage is a group; its id is the numbers of both, such as ``1185869-0``. A query with
    two relevant passages makes two groups, which share the query's text, so that no batch of the sampler holds both.
    The passages stay on disk: what is held in memory are the numbers of the wanted ones. A language takes about as
    long as reading its collection from disk.

    Args:
        folder: The folder, or the one above it.
        languages: Languages to read, such as ``["de", "ar"]``; by default all that have a collection.
        translation: Folder of the translation, ``"google"`` or the older ``"helsinki"``.
        split: Split of the queries, ``"train"`` or ``"dev"``.
        qrels: File of relevant passages; by default ``qrels.<split>.tsv`` of the folder if it is there. Without any the
            positives are those of the triples.
        triples: File of triples; by default ``triples.<split>.ids.small.tsv`` of the folder if it is there.
        negatives: Columns of hard negatives to add, ``negative_1`` and on: the first different ones that the triples
            have for a query and its positive. A pair with fewer is left out.
        max_queries: Draw so many of the queries that have a relevant passage; by default all.
        seed: Seed of that draw.
        scratch: Folder on whose disk passages and rows are put while the process runs; by default the system's for
            temporary files. It takes about as much as the rows do.
        progress: Show how far each file is read.

    Returns:
        The rows, language by language, and a report of what was left out and why.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is malformed, names no language, or has a number twice; the message names file and line.

    Example:
        ::

            from st_hybrid.data import read_mmarco

            rows, report = read_mmarco("mmarco/data", languages=["en", "de", "hi"], max_queries=50_000)

    References:
        Bonifacio et al. 2021, https://arxiv.org/abs/2108.13897
    """
    for limit, name, least in ((negatives, "negatives", 0), (max_queries, "max_queries", 1)):
        if limit is not None and limit < least:
            raise ValueError(f"{name} must be at least {least}, got {limit}.")
    layout = _Layout.of(Path(folder), translation, split, languages)
    qrels, triples = layout.judgements(split, qrels, triples)
    if triples is None and (negatives or qrels is None):
        raise FileNotFoundError(
            f"{layout.root} has no triples.{split}.ids.small.tsv, which negatives come from. Name the file of triples."
            if negatives
            else f"{layout.root} has neither qrels.{split}.tsv nor triples.{split}.ids.small.tsv. Name one of them."
        )

    def batches(tally: Tally) -> Iterator[Batch]:
        relevant = _positives(qrels, triples, tally)
        if max_queries is not None:
            drawn = np.random.default_rng(seed).permutation(np.unique(relevant[:, 0]))[:max_queries]
            relevant = relevant[np.isin(relevant[:, 0], drawn)]
        if negatives and triples is not None:
            relevant = _with_negatives(relevant, negatives, triples, len(layout.files), tally)
        for language, (collection, queries_file) in layout.files.items():
            with (
                _Texts(queries_file, relevant[:, :1], tally, scratch, progress) as queries,
                _Texts(collection, relevant[:, 1:], tally, scratch, progress) as passages,
            ):
                for first in range(0, len(relevant), _BATCH):
                    yield _compose(language, relevant[first : first + _BATCH], queries, passages, tally)

    tally = Tally()
    return collect(batches(tally), tally, scratch=scratch)


class _Layout(NamedTuple):
    """Where the files are: of each language, those of its passages and of its queries."""

    root: Path
    files: dict[str, tuple[Path, Path]]

    @classmethod
    def of(cls, folder: Path, translation: str, split: str, languages: Sequence[str] | None) -> _Layout:
        """Find the files, and check that all are there."""
        root = next((path for path in (folder, folder / "data") if (path / translation).is_dir()), None)
        if root is None:
            raise FileNotFoundError(f"There is no folder {folder / translation}, as mMARCO's data has it.")
        for code in languages or ():
            check_language(code, "languages")
        where = root / translation / "collections"
        collections = {}
        for path in sorted(where.glob("*_collection.tsv*")):
            name = path.name.partition("_collection.tsv")[0]
            collections[language_named(name) or check_language(name, str(path))] = (name, path)
        if not collections:
            raise FileNotFoundError(f"There is no <language>_collection.tsv in {where}.")
        if lacking := [code for code in languages or () if code not in collections]:
            raise FileNotFoundError(f"{where} has nothing in {', '.join(lacking)}, only in {', '.join(collections)}.")
        files = {}
        for code in languages or collections:
            name, collection = collections[code]
            queries = root / translation / "queries" / split.partition(".")[0] / f"{name}_queries.{split}.tsv"
            files[code] = (collection, _existing(queries))
        return cls(root, files)

    def judgements(
        self, split: str, qrels: str | Path | None, triples: str | Path | None
    ) -> tuple[Path | None, Path | None]:
        """The files of relevant passages and of triples: those given, or the published ones that are there."""
        return (
            _compressed_or_not(self.root / f"qrels.{split}.tsv") if qrels is None else _existing(Path(qrels)),
            _compressed_or_not(self.root / f"triples.{split}.ids.small.tsv")
            if triples is None
            else _existing(Path(triples)),
        )


def _existing(path: Path) -> Path:
    found = _compressed_or_not(path)
    if found is None:
        raise FileNotFoundError(f"There is no file {path}.")
    return found


def _compressed_or_not(path: Path) -> Path | None:
    return next((file for end in ("", *COMPRESSIONS) if (file := path.with_name(path.name + end)).is_file()), None)


class _Texts:
    """The texts of wanted numbers in a file of lines ``number, tab, text``; they lie on disk.

    Args:
        path: The file.
        wanted: The numbers, in any shape and order.
        tally: Gets the number of lines.
        scratch: Folder for the file that the wanted texts are put in.
        progress: Show how much of the file is read.
    """

    def __init__(self, path: Path, wanted: Ints, tally: Tally, scratch: str | Path | None, progress: bool) -> None:
        self.path = path
        self._wanted = np.unique(wanted)
        self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115, it is closed on exit
        tally.source(str(path), 0)
        nothing = np.zeros(0, dtype=np.int64)
        places, lines, lengths = [nothing], [nothing], [nothing]
        for block in read_blocks(path, _BLOCK, progress=progress):
            tally.source(str(path), block.lines)
            place, line, texts = self._found(block)
            places.append(place)
            lines.append(line)
            lengths.append(pc.binary_length(texts).to_numpy())
            if len(texts):
                self._file.write(texts.buffers()[2])
        place, self._line = np.concatenate(places), np.concatenate(lines)
        self._row = np.full(len(self._wanted), -1)
        self._row[place] = np.arange(len(place))
        self._check_once(place)
        self._texts = self._on_disk(np.concatenate([[0], *lengths]).cumsum())

    def __enter__(self) -> _Texts:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def rows(self, numbers: Ints) -> Ints:
        """Where the texts of wanted numbers are; -1 for a number that the file does not have."""
        return self._row[np.searchsorted(self._wanted, numbers)]

    def texts(self, rows: Ints) -> pa.Array:
        """The texts at these places."""
        return self._texts.take(pa.array(rows)).cast(pa.string())

    def lines(self, rows: Ints) -> Ints:
        """The numbers of the lines of the texts at these places."""
        return self._line[rows]

    def _found(self, block: Block) -> tuple[Ints, Ints, pa.StringArray]:
        """The wanted lines of a block: their numbers' places among the wanted, line numbers and texts."""
        starts, ends = block.bounds()
        tabs = block.first_tabs(starts, ends)
        numbers = block.integers(starts, np.maximum(tabs, starts))
        if len(malformed := np.flatnonzero((numbers < 0) & (ends > starts))):
            raise ValueError(f"{self.path}:{block.first + malformed[0]}: not a number, a tab and a text.")
        place = np.minimum(np.searchsorted(self._wanted, numbers), len(self._wanted) - 1)
        hits = np.flatnonzero(self._wanted[place] == numbers)
        try:
            texts = block.texts(tabs[hits] + 1, ends[hits])
        except UnicodeDecodeError:
            check_utf8(self.path)
            raise
        return place[hits], block.first + hits, texts

    def _check_once(self, place: Ints) -> None:
        again = np.flatnonzero(self._row[place] != np.arange(len(place)))
        if len(again):
            number = self._wanted[place[again[0]]]
            line, other = self._line[[again[0], self._row[place[again[0]]]]]
            raise ValueError(f"{self.path}:{other}: the number {number} stands at line {line} already.")

    def _on_disk(self, offsets: Ints) -> pa.LargeStringArray:
        self._file.flush()
        data = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) if offsets[-1] else b""
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
        return pa.LargeStringArray.from_buffers(len(offsets) - 1, *buffers[1:])


def _compose(language: str, relevant: Ints, queries: _Texts, passages: _Texts, tally: Tally) -> Batch:
    """The rows of some queries, their positives and their negatives in one language."""
    query, passage = queries.rows(relevant[:, 0]), passages.rows(relevant[:, 1:])
    missing = {
        f"query not in {queries.path.name}": (query < 0, queries.path, relevant[:, 0]),
        f"passage not in {passages.path.name}": (
            (query >= 0) & (passage < 0).any(axis=1),
            passages.path,
            relevant[np.arange(len(relevant)), 1 + (passage < 0).argmax(axis=1)],
        ),
    }
    for reason, (lacking, file, wanted) in missing.items():
        if lacking.any():
            tally.read += int(lacking.sum())
            tally.drop(reason, int(lacking.sum()), f"{file}, number {wanted[lacking.argmax()]}")
    kept = (query >= 0) & (passage >= 0).all(axis=1)
    relevant, query, passage = relevant[kept], query[kept], passage[kept]
    numbers = [pa.array(relevant[:, column]).cast(pa.string()) for column in (0, 1)]
    columns = {
        "id": pc.binary_join_element_wise(*numbers, "-"),
        "language": pa.repeat(language, len(relevant)),
        "query": queries.texts(query),
        "positive": passages.texts(passage[:, 0]),
        **{f"negative_{place}": passages.texts(passage[:, place]) for place in range(1, passage.shape[1])},
    }
    path, lines = queries.path, queries.lines(query)
    return Batch(pa.table(columns), lambda row: f"{path}:{lines[row]}")


def _positives(qrels: Path | None, triples: Path | None, tally: Tally) -> Ints:
    """Numbers of the queries and of the passages that answer them, each pair once: shape (pairs, 2)."""
    pairs = np.zeros(0, dtype=np.int64)
    if qrels is not None:
        for block in _numbers(qrels, ("query", "0", "passage", "relevance"), tally):
            judged = block[block[:, 3] > 0]
            pairs = np.union1d(pairs, _paired(judged[:, 0], judged[:, 2]))
    else:
        assert triples is not None  # read_mmarco saw to it
        for block in _numbers(triples, ("query", "positive", "negative"), tally):
            pairs = np.union1d(pairs, _paired(block[:, 0], block[:, 1]))
    if not len(pairs):
        raise ValueError(f"{qrels or triples} has no relevant passage.")
    return np.stack([pairs >> 32, pairs & 0xFFFFFFFF], axis=1)


def _with_negatives(positives: Ints, wanted: int, triples: Path, languages: int, tally: Tally) -> Ints:
    """Add the first different negatives of each pair: shape (pairs that have so many, 2 + wanted)."""
    pairs = _paired(positives[:, 0], positives[:, 1])  # in order, as np.union1d made them
    negatives, counts = np.full((len(pairs), wanted), -1), np.zeros(len(pairs), dtype=np.int64)
    for block in _numbers(triples, ("query", "positive", "negative"), tally):
        key = _paired(block[:, 0], block[:, 1])
        pair = np.minimum(np.searchsorted(pairs, key), len(pairs) - 1)
        short = (pairs[pair] == key) & (counts[pair] < wanted)
        pair, negative, query = pair[short], block[short, 2], block[short, 0]
        unfit = np.isin(_paired(query, negative), pairs)  # it answers the query too
        unfit |= (negatives[pair] == negative[:, None]).any(axis=1)
        pair, negative = pair[~unfit], negative[~unfit]
        first = np.sort(np.unique(_paired(pair, negative), return_index=True)[1])  # of equal ones, the first
        order = first[np.argsort(pair[first], kind="stable")]
        pair, negative = pair[order], negative[order]
        place = counts[pair] + np.arange(len(pair)) - np.searchsorted(pair, pair)
        fits = place < wanted
        negatives[pair[fits], place[fits]] = negative[fits]
        counts += np.bincount(pair[fits], minlength=len(pairs))
    few = counts < wanted
    if few.all():
        raise ValueError(f"{triples} has {wanted} different negatives for no query. Take fewer.")
    if few.any():
        tally.read += int(few.sum()) * languages
        first_query = positives[few.argmax(), 0]
        tally.drop(f"fewer than {wanted} negatives", int(few.sum()) * languages, f"{triples}, query {first_query}")
    return np.concatenate([positives, negatives], axis=1)[~few]


def _paired(high: Ints, low: Ints) -> Ints:
    """Two numbers below 2**31 as one."""
    return (high << 32) | low


def _numbers(path: Path, columns: Sequence[str], tally: Tally) -> Iterator[Ints]:
    """The whole numbers of a TSV file without a header, in arrays of shape (rows, columns)."""
    tally.sources[str(path)] = 0  # triples may be gone through twice
    try:
        with (
            open_input(path) as stream,
            pacsv.open_csv(
                stream,
                pacsv.ReadOptions(column_names=list(columns), block_size=_BLOCK),
                pacsv.ParseOptions(delimiter="\t", quote_char=False),
                pacsv.ConvertOptions(column_types=dict.fromkeys(columns, pa.int32())),
            ) as reader,
        ):
            for batch in reader:
                tally.source(str(path), batch.num_rows)
                yield np.stack([column.to_numpy() for column in batch.columns], axis=1).astype(np.int64)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{_first_malformed(path, len(columns))}: not {len(columns)} whole numbers with tabs between them: "
            f"{', '.join(columns)}."
        ) from error


def _first_malformed(path: Path, columns: int) -> str:
    number = re.compile(rb"\d+(\t\d+){%d}\r?" % (columns - 1))
    for block in read_blocks(path):
        for line, text in enumerate(block.data.removesuffix(b"\n").split(b"\n"), block.first):
            if text.strip() and not number.fullmatch(text):
                return f"{path}:{line}"
    return str(path)
