"""Long form (a row per language) and wide form (a column per language), told apart by the column names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from st_hybrid.data.collect import Batch, interleaved
from st_hybrid.data.names import means_language
from st_hybrid.data.report import ReadReport
from st_hybrid.data.tables import IDENTIFIER, TRANSLATION, NamedBatch
from st_hybrid.languages import check_language
from st_hybrid.rows import ROLES, is_empty

_TEXTS = ("query", "positive")


class Columns:
    """The columns of a source, and how parallel rows are made of them; see :func:`~st_hybrid.data.open_rows`."""

    def __init__(
        self, columns: Mapping[str, str] | None, language: str | None, languages: Sequence[str] | None
    ) -> None:
        self.names = {name: name for name in (*ROLES, "negative")}
        if unknown := [name for name in columns or {} if name not in self.names]:
            raise ValueError(f"columns names {unknown[0]!r}, but its keys are {', '.join(self.names)}.")
        self.names |= columns or {}
        self.language, self.languages = language, languages
        for option, codes in (("language", [language] if language else []), ("languages", languages or [])):
            for code in codes:
                check_language(code, option)

    def wanted(self, name: str) -> pa.DataType | None:
        """The type to read a column of the source as, or None for a column that is not needed."""
        if name == self.names["id"]:
            return IDENTIFIER
        is_long = name in self.names.values() or name.startswith(self.names["negative"])
        return pa.string() if is_long or any(map(self._is_read, self._by_language([name]))) else None

    def rows(self, batches: Iterable[NamedBatch], source: str, report: ReadReport) -> Iterator[Batch]:
        """Make rows in long form of a source's batches."""
        report.count(source, 0)  # an error names it
        is_long: bool | None = None
        for batch in batches:
            if is_long is None and (is_long := self._is_long(batch.columns)):
                self._check_long(batch.columns, source)
            before = report.sources[source]
            report.count(source, len(batch.table))
            if is_long:
                yield self._long(batch, source, before)
            elif (rows := self._wide(batch, source, before)) is not None:
                yield rows

    def _by_language(self, present: Iterable[str]) -> dict[str, dict[str, str]]:
        """The columns in wide form: by language and role, ``{"de": {"query": "query_de"}}``."""
        found: dict[str, dict[str, str]] = {}
        for role in (*_TEXTS, "negative"):
            number = r"(?:_?\d+)?" if role == "negative" else ""
            for name in present:
                match = re.fullmatch(rf"{re.escape(self.names[role])}({number})_(.+)", name)
                if match and name != self.names["id"]:
                    found.setdefault(match[2], {})[f"{role}{match[1]}"] = name
        return found

    def _is_read(self, code: str) -> bool:
        return means_language(code) if self.languages is None else code in self.languages

    def _is_long(self, present: Sequence[str]) -> bool:
        if self.language is not None or self.names["language"] in present:
            return True
        return not any(part.keys() >= set(_TEXTS) for part in self._by_language(present).values())

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

    def _wide_columns(self, present: Sequence[str], source: str) -> dict[str, dict[str, str]]:
        """The columns of the languages to read, by language and role."""
        found = self._by_language(present)
        whole = [code for code, part in found.items() if part.keys() >= set(_TEXTS)]
        query, positive = (self.names[role] for role in _TEXTS)
        if doubtful := [code for code in whole if self.languages is None and not means_language(code)]:
            raise ValueError(
                f"{source}: {query}_{doubtful[0]}, {positive}_{doubtful[0]} may or may not be texts in a language "
                f"{doubtful[0]!r}. Name the languages to read: languages=['de', 'en'], or --languages de,en."
            )
        if not any(map(self._is_read, whole)):
            asked = "" if self.languages is None else f" in {', '.join(self.languages)}"
            raise ValueError(
                f"{source} has no columns such as {query}_de and {positive}_de{asked}; its columns are "
                f"{', '.join(present)}."
            )
        return {code: part for code, part in found.items() if self._is_read(code)}

    def _long(self, batch: NamedBatch, source: str, before: int) -> Batch:
        names, begin = self.names, self.names["negative"]
        given = {role: names[role] for role in ROLES}
        negatives = [name for name in batch.table.column_names if name.startswith(begin) and name not in given.values()]
        columns = _selected(batch.table, given | {"negative" + name.removeprefix(begin): name for name in negatives})
        if self.language is not None:
            columns["language"] = pa.repeat(self.language, len(batch.table))
            if names["id"] not in batch.columns:
                columns["id"] = _numbers(source, before, len(batch.table))
        return Batch(pa.table(columns), batch.place)

    def _wide(self, batch: NamedBatch, source: str, before: int) -> Batch | None:
        languages = self._wide_columns(batch.columns, source)
        roles = dict.fromkeys(role for part in languages.values() for role in part)
        identifier = _numbers(source, before, len(batch.table))
        if self.names["id"] in batch.table.column_names:
            identifier = batch.table[self.names["id"]]
        rows = interleaved(
            [
                pa.table(
                    {
                        "id": identifier,
                        "language": pa.repeat(code, len(batch.table)),
                        **_selected(batch.table, {role: part.get(role, "") for role in roles}),
                    }
                )
                for code, part in languages.items()
            ]
        )
        # A group need not have all languages: where both of its texts are missing, there is no row.
        filled = np.flatnonzero(~(is_empty(rows["query"]) & is_empty(rows["positive"])))
        if not len(filled):
            return None
        return Batch(rows.take(pa.array(filled)), lambda row: batch.place(int(filled[row]) // len(languages)))


def _selected(table: pa.Table, given: Mapping[str, str]) -> dict[str, pa.Array]:
    """Columns under other names; JSON may leave a column out in a whole batch, which then holds nulls."""
    nothing = pa.nulls(len(table), pa.string())
    return {role: table[name] if name in table.column_names else nothing for role, name in given.items()}


def _numbers(source: str, before: int, rows: int) -> pa.Array:
    """Ids for rows without ids: the source's name and the row's number."""
    number = pa.array(np.arange(before + 1, before + rows + 1)).cast(pa.string())
    return pc.binary_join_element_wise(Path(source).name, number, "-")
