"""Training pairs from parallel rows: texts once per row, two integers per pair."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict, load_from_disk

from st_hybrid.files import replacing, write_json
from st_hybrid.grouping import Ints, counting
from st_hybrid.rows import ParallelRows

Side = Literal["positive", "query"]
_ABOUT = "st_hybrid.json"  # the file that marks a folder of save_pairs

AnyDataset = TypeVar("AnyDataset", Dataset, DatasetDict)


class PairText:
    """The transform of a pairs data set: it turns row numbers into texts and labels.

    A pair stores two row numbers. Reading a batch of any size costs two look-ups in the parallel rows, three with
    negatives.

    Args:
        texts: The columns ``query``, ``positive`` and the negatives of the parallel rows.
        keys: For each parallel row, as int32: its passage ``cluster``; its ``language``; its ``query_text``, a number
            that rows with the same query text share; and for each column of negatives the cluster of its text, such
            as ``cluster_of_negative_1`` (-1 if the text is no row's positive).
        languages: The language codes; a language's number is its index here.
        negatives_follow: Which row's negatives a pair has, see :func:`parallel_pairs`.
    """

    def __init__(
        self, texts: Dataset, keys: Dataset, languages: list[str], negatives_follow: Side = "positive"
    ) -> None:
        self.texts = texts
        self.keys = keys
        self.languages = languages
        self.negatives_follow = negatives_follow
        self.negative_columns = [name for name in texts.column_names if name not in ("query", "positive")]
        self._queries = texts.select_columns(["query"])
        self._positives = texts.select_columns(["positive"])
        self._negatives = texts.select_columns(self.negative_columns) if self.negative_columns else None

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        """Read a batch of pairs.

        Args:
            batch: ``query_row`` and ``positive_row``, lists of row numbers of the parallel rows.

        Returns:
            Lists ``query``, ``positive``, the negatives under their own names, and ``label``.
        """
        rows: dict[Side, list[int]] = {"query": batch["query_row"], "positive": batch["positive_row"]}
        languages = self.keys[rows["query"]]["language"]
        keys = self.keys[rows["positive"]]
        labels = [keys["cluster"], languages, keys["language"]]
        negatives = {}
        if self._negatives is not None:
            of_negatives = rows[self.negatives_follow]
            negatives = self._negatives[of_negatives]
            clusters = self.keys[of_negatives]
            labels += [clusters[_cluster_key(name)] for name in self.negative_columns]
        return {
            "query": self._queries[rows["query"]]["query"],
            "positive": self._positives[rows["positive"]]["positive"],
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
    """Make training pairs from parallel rows, within each language and across languages.

    Rows that share ``id`` are translations of one another. Each row gives a monolingual pair: its own query and
    positive. Each ordered pair of rows of a group gives a cross-lingual pair: the query of one, the positive of the
    other. ``pairs[i]`` for ``i < len(rows)`` is the monolingual pair of row ``i``; the cross-lingual pairs follow.
    Texts are stored once per row and read when a pair is read; a pair costs 8 bytes.

    Args:
        rows: The parallel rows. A ``DatasetDict`` gives a ``DatasetDict`` of pairs, each data set on its own.
        id_column: Column of text or integers that translations of one another have in common.
        language_column: Column of language codes, such as ``"de"``.
        query_column: Column of the queries.
        positive_column: Column of the passages that answer them.
        negative_columns: Columns of hard negatives, by default all whose name begins with ``negative``.
        negatives_follow: Which row's negatives a cross-lingual pair has. ``"positive"``: those of its positive's row,
            in the positive's language if they were mined within it. ``"query"``: those of its query's row, in the
            query's language, where a biased model looks for the answer.
        partners: Maximum number of partner languages per query, by default all that its group has. They are drawn so
            that each passage of a group is used equally often.
        seed: Seed of that draw.

    Returns:
        A ``Dataset`` whose rows read ``{"query", "positive"[, "negative"...], "label"}``. ``label`` holds integers:
        passage cluster, query language, passage language, and the passage cluster of each negative (-1 if it is no
        row's positive). Languages are numbered in alphabetic order. Two groups share a passage cluster if any of
        their positives are the same text, transitively. ``select``, ``filter``, ``shuffle``, ``DatasetDict`` and
        data-loader workers work as with any data set. To store pairs use :func:`save_pairs`, because ``save_to_disk``
        cannot store a transform.

    Raises:
        TypeError: ``rows`` is not a ``Dataset`` or ``DatasetDict``.
        ValueError: The rows are not valid (see :class:`~st_hybrid.rows.ParallelRows`), or an option is not.

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
    if negatives_follow not in ("positive", "query"):
        raise ValueError(f"negatives_follow must be 'positive' or 'query', got {negatives_follow!r}.")
    if partners is not None and partners < 1:
        raise ValueError(f"partners must be at least 1 or None (all languages of a group), got {partners}.")
    columns = {"id": id_column, "language": language_column, "query": query_column, "positive": positive_column}

    def make(part: Dataset) -> Dataset:
        checked = ParallelRows(part, columns=columns, negative_columns=negative_columns)
        return _pairs(checked, negatives_follow=negatives_follow, partners=partners, seed=seed)

    if isinstance(rows, DatasetDict):
        return DatasetDict({name: make(part) for name, part in rows.items()})
    return make(rows)


def _pairs(rows: ParallelRows, *, negatives_follow: Side, partners: int | None, seed: int) -> Dataset:
    query_row, positive_row = _cross_lingual_rows(rows.group, partners, seed)
    every = np.arange(len(rows))
    keys = {"cluster": rows.cluster, "language": rows.language, "query_text": rows.query_text}
    keys |= {_cluster_key(name): rows.clusters_of(rows.table[name]) for name in rows.negative_columns}
    texts = rows.dataset.select_columns(["query", "positive", *rows.negative_columns])
    pairs = _integers(
        {"query_row": np.concatenate([every, query_row]), "positive_row": np.concatenate([every, positive_row])}
    )
    return pairs.with_transform(PairText(texts, _integers(keys), rows.languages, negatives_follow))


def save_pairs(pairs: Dataset, path: str | Path) -> None:
    """Write pairs and the rows that they read from to a folder, whole or not at all.

    Args:
        pairs: Pairs from :func:`parallel_pairs`, also after ``select``, ``filter`` or ``shuffle``.
        path: Folder to write. A folder that this function wrote before is replaced.

    Raises:
        FileExistsError: The folder holds other files.
        ValueError: The data set did not come from :func:`parallel_pairs`.

    Example:
        ::

            from datasets import Dataset
            from st_hybrid import load_pairs, parallel_pairs, save_pairs

            rows = Dataset.from_dict({
                "id": [1, 1],
                "language": ["de", "en"],
                "query": ["Wo nisten Störche?", "Where do storks nest?"],
                "positive": ["Auf Dächern.", "On roofs."],
            })
            save_pairs(parallel_pairs(rows), "pairs")
            pairs = load_pairs("pairs")
    """
    path, text = Path(path), pair_text(pairs)
    if path.exists() and not (path / _ABOUT).is_file() and (path.is_file() or any(path.iterdir())):
        raise FileExistsError(f"{path} holds files that save_pairs did not write. Choose another folder.")
    with replacing(path) as folder:
        pairs.with_format(None).save_to_disk(folder / "pairs")
        text.texts.save_to_disk(folder / "texts")
        text.keys.save_to_disk(folder / "keys")
        write_json(folder / _ABOUT, {"languages": text.languages, "negatives_follow": text.negatives_follow})
        if (path / _ABOUT).is_file():
            shutil.rmtree(path)  # only an empty folder can be replaced


def load_pairs(path: str | Path) -> Dataset:
    """Read what :func:`save_pairs` wrote. Texts stay on disk until a pair is read.

    Args:
        path: The folder.

    Returns:
        The same pairs in the same order.

    Raises:
        FileNotFoundError: :func:`save_pairs` did not write the folder.
    """
    path = Path(path)
    if not (path / _ABOUT).is_file():
        raise FileNotFoundError(f"{path} has no {_ABOUT}. Give a folder that save_pairs wrote.")
    about = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
    text = PairText(texts=load_from_disk(path / "texts"), keys=load_from_disk(path / "keys"), **about)
    return load_from_disk(path / "pairs").with_transform(text)


def pair_text(pairs: Any) -> PairText:
    """Get the transform of a pairs data set, which knows its rows and languages.

    Args:
        pairs: Pairs from :func:`parallel_pairs`.

    Raises:
        ValueError: The data set did not come from :func:`parallel_pairs`.
    """
    if isinstance(pairs, Dataset) and {"query_row", "positive_row"} <= set(pairs.column_names):
        transform = pairs.format["format_kwargs"].get("transform")
        while isinstance(transform, functools.partial):  # the trainer wraps it to add the data set's name
            transform = transform.keywords.get("transform")
        if isinstance(transform, PairText):
            return transform
    raise ValueError(
        f"This {type(pairs).__name__} did not come from parallel_pairs, so its passage clusters and languages are "
        "unknown. Make it with st_hybrid.parallel_pairs(rows), and do not call with_format or map on the result."
    )


def _cluster_key(negative_column: str) -> str:
    return f"cluster_of_{negative_column}"


def _cross_lingual_rows(group: Ints, partners: int | None, seed: int) -> tuple[Ints, Ints]:
    """Row numbers of queries and positives of all cross-lingual pairs.

    A group's rows form a ring, and a shift by k pairs each query with the positive k places further. A shift uses each
    row once as query and once as positive, so any set of shifts uses a group's rows evenly.
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


def _integers(columns: dict[str, Ints]) -> Dataset:
    """An in-memory data set of int32 columns."""
    return Dataset(pa.table({name: pa.array(values.astype(np.int32)) for name, values in columns.items()}))
