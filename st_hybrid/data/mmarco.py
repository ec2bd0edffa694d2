"""Parallel rows from mMARCO in its published layout, with millions of passages per language."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from st_hybrid.data.blocks import COMPRESSIONS, open_input, read_blocks
from st_hybrid.data.collect import Batch, Rows, collect
from st_hybrid.data.names import language_of_file
from st_hybrid.data.report import ReadReport
from st_hybrid.files import temporary_folder
from st_hybrid.grouping import Ints, place_in_group
from st_hybrid.languages import check_language, language_named
from st_hybrid.progress import progress_bar

_BLOCK = 1 << 24  # bytes of a collection to search at once
_BATCH = 20_000  # rows to compose at once
_TRIPLE, _JUDGEMENT = ("query", "positive", "negative"), ("query", "0", "positive", "relevance")


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
    show_progress_bar: bool = False,
) -> Rows:
    r"""Read mMARCO's queries with the passages that answer them.

    The folder is mMARCO's ``data``, or one of the same layout::

        google/collections/german_collection.tsv           passage number, tab, passage
        google/queries/train/german_queries.train.tsv      query number, tab, query
        triples.train.ids.small.tsv                        query, positive and negative number
        qrels.train.tsv                                    query number, 0, passage number, 1 (MS MARCO's own file)

    Each query with a relevant passage is a group; its id is both numbers, such as ``1185869-0``. A query with two
    relevant passages makes two groups with the same query text, so that no batch of the sampler holds both.

    Args:
        folder: The folder, or its parent.
        languages: Languages to read, such as ``["de", "ar"]``; by default all that have a collection.
        translation: Folder of the translation, ``"google"`` or the older ``"helsinki"``.
        split: Split of the queries, ``"train"`` or ``"dev"``.
        qrels: File of relevant passages; by default ``qrels.<split>.tsv``, or else the positives of the triples.
        triples: File of triples; by default ``triples.<split>.ids.small.tsv``.
        negatives: Number of hard negatives per row: the first distinct ones of the triples for a query and its
            positive. Pairs with fewer are left out.
        max_queries: Number of queries to draw from those with a relevant passage; by default all.
        seed: Seed of the draw.
        show_progress_bar: Show how much of each file is read.

    Returns:
        The rows, language by language, and a report of what was left out and why.

    Raises:
        ValueError: A file is malformed, or its name holds no language; the message names file and line.

    Example:
        ::

            from st_hybrid.data import read_mmarco

            rows, report = read_mmarco("mmarco", languages=["de"], negatives=1)

    References:
        Bonifacio et al. 2021, https://arxiv.org/abs/2108.13897
    """
    for limit, name, least in ((negatives, "negatives", 0), (max_queries, "max_queries", 1)):
        if limit is not None and limit < least:
            raise ValueError(f"{name} must be at least {least}, got {limit}.")
    root, files = _layout(Path(folder), translation, split, languages)
    name = f"triples.{split}.ids.small.tsv"
    qrels_file = _found(root / f"qrels.{split}.tsv") if qrels is None else _existing(Path(qrels))
    triples_file = _found(root / name) if triples is None else _existing(Path(triples))
    if triples_file is None and negatives:
        raise FileNotFoundError(f"{root} has no {name}, which negatives come from. Pass triples.")
    if (answers := qrels_file or triples_file) is None:
        raise FileNotFoundError(f"{root} has neither qrels.{split}.tsv nor {name}. Pass one of them.")
    report = ReadReport()

    def batches() -> Iterator[Batch]:
        relevant = _positives(answers, _TRIPLE if qrels_file is None else _JUDGEMENT, report)
        if max_queries is not None:
            drawn = np.random.default_rng(seed).permutation(np.unique(relevant[:, 0]))[:max_queries]
            relevant = relevant[np.isin(relevant[:, 0], drawn)]
        if negatives and triples_file is not None:
            relevant = _with_negatives(relevant, negatives, triples_file, len(files), report)
        scratch = temporary_folder()
        for language, (collection, queries_file) in files.items():
            queries = _read_texts(queries_file, relevant[:, 0], report, show_progress_bar, scratch)
            passages = _read_texts(collection, relevant[:, 1:], report, show_progress_bar, scratch)
            sources = [queries, *[passages] * (relevant.shape[1] - 1)]
            rows = [pc.index_in(pa.array(n), source["number"]) for n, source in zip(relevant.T, sources, strict=True)]
            for first in range(0, len(relevant), _BATCH):
                part = slice(first, first + _BATCH)
                texts = [source["text"].take(row[part]) for source, row in zip(sources, rows, strict=True)]
                yield _batch(language, relevant[part], texts, collection)

    return collect(batches(), report)


def _layout(
    folder: Path, translation: str, split: str, languages: Sequence[str] | None
) -> tuple[Path, dict[str, tuple[Path, Path]]]:
    """The data folder, and each language's files of passages and of queries."""
    root = next((path for path in (folder, folder / "data") if (path / translation).is_dir()), None)
    if root is None:
        raise FileNotFoundError(f"There is no folder {folder / translation}, as in mMARCO's layout.")
    for code in languages or ():
        check_language(code, "languages")
    where = root / translation / "collections"
    collections = {}
    for path in sorted(where.glob("*_collection.tsv*")):
        name = path.name.partition("_collection.tsv")[0]
        mend = "Name the file by its language, such as german_collection.tsv or {code}_collection.tsv."
        collections[language_named(name) or language_of_file(path.with_name(name), mend)] = (name, path)
    if not collections:
        raise FileNotFoundError(f"There is no <language>_collection.tsv in {where}.")
    if lacking := [code for code in languages or () if code not in collections]:
        raise FileNotFoundError(f"{where} has no {', '.join(lacking)}, only {', '.join(collections)}.")
    files = {}
    for code in languages or collections:
        name, collection = collections[code]
        queries = root / translation / "queries" / split.partition(".")[0] / f"{name}_queries.{split}.tsv"
        files[code] = (collection, _existing(queries))
    return root, files


def _found(path: Path) -> Path | None:
    """The file, plain or compressed."""
    return next((file for end in ("", *COMPRESSIONS) if (file := path.with_name(path.name + end)).is_file()), None)


def _existing(path: Path) -> Path:
    if (found := _found(path)) is None:
        raise FileNotFoundError(f"There is no file {path}.")
    return found


def _positives(file: Path, columns: Sequence[str], report: ReadReport) -> Ints:
    """Numbers of the queries and of the passages that answer them, each pair once: shape (pairs, 2)."""
    pairs = np.zeros(0, dtype=np.int64)
    for block in _numbers(file, columns, report):
        judged = block[block[:, 3] > 0] if columns == _JUDGEMENT else block
        pairs = np.union1d(pairs, _paired(judged[:, 0], judged[:, columns.index("positive")]))
    if not len(pairs):
        raise ValueError(f"{file} has no relevant passage.")
    return np.stack([pairs >> 32, pairs & 0xFFFFFFFF], axis=1)


def _with_negatives(positives: Ints, wanted: int, triples: Path, languages: int, report: ReadReport) -> Ints:
    """Add the first distinct negatives of each pair: shape (pairs with enough of them, 2 + wanted)."""
    pairs = _paired(positives[:, 0], positives[:, 1])  # in order, as np.union1d made them
    negatives, counts = np.full((len(pairs), wanted), -1), np.zeros(len(pairs), dtype=np.int64)
    for block in _numbers(triples, _TRIPLE, report):
        key = _paired(block[:, 0], block[:, 1])
        pair = np.minimum(np.searchsorted(pairs, key), len(pairs) - 1)
        answers = np.isin(_paired(block[:, 0], block[:, 2]), pairs)
        fits = (pairs[pair] == key) & ~answers & ~(negatives[pair] == block[:, 2:]).any(axis=1)
        pair, negative = pair[fits], block[fits, 2]
        first = np.sort(np.unique(_paired(pair, negative), return_index=True)[1])  # of equal ones, the first
        pair, negative = pair[first], negative[first]
        place = counts[pair] + place_in_group(pair)
        pair, negative, place = (values[place < wanted] for values in (pair, negative, place))
        negatives[pair, place] = negative
        counts += np.bincount(pair, minlength=len(pairs))
    few = counts < wanted
    if few.all():
        raise ValueError(f"{triples} has {wanted} different negatives for no query. Ask for fewer.")
    lost = int(few.sum()) * languages
    report.read += lost
    report.drop(f"fewer than {wanted} negatives", lost, lambda: f"{triples}, query {positives[few.argmax(), 0]}")
    return np.concatenate([positives, negatives], axis=1)[~few]


def _paired(high: Ints, low: Ints) -> Ints:
    """Two numbers below 2**31 as one."""
    return (high << 32) | low


def _numbers(path: Path, columns: Sequence[str], report: ReadReport) -> Iterator[Ints]:
    """The whole numbers of a TSV file without a header, in arrays of shape (rows, columns)."""
    report.sources[str(path)] = 0  # triples may be read twice
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
                report.count(str(path), batch.num_rows)
                yield np.stack([column.to_numpy() for column in batch.columns], axis=1).astype(np.int64)
    except pa.ArrowInvalid as error:
        expected = f"{len(columns)} whole numbers with tabs between them: {', '.join(columns)}"
        raise _wrong(path, "\t".join([r"\d+"] * len(columns)), expected) from error


def _read_texts(path: Path, wanted: Ints, report: ReadReport, show: bool, scratch: Path) -> pa.Table:
    """The ``number`` and ``text`` of wanted lines, memory-mapped from a file in ``scratch`` that is gone at once."""
    wanted = np.unique(wanted)
    report.count(str(path), 0)
    total = None if path.suffix.lower() in COMPRESSIONS else path.stat().st_size
    with tempfile.NamedTemporaryFile(dir=scratch) as file:
        schema = pa.schema([("number", pa.int64()), ("text", pa.large_string())])
        with (
            pa.ipc.new_stream(file, schema) as writer,
            progress_bar(total, path.name, show=show, unit="bytes") as advance,
        ):
            for block in read_blocks(path, _BLOCK):
                lines = block.lines()
                report.count(str(path), len(lines))
                parts = pc.split_pattern(lines.filter(pc.not_equal(lines, "")), "\t", max_splits=1)
                try:
                    text, number = pc.list_element(parts, 1), pc.list_element(parts, 0).cast(pa.int64())
                except pa.ArrowInvalid as error:
                    raise _wrong(path, r"\d{1,18}\t.*", "a number, a tab and a text") from error
                near = wanted[np.minimum(np.searchsorted(wanted, number), len(wanted) - 1)]
                writer.write(pa.record_batch([number, text], schema).filter(pc.equal(number, pa.array(near))))
                advance(len(block.data))
        file.flush()
        texts = pa.ipc.open_stream(pa.memory_map(file.name)).read_all()
    number = texts["number"].to_numpy()
    if len(again := number[place_in_group(number) > 0]):
        raise ValueError(f"{path}: the number {again[0]} occurs in several lines. Number the texts anew.")
    return texts


def _wrong(path: Path, pattern: str, expected: str) -> ValueError:
    """An error that names the first line which is not blank and does not match a pattern."""
    for block in read_blocks(path):
        matches = pc.match_substring_regex(block.lines(), rf"^({pattern}|\s*)$").to_numpy(zero_copy_only=False)
        if not matches.all():
            return ValueError(f"{path}:{block.first + matches.argmin()}: not {expected}.")
    return ValueError(f"{path}: not {expected}.")


def _batch(language: str, relevant: Ints, texts: list[pa.ChunkedArray], path: Path) -> Batch:
    """Rows of queries, positives and negatives by their numbers and texts; texts that a file lacks are null."""
    query, passage = relevant[:, 0], relevant[:, 1]
    columns = {
        "id": pc.binary_join_element_wise(pa.array(query).cast(pa.string()), pa.array(passage).cast(pa.string()), "-"),
        "language": pa.repeat(language, len(relevant)),
        "query": texts[0],
        "positive": texts[1],
        **{f"negative_{place}": text for place, text in enumerate(texts[2:], 1)},
    }
    return Batch(pa.table(columns), lambda row: f"{path}, query {query[row]} and passage {passage[row]}")
