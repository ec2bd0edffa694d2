"""Rows to translate: what is wrong with them, and which of them have to be translated into what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from datasets import Dataset
from numpy.typing import NDArray

from st_hybrid.data.collect import blank
from st_hybrid.languages import check_language
from st_hybrid.rows import ROLES
from st_hybrid.translation.translator import Ints, Translator


@dataclass(frozen=True)
class Source:
    """The rows in one language that are to be translated.

    Args:
        language: Its code in the rows.
        code: What the model calls it.
        rows: The rows' numbers.
        lacking: Whether a row's id has no row in a target language yet, shape ``(rows, targets)``.
    """

    language: str
    code: str
    rows: Ints
    lacking: NDArray[np.bool_]


def checked_table(rows: Dataset, language: str | None = None) -> pa.Table:
    """The columns of parallel rows, without nulls and blanks.

    Args:
        rows: Rows with ``id``, ``query``, ``positive``, any ``negative…`` and, unless that is given, ``language``.
        language: The language of all rows, where no column says.

    Returns:
        Those columns, ``id`` as int64 or text and the rest as text.

    Raises:
        ValueError: A column or a text is missing, or there are no rows.
    """
    if language is not None:
        check_language(language, "language")
        if "language" in rows.column_names:
            raise ValueError("The rows have a column 'language', so give no language for all of them.")
    needed = [name for name in ROLES if name != "language" or language is None]
    if missing := [name for name in needed if name not in rows.column_names]:
        raise ValueError(
            f"The rows have no column {', '.join(map(repr, missing))}, only {', '.join(map(repr, rows.column_names))}."
            + (" Say which language all of them are in." if missing == ["language"] else "")
        )
    negatives = [name for name in rows.column_names if name.startswith("negative")]
    given = rows.select_columns([*needed, *negatives]).with_format("arrow")[:]
    if not len(given):
        raise ValueError("There are no rows.")
    columns = {}
    for name in (*ROLES, *negatives):
        if name in given.column_names:
            kept = pa.types.is_integer(given[name].type) and name == "id"
            columns[name] = given[name].cast(pa.int64() if kept else pa.string())
        else:
            columns[name] = pa.chunked_array([pa.repeat(language, len(given))])
        empty = np.asarray(columns[name].is_null() if pa.types.is_integer(columns[name].type) else blank(columns[name]))
        if empty.any():
            raise ValueError(f"Row {int(np.flatnonzero(empty)[0]):,}, counted from 0, has no {name}. Leave it out.")
    return pa.table(columns)


def target_codes(languages: Sequence[str], model: Translator) -> dict[str, str]:
    """What the model calls each target language.

    Args:
        languages: The target languages.
        model: The model.

    Raises:
        ValueError: There is none, one comes twice or under two names, or the model does not have it.
    """
    if not languages:
        raise ValueError("Say which languages to translate into.")
    codes = [model.code(language) for language in languages]
    if twice := [language for language, code in zip(languages, codes, strict=True) if codes.count(code) > 1]:
        raise ValueError(f"These languages to translate into are the same to {model.name}: {', '.join(twice)}.")
    return dict(zip(languages, codes, strict=True))


def sources_of(table: pa.Table, targets: Sequence[str], model: Translator) -> list[Source]:
    """The first row of each id, by its language, and into what it has to be translated.

    Args:
        table: As of :func:`checked_table`.
        targets: The target languages, called as the model does.
        model: The model.

    Raises:
        ValueError: An id has two rows in one language, a language is none or not one of the model's, or every id has
            all languages already.
    """
    group, language = (table[name].combine_chunks().dictionary_encode() for name in ("id", "language"))
    groups, spoken = (part.indices.to_numpy().astype(np.int64) for part in (group, language))
    number = groups * len(language.dictionary) + spoken
    order = np.argsort(number, kind="stable")
    if len(again := np.flatnonzero(np.diff(number[order]) == 0)):
        row = int(order[again[0] + 1])
        raise ValueError(
            f"The id {table['id'][row].as_py()!r} has two rows in {table['language'][row].as_py()!r}. An id has one "
            "row a language: give these rows ids of their own."
        )
    names = language.dictionary.to_pylist()
    codes = [model.code(name) for name in names]
    has = np.zeros((len(group.dictionary), len(targets)), dtype=bool)
    for place, target in enumerate(targets):
        has[groups[np.isin(spoken, [known for known, code in enumerate(codes) if code == target])], place] = True
    first = np.unique(groups, return_index=True)[1]
    lacking = ~has[groups[first]]
    sources = []
    for known, (name, code) in enumerate(zip(names, codes, strict=True)):
        chosen = (spoken[first] == known) & lacking.any(axis=1)
        if chosen.any():
            sources.append(Source(name, code, first[chosen], lacking[chosen]))
    if not sources:
        raise ValueError("There is nothing to translate: every id has all these languages already.")
    return sources
