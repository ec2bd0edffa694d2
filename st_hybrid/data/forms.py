"""The layouts that rows come in, told apart by the column names, and how parallel rows are made of each."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from st_hybrid.data.collect import Batch, interleaved
from st_hybrid.data.names import means_language
from st_hybrid.data.tables import IDENTIFIER, TRANSLATION, NamedBatch
from st_hybrid.grouping import Ints, counting
from st_hybrid.languages import check_language, codes_of
from st_hybrid.rows import DOCUMENT, PASSAGE_LANGUAGE, ROLES, is_empty, is_negative

_TEXTS = ("query", "positive")
_BITEXT = "text"
_LISTS = {
    ("pos", "neg"): pa.list_(pa.string()),  # FlagEmbedding
    ("positive_passages", "negative_passages"): pa.list_(pa.struct([("title", pa.string()), ("text", pa.string())])),
}
_TWO = {"language": "language", "query": "question", "positive": "answer"}  # WebFAQ's, with a 1 or a 2
_KNOWN = (
    "Known layouts: id, language, query, positive; id, language, text; query_de, positive_de and so on; query, pos, "
    "neg; query, positive_passages, negative_passages; language1, language2, question1, question2, answer1, answer2. "
    "Map other names, such as columns={'query': …} or --column query=…."
)


def column_names(columns: Mapping[str, str] | None, **codes: str | Sequence[str] | None) -> dict[str, str]:
    """The source's name of each column; checks what a caller gave, before anything is read."""
    names = {name: name for name in (*ROLES, "negative", PASSAGE_LANGUAGE)}
    if unknown := [name for name in columns or {} if name not in (*names, DOCUMENT)]:
        raise ValueError(f"columns names {unknown[0]!r}, but its keys are {', '.join((*names, DOCUMENT))}.")
    for option, given in codes.items():
        for code in [given] if isinstance(given, str) else given or []:
            check_language(code, option)
    return names | dict(columns or {})


class Layout:
    """How parallel rows are made of a source with certain columns; see :func:`~st_hybrid.data.open_rows`."""

    def __init__(
        self,
        source: str,
        present: Sequence[str],
        names: Mapping[str, str],
        language: str | None,
        languages: Sequence[str] | None,
        passage_language: str | None,
        negatives: int | None,
    ) -> None:
        self.source, self.names, self.languages, self.negatives = source, dict(names), languages, negatives
        self.constant = {"language": language, PASSAGE_LANGUAGE: passage_language}  # of all rows
        if _BITEXT in present and not {self.names[role] for role in _TEXTS} & set(present):
            self.names |= dict.fromkeys(_TEXTS, _BITEXT)
        self.lists = next((pair for pair in _LISTS if pair[0] in present and names["positive"] not in present), None)
        self.sides = self._two_languages(present)
        if self.lists is not None and "query_id" in present and names["id"] not in present:
            self.names["id"] = "query_id"
        whole = any(part.keys() >= set(_TEXTS) for part in self._by_language(present).values())
        self.is_wide = language is None and names["language"] not in present and whole and self.lists is None
        if self.is_wide:
            self._wide_columns(present)
        elif not self.sides:
            self._check(present)
        for option, value in (*self.constant.items(), ("negatives", negatives)):
            if value is not None and (self.lists is None if option == "negatives" else self.sides or self.is_wide):
                raise ValueError(f"{source} has columns for this, so {option}={value!r} has no effect. Leave it out.")

    def wanted(self, name: str) -> pa.DataType | None:
        """The type to read a column of the source as, or None for a column that is not needed."""
        if name in (self.names["id"], self.names.get(DOCUMENT)):
            return IDENTIFIER
        if self.lists is not None and name in self.lists:
            return _LISTS[self.lists]
        if self.is_wide:
            found = any(map(self._is_read, self._by_language([name])))
        elif self.sides:
            found = any(name in side.values() for side in self.sides.values())
        else:
            found = name in self.names.values() or (self.lists is None and is_negative(name, self.names["negative"]))
        return pa.string() if found else None

    def rows(self, batch: NamedBatch, before: int) -> Batch | None:
        """Parallel rows of a batch, before which the source had some rows; None if there are none."""
        if self.is_wide:
            return self._interleaved(batch, before, self._wide_columns(batch.columns))
        if self.sides:
            return self._interleaved(batch, before, self.sides)
        return self._long(batch, before) if self.lists is None else self._listed(batch, before, self.lists)

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
        return means_language(code) if self.languages is None else bool(codes_of(self.languages, [code]))

    def _wide_columns(self, present: Sequence[str]) -> dict[str, dict[str, str]]:
        """The columns of the languages to read, by language and role."""
        found = self._by_language(present)
        whole = [code for code, part in found.items() if part.keys() >= set(_TEXTS)]
        query, positive = (self.names[role] for role in _TEXTS)
        if doubtful := [code for code in whole if self.languages is None and not means_language(code)]:
            raise ValueError(
                f"{self.source}: {query}_{doubtful[0]}, {positive}_{doubtful[0]} may or may not be texts in a language "
                f"{doubtful[0]!r}. Name those to read: languages=['de', 'en'], or data import rows --languages de,en."
            )
        if not any(map(self._is_read, whole)):
            raise ValueError(
                f"{self.source} has no columns such as {query}_de and {positive}_de in "
                f"{', '.join(self.languages or ())}; its columns are {', '.join(present)}."
            )
        return {code: part for code, part in found.items() if self._is_read(code)}

    def _two_languages(self, present: Sequence[str]) -> dict[str, dict[str, str]]:
        """The columns of both sides, by their numbers, where each row has its own two languages."""
        sides: dict[str, dict[str, str]] = {}
        for side in "12":
            names = {role: {f"{self.names[role]}{side}", f"{other}{side}"} for role, other in _TWO.items()}
            found = {role: name for role in names for name in present if name in names[role]}
            if found.keys() == names.keys():
                sides[side] = found
        return sides if len(sides) == 2 else {}

    def _check(self, present: Sequence[str]) -> None:
        """Refuse a source in long form, or with lists, that lacks a column."""
        optional = {role for role, value in self.constant.items() if value is not None}
        for role in optional:
            if self.names[role] in present:
                raise ValueError(
                    f"{self.source} has the column {self.names[role]!r}, so {role}={self.constant[role]!r} cannot hold "
                    "for all rows. Leave it out."
                )
        if optional or self.lists is not None or self.names[PASSAGE_LANGUAGE] in present:
            optional.add("id")  # a row is a group
        optional |= set() if self.lists is None else {"positive"}
        if missing := [role for role in ROLES if role not in optional and self.names[role] not in present]:
            mend = _KNOWN
            if TRANSLATION in present:
                mend = "Sentences with their translations are read with read_bitext (data import bitext)."
            elif {"context", "question", "answers"} <= set(present):
                mend = "Questions with answers in a context are read with read_squad (data import squad)."
            elif missing == ["language"]:
                mend = (
                    "Name it (--column language=…), or give the language of all rows: language='en', or "
                    "data import rows --language en."
                )
            raise ValueError(
                f"{self.source} has no column {', '.join(repr(self.names[role]) for role in missing)}; its columns are "
                f"{', '.join(map(repr, present))}. {mend}"
            )

    def _long(self, batch: NamedBatch, before: int) -> Batch:
        begin, table = self.names["negative"], batch.table
        given = {role: self.names[role] for role in ROLES}
        negatives = [name for name in table.column_names if is_negative(name, begin) and name not in given.values()]
        columns = _selected(table, given | {"negative" + name.removeprefix(begin): name for name in negatives})
        if self.names["id"] not in batch.columns:
            columns["id"] = self._numbers(before, len(table))
        for role in (PASSAGE_LANGUAGE, DOCUMENT):
            if self.names.get(role) in batch.columns:
                columns |= _selected(table, {role: self.names[role]})
        columns |= {role: pa.repeat(code, len(table)) for role, code in self.constant.items() if code is not None}
        return Batch(pa.table(columns), batch.place)

    def _listed(self, batch: NamedBatch, before: int, lists: tuple[str, str]) -> Batch:
        """A row for each passage of a list of positives, with the first negatives of the row's other list."""
        positives, negatives = (_Lists(batch.table, name) for name in lists)
        if self.negatives is None and negatives.lengths.any():
            raise ValueError(
                f"{self.source} has up to {negatives.lengths.max()} negatives in a row. Say how many to read: "
                "negatives=1, or data import rows --negatives 1 (0 for none)."
            )
        counts = np.maximum(positives.lengths, 1)
        row = np.repeat(np.arange(len(counts)), counts)
        others = [name for name in batch.table.column_names if name not in lists]
        single = self._long(batch._replace(table=batch.table.select(others)), before)
        table = single.table.take(pa.array(row)).drop_columns(["positive"])
        table = table.append_column("positive", positives.take(row, counting(counts)))
        for number in range(self.negatives or 0):
            table = table.append_column(f"negative_{number + 1}", negatives.take(row, np.full(len(row), number)))
        return Batch(table, lambda place: batch.place(int(row[place])))

    def _interleaved(self, batch: NamedBatch, before: int, parts: Mapping[str, Mapping[str, str]]) -> Batch | None:
        """A row for each part of a row: a language's columns in wide form, or a side."""
        table, roles = batch.table, dict.fromkeys(role for part in parts.values() for role in part)
        identifier = self._numbers(before, len(table))
        if self.names["id"] in table.column_names:
            identifier = table[self.names["id"]]
        tables = []
        for code, part in parts.items():
            columns = _selected(table, {role: part.get(role, "") for role in roles})
            tables.append(pa.table({"id": identifier, "language": pa.repeat(code, len(table)), **columns}))
        rows = interleaved(tables)
        # A group need not have all languages: where both of its texts are missing, there is no row.
        filled = np.flatnonzero(~(is_empty(rows["query"]) & is_empty(rows["positive"])))
        if not len(filled):
            return None
        return Batch(rows.take(pa.array(filled)), lambda row: batch.place(int(filled[row]) // len(parts)))

    def _numbers(self, before: int, rows: int) -> pa.Array:
        """Ids for rows without ids: the source's name and the row's number."""
        number = pa.array(np.arange(before + 1, before + rows + 1)).cast(pa.string())
        return pc.binary_join_element_wise(Path(self.source).name, number, "-")


class _Lists:
    """A column with a list of passages in each row; it may be missing."""

    def __init__(self, table: pa.Table, name: str) -> None:
        missing = pa.nulls(len(table), pa.list_(pa.string()))
        column = table[name].combine_chunks() if name in table.column_names else missing
        self.lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
        self._texts = pc.list_flatten(column)
        if pa.types.is_struct(self._texts.type):  # of a title, which may be missing or empty, and a text
            title, text = self._texts.flatten()
            title = pc.if_else(pc.equal(title, ""), None, title)
            self._texts = pc.binary_join_element_wise(title, text, " ", null_handling="skip")

    def take(self, rows: Ints, places: Ints) -> pa.Array:
        """The texts at some places of some rows' lists; null beyond the end of a list."""
        start = np.cumsum(self.lengths) - self.lengths
        return self._texts.take(pa.array(start[rows] + places, mask=places >= self.lengths[rows]))


def _selected(table: pa.Table, given: Mapping[str, str]) -> dict[str, pa.Array]:
    """Columns under other names; JSON may leave a column out in a whole batch, which then holds nulls."""
    nothing = pa.nulls(len(table), pa.string())
    return {role: table[name] if name in table.column_names else nothing for role, name in given.items()}
