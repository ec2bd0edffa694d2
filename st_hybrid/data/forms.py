"""Long form (a row per language) and wide form (a column per language), told apart by the column names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from st_hybrid.data.collect import Batch, interleaved
from st_hybrid.data.names import means_language
from st_hybrid.data.report import Tally
from st_hybrid.data.tables import IDENTIFIER, TRANSLATION, NamedBatch
from st_hybrid.languages import check_language
from st_hybrid.rows import ROLES, is_empty

Form = Literal["auto", "long", "wide"]

_TEXTS = ("query", "positive")


@dataclass(frozen=True)
class Columns:
    """The columns of a source, and how parallel rows are made of them; see :func:`~st_hybrid.data.open_rows`."""

    names: Mapping[str, str]
    form: Form = "auto"
    language: str | None = None
    languages: Sequence[str] | None = None

    @classmethod
    def of(
        cls, columns: Mapping[str, str] | None, form: Form, language: str | None, languages: Sequence[str] | None
    ) -> Columns:
        """Check what a caller gave, before anything is read."""
        names = {name: name for name in (*ROLES, "negative")}
        if unknown := [name for name in columns or {} if name not in names]:
            raise ValueError(f"columns names {unknown[0]!r}, but its keys are {', '.join(names)}.")
        if form not in ("auto", "long", "wide"):
            raise ValueError(f"form must be 'auto', 'long' or 'wide', got {form!r}.")
        if language is not None:
            check_language(language, "language")
            if form == "wide":
                raise ValueError("language is for long form; in wide form the names of the columns hold the languages.")
        for code in languages or ():
            check_language(code, "languages")
        return cls({**names, **(columns or {})}, form, language, languages)

    def wanted(self, name: str) -> pa.DataType | None:
        """The type to read a column of the source as, or None for a column that is not needed."""
        if name == self.names["id"]:
            return IDENTIFIER
        if name in self.names.values() or name.startswith(self.names["negative"]):
            return pa.string()
        found = (code for role in _TEXTS for code in self._codes([name], role))
        return pa.string() if any(self._is_read(code) for code in found) else None

    def rows(self, batches: Iterable[NamedBatch], source: str, tally: Tally) -> Iterator[Batch]:
        """Make rows in long form of a source's batches.

        Raises:
            ValueError: A column is missing, or a column's name may or may not hold a language.
        """
        tally.source(source, 0)  # an error names it
        is_long: bool | None = None
        for batch in batches:
            if is_long is None:
                is_long = self._is_long(batch.columns)
                (self._check_long if is_long else self._check_wide)(batch.columns, source)
            before = tally.sources[source]
            tally.source(source, batch.table.num_rows)
            if is_long:
                yield self._long(batch, source, before)
            elif (rows := self._wide(batch, source, before)) is not None:
                yield rows

    def _is_long(self, present: Sequence[str]) -> bool:
        if self.form != "auto":
            return self.form == "long"
        if self.language is not None or self.names["language"] in present or self.names["query"] in present:
            return True
        return not set(self._codes(present, "query")) & set(self._codes(present, "positive"))

    def _check_long(self, present: Sequence[str], source: str) -> None:
        if self.language is not None and self.names["language"] in present:
            raise ValueError(
                f"{source} has the column {self.names['language']!r}, so language={self.language!r} cannot hold for "
                "all rows. Leave it out."
            )
        needed = ROLES if self.language is None else _TEXTS
        if missing := [role for role in needed if self.names[role] not in present]:
            if TRANSLATION in present:
                mend = "Sentences with their translations are read with read_bitext (data import bitext)."
            elif missing == ["language"]:
                mend = "Name it with columns={'language': …}, or pass the language of all rows: language='en'."
            else:
                mend = f"Map the columns, such as columns={{{missing[0]!r}: …}} or --column {missing[0]}=…."
            raise ValueError(
                f"{source} has no column {', '.join(repr(self.names[role]) for role in missing)}; its columns are "
                f"{', '.join(map(repr, present))}. {mend}"
            )

    def _check_wide(self, present: Sequence[str], source: str) -> None:
        positive = self._codes(present, "positive")
        if not any(code in positive and self._is_read(code) for code in self._codes(present, "query")):
            self._languages(present, source)
            raise ValueError(
                f"{source} has no columns such as {self.names['query']}_de and {self.names['positive']}_de"
                f"{'' if self.languages is None else ' in ' + ', '.join(self.languages)}; its columns are "
                f"{', '.join(present)}."
            )

    def _codes(self, present: Sequence[str], role: str) -> list[str]:
        """What follows ``query_`` or ``positive_`` in the names of columns."""
        begin = f"{self.names[role]}_"
        return [name.removeprefix(begin) for name in present if name.startswith(begin) and name != self.names["id"]]

    def _is_read(self, code: str) -> bool:
        return means_language(code) if self.languages is None else code in self.languages

    def _languages(self, present: Sequence[str], source: str) -> list[str]:
        """The languages of the columns in wide form."""
        query, positive = (self._codes(present, role) for role in _TEXTS)
        if self.languages is None:
            doubtful = [code for code in query if code in positive and not means_language(code)]
            if doubtful:
                raise ValueError(
                    f"{source}: {', '.join(f'{self.names[role]}_{doubtful[0]}' for role in _TEXTS)} may or may not be "
                    f"texts in a language {doubtful[0]!r}. Name the languages to read: languages=['de', 'en'], or "
                    "--languages de,en."
                )
        return [code for code in dict.fromkeys([*query, *positive]) if self._is_read(code)]

    def _long(self, batch: NamedBatch, source: str, before: int) -> Batch:
        names, rows = self.names, batch.table.num_rows
        given = {role: names[role] for role in ROLES}
        begin = names["negative"]
        negatives = [name for name in batch.table.column_names if name.startswith(begin) and name not in given.values()]
        given |= {"negative" + name.removeprefix(begin): name for name in negatives}
        columns = _selected(batch.table, given)
        if self.language is not None:
            columns["language"] = pa.repeat(self.language, rows)
            if names["id"] not in batch.columns:
                columns["id"] = _numbers(source, before, rows)
        return Batch(pa.table(columns), batch.place)

    def _wide(self, batch: NamedBatch, source: str, before: int) -> Batch | None:
        languages = self._languages(batch.columns, source)
        if not languages:
            return None
        identifier = _numbers(source, before, batch.table.num_rows)
        if self.names["id"] in batch.table.column_names:
            identifier = batch.table[self.names["id"]]
        parts = []
        for code in languages:
            given = {role: f"{begin}_{code}" for role, begin in self._texts(batch.columns, languages).items()}
            language = pa.repeat(code, batch.table.num_rows)
            parts.append(pa.table({"id": identifier, "language": language, **_selected(batch.table, given)}))
        rows = interleaved(parts)
        # A group need not have all languages: where both of its texts are missing, there is no row.
        filled = np.flatnonzero(~(is_empty(rows["query"]) & is_empty(rows["positive"])))
        place = batch.place
        if not len(filled):
            return None
        return Batch(rows.take(pa.array(filled)), lambda row: place(int(filled[row]) // len(languages)))

    def _texts(self, present: Sequence[str], languages: Sequence[str]) -> dict[str, str]:
        """For each text column of long form, what its columns in wide form begin with."""
        negative = self.names["negative"]
        pattern = re.compile(rf"{re.escape(negative)}((?:_?\d+)?)_(?:{'|'.join(map(re.escape, languages))})")
        numbers = {match[1] for name in present if (match := pattern.fullmatch(name))}
        ordered = sorted(numbers, key=lambda number: (len(number), number))
        return {role: self.names[role] for role in _TEXTS} | {f"negative{one}": f"{negative}{one}" for one in ordered}


def _selected(table: pa.Table, given: Mapping[str, str]) -> dict[str, pa.Array]:
    """Columns under other names; JSON may leave a column out in a whole batch, which then holds nulls."""
    nothing = pa.nulls(table.num_rows, pa.string())
    return {role: table[name] if name in table.column_names else nothing for role, name in given.items()}


def _numbers(source: str, before: int, rows: int) -> pa.Array:
    """Ids for rows without ids: the source's name and the row's number."""
    number = pa.array(np.arange(before + 1, before + rows + 1)).cast(pa.string())
    return pc.binary_join_element_wise(Path(source).name, number, "-")
