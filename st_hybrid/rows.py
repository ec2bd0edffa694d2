"""Parallel rows, read and checked once: groups, languages, passage clusters and splits."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from numbers import Integral
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from st_hybrid.grouping import Ints, numbered, place_in_group
from st_hybrid.languages import one_code_each
from st_hybrid.normalized import normalize

ROLES = ("id", "language", "query", "positive")
"""The columns of parallel rows, besides negatives."""

PASSAGE_LANGUAGE = "passage_language"
"""The column of the positive's language, where it may differ from the query's."""

DOCUMENT = "document"
"""The column of the document that a row is from."""

_COLUMNS = (*ROLES, PASSAGE_LANGUAGE, DOCUMENT)
_SHOWN = 5  # rows that an error names


class ParallelRows:
    """Parallel rows under the standard column names, checked.

    Rows with the same ``id`` are translations of one another and form a *group*. Groups whose positives are the same
    text, in any language, form a *passage cluster*, transitively: a passage of one is a right answer in the others.
    Texts are the same here if they have the same letters and digits (:func:`~st_hybrid.normalized.normalize`).

    Args:
        rows: One row per id and language, or several with the same query and different positives. Texts may be of any
            Arrow text type; the format of the data set is ignored.
        columns: Source column of ``id``, ``language``, ``query``, ``positive``, ``passage_language`` and ``document``
            where the name differs: ``{"query": "question"}``. Query and positive may come from the same column. The
            last two are optional; documents are read only if they are named here.
        negative_columns: Columns of hard negatives, by default all whose name begins with ``negative``.

    Attributes:
        dataset, table: These columns and the negatives, as a data set and as an Arrow table of ``large_string``.
        negative_columns: Names of the columns of hard negatives.
        languages: The language codes in alphabetic order. Codes of one language, ``iw`` and ``he``, become one.
        language: Index in ``languages`` of each row's language, shape ``(rows,)``, int64.
        passage_language: The same of its positive. It differs in *pair rows*, which have a column of that name.
        group: Number of each row's group, in order of appearance, shape ``(rows,)``, int64.

    Raises:
        TypeError: ``rows`` is not a ``Dataset``.
        ValueError: A column is missing or not text, a text is empty, an id has two queries in a language.
    """

    def __init__(
        self,
        rows: Dataset,
        *,
        columns: Mapping[str, str] = MappingProxyType({}),
        negative_columns: Sequence[str] | None = None,
    ) -> None:
        self.dataset, self.table = read_columns(rows, columns, negative_columns)
        self.negative_columns: list[str] = [name for name in self.table.column_names if name not in _COLUMNS]
        for role in self.table.column_names:
            if role == DOCUMENT:  # null for a row of none
                continue
            if len(found := np.flatnonzero(is_empty(self.table[role]))):
                raise ValueError(
                    f"Column {columns.get(role, role)!r} is null or empty in {_named(found)}. Fill in values, or drop "
                    "the rows with rows.filter."
                )
        self.group, _ = numbered(self.table["id"])
        spoken = [
            numbered(self.table[name]) for name in ("language", PASSAGE_LANGUAGE) if name in self.table.column_names
        ]
        known_as = one_code_each(list(dict.fromkeys(code for _, codes in spoken for code in codes.to_pylist())))
        self.languages: list[str] = sorted(set(known_as.values()))
        of_columns: list[Ints] = [
            np.array([self.languages.index(known_as[code]) for code in codes.to_pylist()])[numbers]
            for numbers, codes in spoken
        ]
        self.language, self.passage_language = of_columns[0], of_columns[-1]
        if len(again := repeated_rows(self.group, self.language, self.table)):
            ids = self.table["id"].take(pa.array(again[:_SHOWN])).to_pylist()
            codes = [self.languages[number] for number in self.language[again[:_SHOWN]]]
            raise ValueError(
                f"Each id must have one query per language and each positive once, but {_named(again)} "
                f"repeat{'s' if len(again) == 1 else ''} {', '.join(map(str, zip(ids, codes, strict=True)))}"
                f"{', ...' if len(again) > _SHOWN else ''}. Give these rows ids of their own, or drop them."
            )

    def __len__(self) -> int:
        return len(self.group)

    @cached_property
    def cluster(self) -> Ints:
        """Number of each row's passage cluster, in order of appearance, shape ``(rows,)``, int64."""
        number, passages = self._positive
        letters = normalize(passages)
        # Texts without letters, such as "?", are compared as they are.
        text = np.where(letters.lengths > 0, letters.hashes(), np.arange(len(passages), dtype=np.uint64))
        nodes = self.group, int(self.group.max()) + 1 + np.unique(text, return_inverse=True)[1][number]
        size = int(nodes[1].max()) + 1
        edges = coo_array((np.ones(len(self), dtype=bool), nodes), shape=(size, size))
        return connected_components(edges, directed=False)[1][self.group].astype(np.int64)

    @cached_property
    def _positive(self) -> tuple[Ints, pa.Array]:
        return numbered(self.table["positive"])

    @cached_property
    def bitext(self) -> NDArray[np.bool_]:
        """Which rows are bitext: the query is its own positive, aligned with translations, shape ``(rows,)``."""
        equal = pc.equal(self.table["query"], self.table["positive"]).to_numpy()
        return np.asarray(equal & (self.language == self.passage_language))

    @cached_property
    def document(self) -> Ints | None:
        """Number of each row's document, shape ``(rows,)``, int64; a row of none has its group's own. None without."""
        if DOCUMENT not in self.table.column_names:
            return None
        column = pc.fill_null(self.table[DOCUMENT].cast(pa.large_string()), "")
        numbers, names = numbered(column)
        return np.where(is_empty(column), len(names) + self.group, numbers)

    @cached_property
    def query_text(self) -> Ints:
        """Number of each row's query text, the same for equal texts, shape ``(rows,)``, int64."""
        return numbered(self.table["query"])[0]

    def clusters_of(self, texts: pa.Array | pa.ChunkedArray) -> Ints:
        """The passage cluster of each text, int64; -1 for a text that is no row's positive."""
        positive, passages = self._positive
        cluster = np.full(len(passages) + 1, -1)  # the last entry is for texts that are no positive
        cluster[positive] = self.cluster
        found = pc.index_in(texts.cast(pa.large_string()), value_set=passages)
        return cluster[pc.fill_null(found, -1).to_numpy()]

    def split(self, test_size: float | int, *, seed: int = 0) -> tuple[Ints, Ints]:
        """Divide the rows as :func:`split_groups` does; returns the row numbers of both parts in order."""
        group, first = np.unique(self.group, return_index=True)
        sizes = np.bincount(self.cluster[first])  # in groups
        wanted = int(test_size) if isinstance(test_size, Integral) else round(test_size * len(group))
        order = np.random.default_rng(seed).permutation(len(sizes))
        drawn = order[: np.searchsorted(np.cumsum(sizes[order]), wanted) + 1]
        in_test = np.isin(self.cluster, drawn)
        if wanted < 1 or in_test.all():
            raise ValueError(
                f"test_size={test_size} leaves one part without rows: there are {len(group):,} groups in "
                f"{len(sizes):,} passage clusters. Choose a size in between."
            )
        return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def read_columns(
    rows: Dataset, columns: Mapping[str, str], negative_columns: Sequence[str] | None = None
) -> tuple[Dataset, pa.Table]:
    """Read ``ParallelRows.dataset`` and ``ParallelRows.table``, with nulls, empty texts and repeated rows."""
    if not isinstance(rows, Dataset):
        raise TypeError(
            f"Parallel rows must be a datasets.Dataset, not {type(rows).__name__}. Pass one data set of a "
            "DatasetDict; load a streamed data set without streaming."
        )
    if unknown := set(columns) - set(_COLUMNS):
        raise ValueError(f"columns has the key {min(unknown)!r}. Its keys must be among {', '.join(_COLUMNS)}.")
    names = {role: columns.get(role, role) for role in ROLES}
    if PASSAGE_LANGUAGE in (*columns, *rows.column_names):
        names[PASSAGE_LANGUAGE] = columns.get(PASSAGE_LANGUAGE, PASSAGE_LANGUAGE)
    if DOCUMENT in columns:
        names[DOCUMENT] = columns[DOCUMENT]
    found = [name for name in rows.column_names if is_negative(name) and name not in names.values()]
    negatives = found if negative_columns is None else list(dict.fromkeys(negative_columns))
    if taken := [name for name in negatives if name in _COLUMNS]:
        raise ValueError(f"A column of negatives must not be named {taken[0]!r}. Rename it with rows.rename_column.")
    names |= {name: name for name in negatives}
    if missing := [name for name in names.values() if name not in rows.column_names]:
        raise ValueError(
            f"The rows have no column {', '.join(map(repr, missing))}; they have "
            f"{', '.join(map(repr, rows.column_names))}. Map a column, for example query=question."
        )
    if not len(rows):
        raise ValueError("There are no rows. Pass at least one.")
    role_of = {name: role for role, name in reversed(names.items())}
    dataset = rows.with_format(None).select_columns(list(role_of)).rename_columns(role_of)
    for role in names.keys() - role_of.values():  # a column that serves two roles is copied for the second
        dataset = dataset.add_column(role, dataset.with_format("arrow")[:][role_of[names[role]]])
    dataset = dataset.select_columns(list(names))
    read = dataset.with_format("arrow")[:]
    return dataset, pa.table(
        {role: _as_text(read[role], name, is_id=role in ("id", DOCUMENT)) for role, name in names.items()}
    )


def is_negative(name: str, begin: str = "negative") -> bool:
    """Whether a column holds hard negatives by its name, and not their ids, scores or ranks."""
    return name.startswith(begin) and not re.search(r"_(doc|passage_)?(id|score|rank)s?(_?\d+)?$", name)


def repeated_rows(group: Ints, language: Ints, texts: pa.Table) -> Ints:
    """The rows that have the id and language of an earlier one, except for other positives of its query.

    Args:
        group: Number of each row's id, shape ``(rows,)``.
        language: Number of each row's language, shape ``(rows,)``.
        texts: The columns ``query`` and ``positive``.
    """
    pair = group * (language.max(initial=0) + 1) + language
    _, first, of_pair = np.unique(pair, return_index=True, return_inverse=True)
    several = np.flatnonzero(np.bincount(of_pair)[of_pair] > 1)
    if not len(several):
        return several
    query, positive = (numbered(texts[name])[0] for name in ("query", "positive"))
    same = place_in_group(of_pair * (positive.max() + 1) + positive) > 0
    again = np.arange(len(pair)) != first[of_pair]
    return np.flatnonzero(again & (same | (query != query[first[of_pair]])))


def is_empty(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Which ids or texts are null, or text of white space only, shape ``(rows,)``."""
    return pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column.cast(pa.large_string())), ""), True).to_numpy()


def join_rows(sets: Mapping[str, Dataset], *, columns: Mapping[str, str] = MappingProxyType({})) -> Dataset:
    """Join sets of parallel rows into one, to train on all of them with one share of monolingual batches.

    Rows of different sets never form a group: each id gets the name of its set in front. Equal passages of different
    sets are one passage cluster all the same.

    Args:
        sets: Parallel rows by the name of the set. All have hard negatives in the same columns, or none has any.
        columns: Source columns, as for :class:`~st_hybrid.rows.ParallelRows`; ``passage_language`` and ``document``
            may be missing in some sets.

    Returns:
        The rows under the standard column names. Where only some sets have a column ``passage_language``, the others
        get their ``language`` in it.

    Raises:
        ValueError: A set lacks a column, or the sets have hard negatives in different columns.

    Example:
        ::

            from datasets import Dataset
            from st_hybrid import join_rows, parallel_pairs

            questions = [{"id": 1, "language": "de", "query": "Wo schlafen Katzen?", "positive": "In der Sonne."}]
            sentences = [
                {"id": 1, "language": "en", "query": "It rains.", "positive": "It rains."},
                {"id": 1, "language": "de", "query": "Es regnet.", "positive": "Es regnet."},
            ]
            rows = join_rows({"faq": Dataset.from_list(questions), "news": Dataset.from_list(sentences)})
            pairs = parallel_pairs(rows)  # one monolingual pair of the question, two cross-lingual of the sentences
    """
    tables: dict[str, pa.Table] = {}
    for name, rows in sets.items():
        optional = (PASSAGE_LANGUAGE, DOCUMENT)
        here = {role: one for role, one in columns.items() if role not in optional or one in rows.column_names}
        tables[name] = read_columns(rows, here)[1]
    found = {role for table in tables.values() for role in table.column_names}
    for name, table in tables.items():
        for role in sorted(found - set(table.column_names)):
            if role == PASSAGE_LANGUAGE:
                table = table.append_column(role, table["language"])
            elif role == DOCUMENT:
                table = table.append_column(role, pa.nulls(len(table), pa.large_string()))
            else:
                other = next(other for other in tables if role in tables[other].column_names)
                raise ValueError(
                    f"{other} has hard negatives in {role!r} and {name} has none, so their rows cannot share batches. "
                    f"Mine negatives for {name}, drop them in {other}, or keep the sets apart (--one-set-per-batch)."
                )
        for role in {"id", DOCUMENT} & set(table.column_names):  # sets may use the same ids
            prefix = pa.scalar(f"{name} ", pa.large_string())
            texts = pc.binary_join_element_wise(prefix, table[role].cast(pa.large_string()), pa.scalar("", prefix.type))
            table = table.set_column(table.column_names.index(role), role, texts)
        tables[name] = table.select([*ROLES, *sorted(found - set(ROLES))])
    return Dataset(pa.concat_tables(tables.values()))


def split_groups(
    rows: Dataset,
    test_size: float | int,
    *,
    id_column: str = "id",
    language_column: str = "language",
    query_column: str = "query",
    positive_column: str = "positive",
    seed: int = 0,
) -> DatasetDict:
    """Split parallel rows into two parts that share no group and no passage.

    ``Dataset.train_test_split`` splits row by row, so translations of a row end up in both parts.

    Args:
        rows: Parallel rows.
        test_size: Share (a float below 1) or number (an int) of groups to hold out. Whole clusters may exceed it.
        id_column: Column that translations of one another have in common.
        language_column: Column of language codes.
        query_column: Column of the queries.
        positive_column: Column of the passages that answer them.
        seed: Seed of the draw.

    Returns:
        ``DatasetDict`` with ``train`` and ``test``, both in the order of ``rows``.

    Raises:
        ValueError: The rows are not valid, or one part would have no rows.

    Example:
        ::

            from datasets import Dataset
            from st_hybrid import split_groups

            parts = split_groups(Dataset.from_json("rows.jsonl"), test_size=0.1)
            print(parts["train"], parts["test"])
    """
    columns = {"id": id_column, "language": language_column, "query": query_column, "positive": positive_column}
    train, test = ParallelRows(rows, columns=columns, negative_columns=[]).split(test_size, seed=seed)
    return DatasetDict(train=rows.select(train), test=rows.select(test))


def _as_text(column: pa.ChunkedArray, name: str, *, is_id: bool) -> pa.ChunkedArray:
    """The column with texts as large_string; refused if it is of another type."""
    if is_id and pa.types.is_integer(column.type):
        return column
    if any(test(column.type) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)):
        return column.cast(pa.large_string())
    raise ValueError(
        f"Column {name!r} holds {column.type}, not {'text or integers' if is_id else 'text'}: use rows.cast_column."
    )


def _named(rows: NDArray[np.intp]) -> str:
    """``rows 3, 8 and 14 more``."""
    shown = ", ".join(map(str, rows[:_SHOWN].tolist()))
    rest = f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{rest}"
