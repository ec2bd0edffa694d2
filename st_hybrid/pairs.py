"""Training pairs from parallel rows: texts once per row, two integers per pair."""

import functools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict, List, Value, load_from_disk

from st_hybrid.files import replacing, write_json
from st_hybrid.grouping import Ints, counting
from st_hybrid.languages import supported_code
from st_hybrid.rows import DOCUMENT, PASSAGE_LANGUAGE, ParallelRows

Side = Literal["positive", "query"]
_ABOUT = "st_hybrid.json"  # the file that marks a folder of save_pairs

SAMPLERS: WeakKeyDictionary[Dataset, WeakSet[Any]] = WeakKeyDictionary()

AnyDataset = TypeVar("AnyDataset", Dataset, DatasetDict)


class PairText:
    """The transform of a pairs data set: it turns row numbers of parallel rows into texts and labels.

    Args:
        texts: The columns ``query``, ``positive`` and the negatives of the parallel rows.
        keys: For each parallel row the numbers of its ``cluster``, ``language``, ``passage_language``, ``query_text``
            and perhaps ``document`` and ``anchor`` row, and for each column of negatives that of its text's cluster,
            such as ``cluster_of_negative_1``.
        languages: The language codes; a language's number is its index here.
    """

    def __init__(self, texts: Dataset, keys: Dataset, languages: list[str]) -> None:
        self.texts, self.keys, self.languages = texts, keys, languages
        self._columns = {name: texts.select_columns([name]) for name in texts.column_names}
        self._rows = texts._fingerprint, keys._fingerprint

    def __eq__(self, other: object) -> bool:
        # concatenate_datasets compares the transforms, and drops those that differ.
        same = isinstance(other, PairText) and self._rows == other._rows
        if isinstance(other, PairText) and not same:
            raise ValueError(
                "Pairs of different rows cannot be one data set. Join the rows before parallel_pairs, or put the pairs "
                "side by side: DatasetDict(one=pairs, other=others)."
            )
        return same

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Read the columns of a batch of pairs."""
        if any(isinstance(values[0], str) for values in batch.values() if values):  # map has written texts
            if any(values[0] is None or isinstance(values[0], int) for values in batch.values()):
                raise ValueError(
                    "map has written some columns of the pairs only. Let it return all: lambda pair: {**pair, ...}."
                )
            return batch
        read = {name: self._columns[name][rows][name] for name, rows in batch.items() if name != "label"}
        if "label" in batch:
            passages, negatives = self.keys[batch["positive"]], list(read)[2:]
            labels = [passages["cluster"], self.keys[batch["query"]]["language"], passages["passage_language"]]
            if negatives:
                clusters = self.keys[batch[negatives[0]]]  # all negatives of a pair are of one row
                labels += [clusters[f"cluster_of_{name}"] for name in negatives]
            if "anchor" in self.keys.column_names:
                labels += [self.keys[batch["query"]]["anchor"], passages["anchor"]]
            read["label"] = [list(label) for label in zip(*labels, strict=True)]
        return read


class Pairs(Dataset):
    """A data set of pairs, which refuses to write row numbers where texts are meant."""

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the samplers of these pairs: a resumed trainer reaches the data set, but not its sampler."""
        for sampler in SAMPLERS.get(self, ()):
            sampler.set_epoch(epoch)

    def select(self, *args: Any, **kwargs: Any) -> "Pairs":
        """Select pairs by their numbers."""
        return _as_pairs(super().select(*args, **kwargs))

    def shuffle(self, *args: Any, **kwargs: Any) -> "Pairs":
        """Put the pairs in a random order."""
        return _as_pairs(super().shuffle(*args, **kwargs))

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError(
            "Pairs hold row numbers, and this would write them without their texts. Store pairs with "
            "st_hybrid.save_pairs(pairs, folder), or write out the texts first: pairs.map(dict, batched=True)."
        )

    to_csv = to_dict = to_json = to_list = to_pandas = to_parquet = to_polars = to_sql = push_to_hub = _refuse


def parallel_pairs(
    rows: AnyDataset,
    *,
    id_column: str = "id",
    language_column: str = "language",
    query_column: str = "query",
    positive_column: str = "positive",
    passage_language_column: str | None = None,
    document_column: str | None = None,
    negative_columns: Sequence[str] | None = None,
    negatives_follow: Side = "positive",
    partners: int | None = None,
    anchor: str | None = None,
    seed: int = 0,
) -> AnyDataset:
    """Make training pairs from parallel rows, within each language and across languages.

    Rows that share ``id`` are translations of one another. Each row gives a monolingual pair: its own query and
    positive. Each ordered pair of rows of a group gives a cross-lingual pair: the query of one, the positive of the
    other. The monolingual pairs come first, in the order of the rows; the cross-lingual pairs follow. Texts are stored
    once per row; a pair costs 8 bytes.

    Some rows serve one kind only. A *bitext row*, whose query is its own positive, gives no monolingual pair. A row
    without translations gives no cross-lingual pair. A *pair row*, whose passage is in another language, gives a
    cross-lingual pair by itself.

    Args:
        rows: The parallel rows. A ``DatasetDict`` gives a ``DatasetDict`` of pairs, each data set on its own.
        id_column: Column of text or integers that translations of one another have in common.
        language_column: Column of language codes, such as ``"de"``.
        query_column: Column of the queries.
        positive_column: Column of the passages that answer them.
        passage_language_column: Column of the positives' languages where these differ from the queries', by default
            ``passage_language`` if the rows have one.
        document_column: Column of text or integers that names the document which a row is from, for
            ``HybridBatchSampler(same_document=True)``. A row may have none.
        negative_columns: Columns of hard negatives, by default all whose name begins with ``negative``.
        negatives_follow: Whether a cross-lingual pair has the negatives of the ``"positive"``'s or ``"query"``'s row.
        partners: Maximum number of partner languages per query, by default all. Passages are used equally often.
        anchor: Language towards which :class:`~st_hybrid.methods.anchor.AnchorDistillationLoss` trains the others.
        seed: Seed of the draw of partners.

    Returns:
        A ``Dataset`` whose rows read ``{"query", "positive"[, "negative"...], "label"}``. ``label`` holds integers:
        passage cluster (see :class:`~st_hybrid.rows.ParallelRows`), query language, passage language, and the passage
        cluster of each negative (-1 if it is no row's positive). Languages are numbered in alphabetic order. With an
        ``anchor`` the numbers of two parallel rows follow: the first row of the query's and of the positive's group in
        that language, a row in it being its own (-1 without one).

    Raises:
        TypeError: ``rows`` is not a ``Dataset`` or ``DatasetDict``.
        ValueError: The rows or an option are not valid.

    Example:
        ::

            from datasets import Dataset
            from st_hybrid import parallel_pairs

            pairs = parallel_pairs(Dataset.from_list([
                {"id": 1, "language": "en", "query": "Where do cats sleep?", "positive": "In the sun."},
                {"id": 1, "language": "de", "query": "Wo schlafen Katzen?", "positive": "In der Sonne."},
            ]))
            print(len(pairs), pairs[2])  # 4 pairs; the third asks in English and answers in German
    """
    if negatives_follow not in ("positive", "query"):
        raise ValueError(f"negatives_follow must be 'positive' or 'query', got {negatives_follow!r}.")
    if partners is not None and partners < 1:
        raise ValueError(f"partners must be at least 1 or None (all languages of a group), got {partners}.")
    columns = {"id": id_column, "language": language_column, "query": query_column, "positive": positive_column}
    optional = {PASSAGE_LANGUAGE: passage_language_column, DOCUMENT: document_column}
    columns |= {role: column for role, column in optional.items() if column is not None}
    languages: set[str] = set()

    def pairs_of(part: Dataset) -> Dataset:
        read: ParallelRows = ParallelRows(part, columns=columns, negative_columns=negative_columns)
        keys = {"cluster": read.cluster, "language": read.language, "passage_language": read.passage_language}
        keys |= {"query_text": read.query_text} | ({} if read.document is None else {DOCUMENT: read.document})
        keys |= {f"cluster_of_{name}": read.clusters_of(read.table[name]) for name in read.negative_columns}
        languages.update(read.languages)
        if anchor is not None:
            keys["anchor"] = _anchor_rows(read, anchor)
        texts = read.dataset.select_columns(["query", "positive", *read.negative_columns])
        crossed = np.stack(_cross_lingual_rows(read.group, partners, seed))
        # The languages are equal for several positives of a query.
        crossed = crossed[:, read.language[crossed[0]] != read.passage_language[crossed[1]]]
        own = np.flatnonzero(~read.bitext)
        own = own[np.argsort((read.language != read.passage_language)[own], kind="stable")]  # pair rows are the last
        query, positive = (np.append(own, numbers) for numbers in crossed)
        if not len(query):
            raise ValueError(
                "The rows give no pair: every query is its own positive, and no id has two languages. Give the same id "
                "to translations."
            )
        negatives = dict.fromkeys(read.negative_columns, query if negatives_follow == "query" else positive)
        # Each column holds row numbers, and "label" nothing: the transform makes it of the others.
        pairs = _integers({"query": query, "positive": positive, **negatives})
        pairs = pairs.add_column("label", pa.nulls(len(pairs)))
        return _as_pairs(pairs.with_transform(PairText(texts, _integers(keys), read.languages)))

    sets = {name: pairs_of(part) for name, part in (rows if isinstance(rows, DatasetDict) else {"": rows}).items()}
    if anchor is not None and supported_code(anchor, languages) is None:
        raise ValueError(f"anchor has no effect: no row is in {anchor!r}, only in {', '.join(sorted(languages))}.")
    return DatasetDict(sets) if isinstance(rows, DatasetDict) else sets[""]


def save_pairs(pairs: Dataset, path: str | Path) -> None:
    """Write pairs and the rows that they read from to a folder, whole or not at all.

    Args:
        pairs: Pairs from :func:`parallel_pairs`, also after ``select``, ``filter`` or ``shuffle``.
        path: Folder to write. Pairs that it holds are replaced; other files raise FileExistsError.

    Example:
        ::

            from datasets import Dataset
            from st_hybrid import load_pairs, parallel_pairs, save_pairs

            save_pairs(parallel_pairs(Dataset.from_json("rows.jsonl")), "pairs")
            pairs = load_pairs("pairs")
    """
    path, text = Path(path), pair_text(pairs)
    if path.exists() and not (path / _ABOUT).is_file() and (path.is_file() or any(path.iterdir())):
        raise FileExistsError(f"{path} holds files that save_pairs did not write. Choose another folder.")
    with replacing(path) as folder:
        pairs.with_format(None).save_to_disk(folder / "pairs")
        text.texts.save_to_disk(folder / "texts")
        text.keys.save_to_disk(folder / "keys")
        write_json(folder / _ABOUT, {"languages": text.languages})
        if (path / _ABOUT).is_file():
            shutil.rmtree(path)  # only an empty folder can be replaced


def load_pairs(path: str | Path) -> Dataset:
    """Read the pairs that :func:`save_pairs` wrote to a folder. Texts stay on disk until a pair is read."""
    path = Path(path)
    if not (path / _ABOUT).is_file():
        raise FileNotFoundError(f"{path} has no {_ABOUT}. Give a folder that save_pairs wrote.")
    about = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
    text = PairText(texts=load_from_disk(path / "texts"), keys=load_from_disk(path / "keys"), **about)
    return _as_pairs(load_from_disk(path / "pairs").with_transform(text))


def pair_text(pairs: Any) -> PairText:
    """Get the transform of a pairs data set; raises ValueError if it did not come from :func:`parallel_pairs`."""
    if isinstance(pairs, Dataset) and all(pairs.features.get(name) == Value("int32") for name in ("query", "positive")):
        transform = pairs.format["format_kwargs"].get("transform")
        while isinstance(transform, functools.partial):  # the trainer wraps it to add the data set's name
            transform = transform.keywords.get("transform")
        if isinstance(transform, PairText):
            return transform
    raise ValueError(
        f"This {type(pairs).__name__} did not come from parallel_pairs, so its passage clusters and languages are "
        "unknown. Make it with st_hybrid.parallel_pairs(rows), and do not call with_format or map on the result."
    )


def is_ordinary(dataset: Any) -> bool:
    """Whether a data set is neither pairs, nor pairs without their transform, nor parallel rows."""
    features = dataset.features if isinstance(dataset, Dataset) else {"language": None}
    return (
        "language" not in features
        and features.get("query") != Value("int32")
        and features.get("label") != List(Value("int64"))
    )


def _cross_lingual_rows(group: Ints, partners: int | None, seed: int) -> tuple[Ints, Ints]:
    """Row numbers of queries and positives of all cross-lingual pairs.

    A group's rows form a ring. A shift by k pairs each query with the positive k places on; any shifts use rows evenly.
    """
    order = np.argsort(group, kind="stable")
    size = np.bincount(group)
    first = np.cumsum(size) - size

    of_shift = np.repeat(np.arange(len(size)), size - 1)  # the group of each possible shift
    shift = counting(size - 1) + 1
    if partners is not None:
        drawn = np.lexsort((np.random.default_rng(seed).random(len(shift)), of_shift))
        drawn = np.sort(drawn[counting(size - 1) < partners])
        of_shift, shift = of_shift[drawn], shift[drawn]

    rows = size[of_shift]  # each shift pairs every row of its group
    place = counting(rows)
    start = np.repeat(first[of_shift], rows)
    onward = (place + np.repeat(shift, rows)) % np.repeat(rows, rows)
    return order[start + place], order[start + onward]


def _anchor_rows(read: ParallelRows, anchor: str) -> Ints:
    """For each row the first row of its group in a language, itself if it is in that language, or -1."""
    code = supported_code(anchor, read.languages)
    in_anchor = np.array(read.languages) == code
    rows = np.flatnonzero(in_anchor[read.language] & in_anchor[read.passage_language])
    of_group = np.full(read.group.max() + 1, -1)
    of_group[read.group[rows[::-1]]] = rows[::-1]  # of several, the first is written last
    found = of_group[read.group]
    found[rows] = rows
    return found


def _as_pairs(dataset: Dataset) -> "Pairs":
    dataset.__class__ = Pairs
    return dataset


def _integers(columns: dict[str, Ints]) -> Dataset:
    """An in-memory data set of int32 columns."""
    return Dataset(pa.table({name: pa.array(values.astype(np.int32)) for name, values in columns.items()}))
