"""Long form (a row a language) and wide form (a column a language), told apart by the names of the columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from st_hybrid.data.collect import KEYS, Batch, Ints, blank, interleaved
from st_hybrid.data.report import Tally
from st_hybrid.data.tables import IDENTIFIER, NamedBatch
from st_hybrid.languages import check_language, is_language

Form = Literal["auto", "long", "wide"]

_ROLES = ("query", "positive")

COLUMNS: Mapping[str, str] = MappingProxyType({name: name for name in (*KEYS, "negative")})
"""What the columns are called by default; in wide form they begin so, and a language follows."""


@dataclass(frozen=True)
class Columns:
    """The columns of a source, and how to make parallel rows of them.

    Args:
        names: The source's name for each of :data:`COLUMNS`. Negatives are all columns that begin with their name.
        form: ``"long"``, ``"wide"``, or ``"auto"``: long if there is a column of languages, wide if not.
        language: The language of all rows of long form, where no column says.
        languages: In wide form the languages to read; by default all whose code follows ``query_``.
    """

    names: Mapping[str, str]
    form: Form = "auto"
    language: str | None = None
    languages: Sequence[str] | None = None

    @classmethod
    def of(
        cls,
        columns: Mapping[str, str] | None,
        form: Form,
        language: str | None,
        languages: Sequence[str] | None,
    ) -> Columns:
        """Check what a caller gave, before anything is read."""
        if unknown := [name for name in columns or {} if name not in COLUMNS]:
            raise ValueError(f"There is no column {unknown[0]!r} to name; there are {', '.join(COLUMNS)}.")
        if form not in ("auto", "long", "wide"):
            raise ValueError(f"form must be 'auto', 'long' or 'wide', got {form!r}.")
        if language is not None:
            check_language(language, "language")
        for code in languages or ():
            check_language(code, "languages")
        return cls({**COLUMNS, **(columns or {})}, form, language, languages)

    def wanted(self, name: str) -> pa.DataType | None:
        """As what to read a column of the source."""
        if name == self.names["id"]:
            return IDENTIFIER
        if name in self.names.values() or name.startswith(self.names["negative"]):
            return pa.string()
        return pa.string() if any(self._language(name, role) for role in _ROLES) else None

    def rows(self, batches: Iterable[NamedBatch], source: str, tally: Tally) -> Iterator[Batch]:
        """Make rows of long form of a source's batches.

        Raises:
            ValueError: A column is missing.
        """
        tally.source(source, 0)  # an error names it
        convert: Callable[[NamedBatch, str, int], Batch | None] | None = None
        for batch in batches:
            if convert is None:
                convert = self._long if self._is_long(batch.columns) else self._wide
            before = tally.sources.get(source, 0)
            tally.source(source, batch.table.num_rows)
            if (rows := convert(batch, source, before)) is not None:
                yield rows

    def _is_long(self, present: Sequence[str]) -> bool:
        if self.form != "auto":
            return self.form == "long"
        if self.language is not None or self.names["language"] in present or self.names["query"] in present:
            return True
        return not self._wide_languages(present, complete=True)

    def _language(self, name: str, role: str) -> str | None:
        """The language that a column of wide form holds a role's texts in."""
        begin = f"{self.names[role]}_"
        code = name.removeprefix(begin)
        if not name.startswith(begin) or name == self.names["id"]:
            return None
        return code if (is_language(code) if self.languages is None else code in self.languages) else None

    def _long(self, batch: NamedBatch, source: str, before: int) -> Batch:
        table, names = batch.table, self.names
        given = () if self.language is None else ("id", "language")
        if before == 0:  # JSON may leave a column out for so long that a later batch lacks it
            _check_present([names[role] for role in KEYS if role not in given], batch.columns, source)
        nothing = pa.nulls(table.num_rows, pa.string())
        columns = {
            role: table[names[role]] if names[role] in table.column_names else nothing
            for role in KEYS
            if names[role] in table.column_names or role not in given
        }
        if self.language is not None:
            columns["language"] = pa.repeat(self.language, table.num_rows)
            columns.setdefault("id", _numbers(source, before, table.num_rows))
        begin = names["negative"]
        for name in table.column_names:
            if name.startswith(begin) and name not in (names[role] for role in KEYS):
                columns["negative" + name.removeprefix(begin)] = table[name]
        return Batch(pa.table(columns), batch.where)

    def _wide(self, batch: NamedBatch, source: str, before: int) -> Batch | None:
        table, names = batch.table, self.names
        languages = self._wide_languages(batch.columns, complete=before == 0)
        if not languages and before:
            return None
        if not languages:
            raise ValueError(
                f"{source} has no columns such as {names['query']}_de and {names['positive']}_de"
                f"{'' if self.languages is None else ' in ' + ', '.join(self.languages)}; its columns are "
                f"{', '.join(batch.columns)}."
            )
        if names["id"] in table.column_names:
            identifier = table[names["id"]]
        else:
            identifier = _numbers(source, before, table.num_rows)
        nothing = pa.nulls(table.num_rows, pa.string())
        parts = []
        for code in languages:
            columns = {"id": identifier, "language": pa.repeat(code, table.num_rows)}
            for role, given in self._wide_columns(batch.columns, languages).items():
                name = f"{given}_{code}"
                columns[role] = table[name] if name in table.column_names else nothing
            parts.append(pa.table(columns))
        rows = interleaved(parts)
        # A group need not have all languages: where it has neither text in one, there is no row.
        filled = np.flatnonzero(~(blank(rows["query"]) & blank(rows["positive"])))
        return Batch(rows.take(pa.array(filled)), _of(filled // len(languages), batch.where)) if len(filled) else None

    def _wide_languages(self, present: Sequence[str], *, complete: bool) -> list[str]:
        """The languages of the columns of wide form; ``complete`` wants both a query and a positive of one of them."""
        found = {role: [code for name in present if (code := self._language(name, role))] for role in _ROLES}
        if complete and not set(found["query"]) & set(found["positive"]):
            return []
        return list(dict.fromkeys([*found["query"], *found["positive"]]))

    def _wide_columns(self, present: Sequence[str], languages: Sequence[str]) -> dict[str, str]:
        """For each text column of long form, how its columns of wide form begin."""
        negative = self.names["negative"]
        pattern = re.compile(rf"{re.escape(negative)}((?:_?\d+)?)_(?:{'|'.join(map(re.escape, languages))})")
        numbers = {match[1] for name in present if (match := pattern.fullmatch(name))}
        ordered = sorted(numbers, key=lambda number: (len(number), number))
        return {
            **{role: self.names[role] for role in _ROLES},
            **{f"negative{number}": f"{negative}{number}" for number in ordered},
        }


def _check_present(needed: Sequence[str], present: Sequence[str], source: str) -> None:
    if missing := [name for name in needed if name not in present]:
        raise ValueError(
            f"{source} has no column {', '.join(map(repr, missing))}; its columns are {', '.join(map(repr, present))}. "
            "Say which column holds what, such as query=question."
        )


def _numbers(source: str, before: int, rows: int) -> pa.Array:
    """Ids for rows that have none: the source's name and the row's number."""
    number = pa.array(np.arange(before + 1, before + rows + 1)).cast(pa.string())
    return pc.binary_join_element_wise(Path(source).name, number, "-")


def _of(numbers: Ints, where: Callable[[int], str]) -> Callable[[int], str]:
    return lambda row: where(int(numbers[row]))
