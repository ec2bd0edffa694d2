"""Parallel rows, read and checked once: groups, languages, passage clusters and splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from st_hybrid.grouping import Ints, numbered, place_in_group

ROLES = ("id", "language", "query", "positive")
"""The columns of parallel rows besides the negatives."""

_SHOWN = 5  # rows that an error names


class ParallelRows:
    """Parallel rows under the standard column names, checked.

    Rows that share an ``id`` are translations of one another and form a *group*. Groups whose positives are the same
    text, in any language, form a *passage cluster*, transitively: one's positive would be the other's false negative.

    Args:
        rows: A data set with a row per id and language.
        columns: The data set's names of ``id``, ``language``, ``query`` and ``positive`` where they differ:
            ``{"query": "question"}``.
        negative_columns: Columns of hard negatives. By default every column whose name begins with ``negative``.

    Attributes:
        dataset: The columns ``id``, ``language``, ``query``, ``positive`` and the negatives.
        table: The same as an Arrow table.
        negative_columns: Names of the columns of negatives.
        languages: The language codes in alphabetic order.
        language: Place in ``languages`` of each row's language, shape ``(rows,)``, int64.
        group: Number of each row's group, shape ``(rows,)``, int64.

    Raises:
        TypeError: ``rows`` is not a ``Dataset``.
        ValueError: A column is missing or is not text, a text is null or empty, an ``(id, language)`` pair occurs
            twice, or there are no rows. The message names the columns or row numbers.

    Example:
        ::

            from datasets import Dataset
            from st_hybrid.rows import ParallelRows

            rows = ParallelRows(Dataset.from_dict({
                "id": [1, 1, 2],
                "language": ["de", "en", "en"],
                "question": ["Wo nisten Störche?", "Where do storks nest?", "What do bees make?"],
                "positive": ["Auf Dächern.", "On roofs.", "Wax."],
            }), columns={"query": "question"})
            print(rows.languages, rows.language, rows.group, rows.cluster)  # ['de', 'en'] [0 1 1] [0 0 1] [0 0 1]
    """

    def __init__(
        self,
        rows: Dataset,
        *,
        columns: Mapping[str, str] = MappingProxyType({}),
        negative_columns: Sequence[str] | None = None,
    ) -> None:
        names = [] if not isinstance(rows, Dataset) else rows.column_names
        negatives = [name for name in names if name.startswith("negative") and name not in columns.values()]
        self.negative_columns = negatives if negative_columns is None else list(negative_columns)
        self.dataset = standard_columns(rows, columns, self.negative_columns)
        self.table: pa.Table = self.dataset.with_format("arrow")[:]
        for role in self.dataset.column_names:
            _check_texts(self.table[role], columns.get(role, role))

        self.group, _ = numbered(self.table["id"])
        language, codes = numbered(self.table["language"])
        alphabetic = np.argsort(np.array(codes.to_pylist()))  # so that the order of the rows does not matter
        self.languages: list[str] = codes.take(pa.array(alphabetic)).to_pylist()
        self.language: Ints = np.argsort(alphabetic)[language]
        self._check_unique()

    def __len__(self) -> int:
        return len(self.group)

    @cached_property
    def cluster(self) -> Ints:
        """Number of each row's passage cluster, shape ``(rows,)``."""
        text, texts = numbered(self.table["positive"])
        groups = int(self.group.max()) + 1
        size = groups + len(texts)
        edges = coo_array((np.ones(len(text), dtype=bool), (self.group, groups + text)), shape=(size, size))
        component = connected_components(edges, directed=False)[1][self.group]
        return np.unique(component, return_inverse=True)[1]

    @cached_property
    def query_text(self) -> Ints:
        """Number of each row's query text; rows with the same query text share it. Shape ``(rows,)``."""
        return numbered(self.table["query"])[0]

    def clusters_of(self, texts: pa.Array | pa.ChunkedArray) -> Ints:
        """The passage cluster that each text belongs to.

        Args:
            texts: Any texts.

        Returns:
            Cluster numbers, -1 for a text that is no row's positive, shape ``(texts,)``.
        """
        positive, passages = numbered(self.table["positive"])
        cluster_of_text = np.full(len(passages) + 1, -1)  # the last entry is for texts that are not found
        cluster_of_text[positive] = self.cluster
        return cluster_of_text[pc.fill_null(pc.index_in(texts, value_set=passages), -1).to_numpy()]

    def split(self, test_size: float | int, *, seed: int = 0) -> tuple[Ints, Ints]:
        """Divide the rows in two, with no group and no passage cluster on both sides.

        Args:
            test_size: Share of the groups (a float below 1) or number of groups (an int) in the second part. Whole
                clusters are drawn until it is reached, so the last one may exceed it.
            seed: Seed of the draw.

        Returns:
            Row numbers of the first and of the second part, in the order of the rows.

        Raises:
            ValueError: A part would have no row.
        """
        groups = int(self.group.max()) + 1
        cluster_of_group = np.zeros(groups, dtype=np.int64)
        cluster_of_group[self.group] = self.cluster
        sizes = np.bincount(cluster_of_group)
        wanted = test_size if isinstance(test_size, int) else round(test_size * groups)
        order = np.random.default_rng(seed).permutation(len(sizes))
        drawn = order[: np.searchsorted(np.cumsum(sizes[order]), wanted) + 1]
        in_test = np.isin(self.cluster, drawn)
        if wanted < 1 or in_test.all():
            raise ValueError(
                f"test_size={test_size} leaves one side of the split without rows: there are {groups:,} groups in "
                f"{len(sizes):,} passage clusters. Choose a size between."
            )
        return np.flatnonzero(~in_test), np.flatnonzero(in_test)

    def _check_unique(self) -> None:
        again = np.flatnonzero(place_in_group(self.group * len(self.languages) + self.language))
        if not len(again):
            return
        ids = self.table["id"].take(pa.array(again[:_SHOWN])).to_pylist()
        codes = [self.languages[number] for number in self.language[again[:_SHOWN]]]
        pairs = [f"({identifier!r}, {code!r})" for identifier, code in zip(ids, codes, strict=True)]
        raise ValueError(
            f"Each id must have one row per language, but {_named(again)} repeat{'s' if len(again) == 1 else ''} "
            f"{', '.join(pairs)}{', ...' if len(again) > _SHOWN else ''}. Give these rows ids of their own, or drop "
            "them."
        )


def standard_columns(
    rows: Dataset, columns: Mapping[str, str] = MappingProxyType({}), negative_columns: Sequence[str] = ()
) -> Dataset:
    """Select the columns of parallel rows and give them their standard names.

    Args:
        rows: The rows. Their texts are not read.
        columns: As for :class:`ParallelRows`.
        negative_columns: Columns of hard negatives to select as well.

    Returns:
        The columns ``id``, ``language``, ``query``, ``positive`` and the negatives.

    Raises:
        TypeError: ``rows`` is not a ``Dataset``.
        ValueError: A column is missing or is not text, ``columns`` has an unknown key, or there are no rows.

    Example:
        ::

            from datasets import Dataset
            from st_hybrid.rows import standard_columns

            rows = Dataset.from_dict({"id": [1], "lang": ["en"], "question": ["Who?"], "positive": ["Ada."]})
            print(standard_columns(rows, {"language": "lang", "query": "question"}).column_names)
    """
    if not isinstance(rows, Dataset):
        raise TypeError(
            f"Parallel rows must be a datasets.Dataset, not {type(rows).__name__}. Load a streamed data set whole, "
            "or write it to a file and load that with load_dataset."
        )
    if unknown := set(columns) - set(ROLES):
        raise ValueError(f"columns names {sorted(unknown)[0]!r}, but its keys are {', '.join(ROLES)}.")
    names = {role: columns.get(role, role) for role in ROLES} | {name: name for name in negative_columns}
    if missing := [name for name in names.values() if name not in rows.column_names]:
        raise ValueError(
            f"The rows have no column {', '.join(map(repr, missing))}; their columns are "
            f"{', '.join(map(repr, rows.column_names))}. Rename a column with rows.rename_column, or name yours, "
            "for example columns={'query': 'question'}."
        )
    if not len(rows):
        raise ValueError("There are no rows.")
    for role, name in names.items():
        found = rows.features.arrow_schema.field(name).type
        is_text = pa.types.is_string(found) or pa.types.is_large_string(found)
        if not is_text and not (role == "id" and pa.types.is_integer(found)):
            raise ValueError(
                f"Column {name!r} holds {found}, not {'text or integers' if role == 'id' else 'text'}. Cast it with "
                "rows.cast_column."
            )
    chosen = rows.with_format(None).select_columns(list(names.values()))
    return chosen.rename_columns({name: role for role, name in names.items() if name != role})


def is_empty(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Which entries of a column are null, or text of white space only, shape ``(rows,)``."""
    if pa.types.is_integer(column.type):
        return pc.is_null(column).to_numpy()
    return pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True).to_numpy()


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
    """Split parallel rows in two with no group, and no passage, on both sides.

    ``Dataset.train_test_split`` splits row by row, so translations of a row end up on both sides. This function draws
    whole passage clusters.

    Args:
        rows: Parallel rows.
        test_size: Share of the groups (a float below 1) or number of groups (an int) to hold out. Clusters are drawn
            until it is reached, so the last one may exceed it.
        id_column: As for :func:`~st_hybrid.parallel_pairs`.
        language_column: As for :func:`~st_hybrid.parallel_pairs`.
        query_column: As for :func:`~st_hybrid.parallel_pairs`.
        positive_column: As for :func:`~st_hybrid.parallel_pairs`.
        seed: Seed of the draw.

    Returns:
        ``DatasetDict`` with ``train`` and ``test``, both in the order of ``rows``.

    Raises:
        ValueError: The rows are not valid parallel rows, or one side would have no row.

    Example:
        ::

            from datasets import Dataset
            from st_hybrid import parallel_pairs, split_groups

            rows = Dataset.from_list([
                {"id": i, "language": code, "query": f"{code}: what is {i}?", "positive": f"{code}: {i} is a number."}
                for i in range(20) for code in ("de", "en")
            ])
            parts = split_groups(rows, test_size=0.1)
            pairs, held_out = parallel_pairs(parts["train"]), parallel_pairs(parts["test"])
    """
    columns = {"id": id_column, "language": language_column, "query": query_column, "positive": positive_column}
    train, test = ParallelRows(rows, columns=columns, negative_columns=[]).split(test_size, seed=seed)
    return DatasetDict(train=rows.select(train), test=rows.select(test))


def _check_texts(column: pa.ChunkedArray, name: str) -> None:
    """Refuse nulls and empty texts."""
    if len(found := np.flatnonzero(is_empty(column))):
        raise ValueError(
            f"Column {name!r} is null or empty in {_named(found)}. Drop these rows, for example with "
            f"rows.filter(lambda row: row[{name!r}] and row[{name!r}].strip())."
        )


def _named(rows: NDArray[np.intp]) -> str:
    """``rows 3, 8 and 14 more``."""
    shown = ", ".join(map(str, rows[:_SHOWN].tolist()))
    rest = f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{rest}"
