"""Parallel rows to training pairs: text once per row, two integers per pair."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, load_from_disk
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ints = NDArray[np.int64]
Side = Literal["positive", "query"]
AnyDataset = TypeVar("AnyDataset", Dataset, DatasetDict)

_SHOWN = 5  # rows that an error names


class PairText:
    """The transform of a pairs dataset: row numbers in, text and label out.

    It is what makes ``pairs[i]`` read as text. One batch costs two look-ups in the parallel rows, three with
    negatives, whatever its size, and nothing is stored per pair but two row numbers.

    Args:
        texts: The parallel rows' text columns, one row per parallel row.
        keys: For each parallel row its passage ``cluster``, its ``language`` and its ``query_text``
            (rows with the same query text share that number), and for each column of negatives the cluster that the
            negative is a passage of, ``cluster_of_negative_1`` and so on (-1 if of none), all int32.
        languages: The language codes; a language's number is its place here.
        query_column: The column of ``texts`` that holds the queries.
        passage_columns: The columns of ``texts`` that hold the positive and then the negatives.
        negatives_follow: Whose negatives a pair has, see :func:`parallel_pairs`.
    """

    def __init__(
        self,
        texts: Dataset,
        keys: Dataset,
        languages: list[str],
        query_column: str,
        passage_columns: list[str],
        negatives_follow: Side = "positive",
    ) -> None:
        self.texts = texts
        self.keys = keys
        self.languages = languages
        self.query_column = query_column
        self.passage_columns = passage_columns
        self.negatives_follow = negatives_follow
        positive, *negatives = passage_columns
        self._queries = texts.select_columns([query_column])
        self._positives = texts.select_columns([positive])
        self._negatives = texts.select_columns(negatives) if negatives else None

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        """Compose a batch of pairs.

        Args:
            batch: ``query_row`` and ``positive_row``, lists of row numbers of the parallel rows.

        Returns:
            ``query``, ``positive``, the negatives under their own names, and ``label``: for each pair
            ``[cluster, query language, passage language]`` and the clusters of its negatives.
        """
        rows: dict[Side, list[int]] = {"query": batch["query_row"], "positive": batch["positive_row"]}
        positive, *names = self.passage_columns
        languages = self.keys[rows["query"]]["language"]
        keys = self.keys[rows["positive"]]
        labels = [keys["cluster"], languages, keys["language"]]
        negatives = {}
        if self._negatives is not None:
            of_negatives = rows[self.negatives_follow]
            negatives = self._negatives[of_negatives]
            clusters = self.keys[of_negatives]
            labels += [clusters[_cluster_key(name)] for name in names]
        return {
            "query": self._queries[rows["query"]][self.query_column],
            "positive": self._positives[rows["positive"]][positive],
            **negatives,
            "label": [list(label) for label in zip(*labels, strict=True)],
        }


def parallel_pairs(
    rows: AnyDataset,
    *,
    id_column: str = "id",
    language_column: str = "language",
    query_column: str = "query",
    positive_column: str = "positive",
    negative_columns: Sequence[str] | None = None,
    negatives_follow: Side = "positive",
    partners: int | None = None,
    seed: int = 0,
) -> AnyDataset:
    """Make training pairs of parallel rows, within each language and across languages.

    Rows that share ``id`` are translations of one another. Each row gives a monolingual pair (its own
    query and positive), and each ordered pair of rows of a group a cross-lingual pair (the query of one,
    the positive of the other). ``pairs[i]`` for ``i < len(rows)`` is row ``i``'s monolingual pair; the
    cross-lingual pairs follow. Text is stored once per row and composed when a pair is read; a pair costs
    8 bytes. A row whose group has one language only takes part in monolingual batches.

    Args:
        rows: The parallel rows. A ``DatasetDict`` gives a ``DatasetDict`` of pairs, each data set by itself.
        id_column: Column whose equal values mark translations of one another (text or integers).
        language_column: Column of language codes, such as ``"de"``.
        query_column: Column of the queries.
        positive_column: Column of the passages that answer them.
        negative_columns: Columns of hard negatives. By default every column whose name begins with ``negative``.
        negatives_follow: Whose negatives a cross-lingual pair has: those of the row of its ``"positive"``, which are in
            the positive's language if they were mined within it; or those of the row of its ``"query"``, which are then
            in the query's language, where a biased model looks for the answer.
        partners: At most this many partner languages for each query; by default all that its group has.
            The partners are drawn so that each passage of a group is drawn equally often.
        seed: Seed of that draw; unused without ``partners``.

    Returns:
        A ``datasets.Dataset`` whose rows read ``{"query", "positive"[, "negative"...], "label"}``, with
        ``label`` the integers ``[passage cluster, query language, passage language]``, followed by the passage
        cluster of each negative, -1 if it is no row's positive. Languages are numbered in alphabetic order. Two
        groups share a passage cluster if any of their positives are the same text, transitively. ``select``,
        ``filter``, ``shuffle``, ``DatasetDict`` and data-loader workers work as with any data set; use
        :func:`save_pairs` in place of ``save_to_disk``, which cannot store a transform.

    Raises:
        TypeError: ``rows`` is not a ``Dataset`` or ``DatasetDict``.
        ValueError: A column is missing or is not text, a text is null or empty, an ``(id, language)`` comes
            twice, or there are no rows. The message names the columns or row numbers.

    Example:
        ::

            from datasets import Dataset
            from st_hybrid import parallel_pairs

            rows = Dataset.from_dict({
                "id": ["a", "a", "b", "b"],
                "language": ["en", "de", "en", "de"],
                "query": ["Where do cats sleep?", "Wo schlafen Katzen?", "Who bakes bread?", "Wer backt Brot?"],
                "positive": ["Cats sleep in the sun.", "Katzen schlafen in der Sonne.",
                             "The baker bakes bread.", "Der Bäcker backt Brot."],
            })
            pairs = parallel_pairs(rows)
            print(len(pairs), pairs[4])  # 8 pairs; the fifth asks in English and answers in German
    """
    make = functools.partial(
        _pairs,
        id_column=id_column,
        language_column=language_column,
        query_column=query_column,
        positive_column=positive_column,
        negative_columns=negative_columns,
        negatives_follow=negatives_follow,
        partners=partners,
        seed=seed,
    )
    if negatives_follow not in ("positive", "query"):
        raise ValueError(f"negatives_follow must be 'positive' or 'query', got {negatives_follow!r}.")
    if partners is not None and partners < 1:
        raise ValueError(f"partners must be at least 1 or None (all languages of a group), got {partners}.")
    if isinstance(rows, DatasetDict):
        return DatasetDict({name: make(part) for name, part in rows.items()})
    if isinstance(rows, Dataset):
        return make(rows)
    raise TypeError(
        f"parallel_pairs takes a datasets.Dataset or DatasetDict, not {type(rows).__name__}. Pairs need random access "
        "to the rows: load a streamed data set whole, or write it out and load it with load_dataset."
    )


def _pairs(
    rows: Dataset,
    *,
    id_column: str,
    language_column: str,
    query_column: str,
    positive_column: str,
    negative_columns: Sequence[str] | None,
    negatives_follow: Side,
    partners: int | None,
    seed: int,
) -> Dataset:
    rows = rows.with_format(None)
    negatives = [name for name in rows.column_names if name.startswith("negative")]
    passage_columns = [positive_column, *(negatives if negative_columns is None else negative_columns)]
    text_columns = [query_column, *passage_columns]
    table = _checked_columns(rows, id_column, [language_column, *text_columns])

    group, _ = _numbered(table[id_column])
    language, codes = _numbered(table[language_column])
    alphabetic = np.argsort(np.array(codes))  # a language's number does not hang on the order of the rows
    language = np.argsort(alphabetic)[language]
    languages = [codes[i] for i in alphabetic]
    _check_unique(group, language, table[id_column], languages)

    query_row, positive_row = _cross_lingual_rows(group, partners, seed)
    every = np.arange(len(rows))
    cluster = _clusters(group, table[positive_column])
    keys = {
        "cluster": cluster,
        "language": language,
        "query_text": _numbered(table[query_column])[0],
        **{
            _cluster_key(name): _clusters_of(table[name], table[positive_column], cluster)
            for name in passage_columns[1:]
        },
    }
    text = PairText(
        texts=rows.select_columns(text_columns),
        keys=_integers(keys),
        languages=languages,
        query_column=query_column,
        passage_columns=passage_columns,
        negatives_follow=negatives_follow,
    )
    pairs = _integers(
        {
            "query_row": np.concatenate([every, query_row]),
            "positive_row": np.concatenate([every, positive_row]),
        }
    )
    return pairs.with_transform(text)


def split_groups(
    rows: Dataset,
    test_size: float | int,
    *,
    id_column: str = "id",
    positive_column: str = "positive",
    seed: int = 0,
) -> DatasetDict:
    """Split parallel rows in two with no group, and no passage, on both sides.

    ``Dataset.train_test_split`` splits row by row, so a row's translations end on both sides. Here whole
    passage clusters are drawn.

    Args:
        rows: Parallel rows.
        test_size: Share of the groups (a float below 1) or number of groups (an int) to hold out. Clusters are
            drawn until it is reached, so the last may exceed it by the rest of its groups.
        id_column: As for :func:`parallel_pairs`.
        positive_column: As for :func:`parallel_pairs`.
        seed: Seed of the draw.

    Returns:
        ``DatasetDict`` with ``train`` and ``test``, both in the order of ``rows``.

    Raises:
        ValueError: A column is missing, a text is empty, or one side would have no row.

    Example:
        ::

            parts = split_groups(rows, test_size=0.1)
            pairs, held_out = parallel_pairs(parts["train"]), parallel_pairs(parts["test"])
    """
    table = _checked_columns(rows.with_format(None), id_column, [positive_column])
    group, ids = _numbered(table[id_column])
    cluster = _clusters(group, table[positive_column])
    cluster_of_group = np.zeros(len(ids), dtype=np.int64)
    cluster_of_group[group] = cluster
    groups = np.bincount(cluster_of_group)
    wanted = test_size if isinstance(test_size, int) else round(test_size * len(ids))
    order = np.random.default_rng(seed).permutation(len(groups))
    drawn = order[: np.searchsorted(np.cumsum(groups[order]), wanted) + 1]
    in_test = np.isin(cluster, drawn)
    if wanted < 1 or in_test.all():
        raise ValueError(
            f"test_size={test_size} leaves a side of the split without rows: there are {len(ids):,} groups in "
            f"{len(groups):,} passage clusters. Give a size between."
        )
    return DatasetDict(train=rows.select(np.flatnonzero(~in_test)), test=rows.select(np.flatnonzero(in_test)))


def save_pairs(pairs: Dataset, path: str | Path) -> None:
    """Write pairs and the rows that they read from to a folder.

    Args:
        pairs: A data set of :func:`parallel_pairs`, also after ``select``, ``filter`` or ``shuffle``.
        path: Folder to write; made if missing.

    Example:
        ::

            save_pairs(pairs, "pairs")
            pairs = load_pairs("pairs")
    """
    path, text = Path(path), pair_text(pairs)
    pairs.with_format(None).save_to_disk(path / "pairs")
    text.texts.save_to_disk(path / "texts")
    text.keys.save_to_disk(path / "keys")
    about = {
        "languages": text.languages,
        "query_column": text.query_column,
        "passage_columns": text.passage_columns,
        "negatives_follow": text.negatives_follow,
    }
    (path / "st_hybrid.json").write_text(json.dumps(about, ensure_ascii=False, indent=2), encoding="utf-8")


def load_pairs(path: str | Path) -> Dataset:
    """Read what :func:`save_pairs` wrote; text stays on disk until a pair is read.

    Args:
        path: The folder.

    Returns:
        The same pairs in the same order.

    Raises:
        FileNotFoundError: The folder is not one of :func:`save_pairs`.
    """
    path = Path(path)
    about = path / "st_hybrid.json"
    if not about.is_file():
        raise FileNotFoundError(f"{path} has no st_hybrid.json: it was not written by st_hybrid.save_pairs.")
    text = PairText(
        texts=load_from_disk(path / "texts"),
        keys=load_from_disk(path / "keys"),
        **json.loads(about.read_text(encoding="utf-8")),
    )
    return load_from_disk(path / "pairs").with_transform(text)


def pair_text(pairs: Any) -> PairText:
    """The transform of a pairs data set, which knows its rows and languages.

    Args:
        pairs: A data set of :func:`parallel_pairs`.

    Returns:
        Its :class:`PairText`.

    Raises:
        ValueError: The data set is of another origin.
    """
    if isinstance(pairs, Dataset) and {"query_row", "positive_row"} <= set(pairs.column_names):
        transform = pairs.format["format_kwargs"].get("transform")
        while isinstance(transform, functools.partial):  # the trainer wraps it to add the data set's name
            transform = transform.keywords.get("transform")
        if isinstance(transform, PairText):
            return transform
    raise ValueError(
        f"This {type(pairs).__name__} did not come from parallel_pairs, so its passage clusters and languages are "
        "not known. Make it with st_hybrid.parallel_pairs(rows) and pass the result on without with_format or map."
    )


def _checked_columns(rows: Dataset, id_column: str, text_columns: list[str]) -> pa.Table:
    """The named columns as an Arrow table, after every check that needs no other column."""
    columns = [id_column, *text_columns]
    missing = [name for name in columns if name not in rows.column_names]
    if missing:
        raise ValueError(
            f"The rows have no column {', '.join(map(repr, missing))}; their columns are "
            f"{', '.join(map(repr, rows.column_names))}. Rename a column with rows.rename_column, or name yours, "
            "for example parallel_pairs(rows, query_column='question')."
        )
    if len(rows) == 0:
        raise ValueError("There are no rows.")
    table: pa.Table = rows.select_columns(columns).with_format("arrow")[:]
    for name in columns:
        column = table[name]
        is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        if not is_text and (name != id_column or not pa.types.is_integer(column.type)):
            wanted = "text or integers" if name == id_column else "text"
            raise ValueError(f"Column {name!r} holds {column.type}, not {wanted}. Cast it with rows.cast_column.")
        bad = pc.is_null(column)
        if is_text:
            bad = pc.or_(bad, pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True))
        if found := np.flatnonzero(bad.to_numpy()).tolist():
            raise ValueError(
                f"Column {name!r} is null or empty in {_named(found, 'row')}. Drop these rows, for example with "
                f"rows.filter(lambda row: row[{name!r}] and row[{name!r}].strip())."
            )
    return table


def _numbered(column: pa.ChunkedArray) -> tuple[Ints, list[Any]]:
    """Number a column's distinct values: the number of each row's value, and the values."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _check_unique(group: Ints, language: Ints, ids: pa.ChunkedArray, languages: list[str]) -> None:
    key = group * len(languages) + language
    order = np.argsort(key, kind="stable")
    again = order[1:][np.diff(key[order]) == 0]
    if len(again):
        again.sort()
        named = [f"({ids[i].as_py()!r}, {languages[language[i]]!r})" for i in again[:_SHOWN].tolist()]
        raise ValueError(
            f"An id has one row a language, but {', '.join(named)}{', ...' if len(again) > _SHOWN else ''} came "
            f"before {_named(again.tolist(), 'row')}. Give the rows ids of their own, or drop them."
        )


def _named(numbers: list[int], noun: str) -> str:
    """``rows 3, 8 and 14 more``: what an error says of many rows."""
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    rest = f" and {len(numbers) - _SHOWN:,} more" if len(numbers) > _SHOWN else ""
    return f"{noun}{'s' if len(numbers) > 1 else ''} {shown}{rest}"


def _clusters(group: Ints, positives: pa.ChunkedArray) -> Ints:
    """The passage cluster of each row: connected components of groups and positive texts.

    A text counts in whatever language it stands: an untranslated passage is a false negative as well.
    """
    text, texts = _numbered(positives)
    groups = int(group.max()) + 1
    size = groups + len(texts)
    edges = coo_array((np.ones(len(group), dtype=bool), (group, groups + text)), shape=(size, size))
    component = connected_components(edges, directed=False)[1][group]
    return np.unique(component, return_inverse=True)[1]


def _clusters_of(texts: pa.ChunkedArray, positives: pa.ChunkedArray, cluster: Ints) -> Ints:
    """The passage cluster that each text is a positive of, -1 if of none; ``cluster`` is that of each positive."""
    encoded = positives.combine_chunks().dictionary_encode()
    cluster_of_text = np.full(len(encoded.dictionary) + 1, -1)  # the last entry is that of a text not found
    cluster_of_text[encoded.indices.to_numpy()] = cluster
    return cluster_of_text[pc.fill_null(pc.index_in(texts, value_set=encoded.dictionary), -1).to_numpy()]


def _cluster_key(negative_column: str) -> str:
    return f"cluster_of_{negative_column}"


def _cross_lingual_rows(group: Ints, partners: int | None, seed: int) -> tuple[Ints, Ints]:
    """Row numbers of queries and positives of all cross-lingual pairs.

    A group's rows stand in a ring, and a *shift* pairs each query with the positive so many places on. A shift
    uses each row once as query and once as positive, so any set of shifts uses a group's rows evenly.
    """
    order = np.argsort(group, kind="stable")
    size = np.bincount(group)
    first = np.cumsum(size) - size

    of_shift = np.repeat(np.arange(len(size)), size - 1)  # the group of each possible shift
    shift = _counting(size - 1) + 1
    if partners is not None:
        drawn = np.lexsort((np.random.default_rng(seed).random(len(shift)), of_shift))
        drawn = np.sort(drawn[_counting(size - 1) < partners])
        of_shift, shift = of_shift[drawn], shift[drawn]

    rows = size[of_shift]  # each shift pairs every row of its group
    place = _counting(rows)
    start = np.repeat(first[of_shift], rows)
    onward = (place + np.repeat(shift, rows)) % np.repeat(rows, rows)
    return order[start + place], order[start + onward]


def _counting(lengths: Ints) -> Ints:
    """``0 .. length - 1`` for each length, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)


def _integers(columns: dict[str, Ints]) -> Dataset:
    """An in-memory data set of int32 columns."""
    table = pa.table({name: pa.array(values.astype(np.int32)) for name, values in columns.items()})
    return Dataset(table)
