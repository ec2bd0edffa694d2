"""What a reader read, what it left out, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True)
class Dropped:
    """Rows that a reader left out for one reason.

    Args:
        rows: How many.
        first: Where the first of them stands: file and line, or whatever the format has.
    """

    rows: int
    first: str


@dataclass(frozen=True)
class ReadReport:
    """What a reader read, kept and left out; print it with rich, or as text.

    Args:
        sources: What was read of each file or data set, in its own units: lines of a file, rows, questions.
        read: Parallel rows that these could have given.
        kept: Rows that they gave.
        groups: Distinct ids of the kept rows.
        dropped: Rows left out, by reason; ``read == kept + sum(part.rows for part in dropped.values())``.
        languages: Kept rows of each language.

    Example:
        ::

            from rich import print
            from st_hybrid.data import read_files

            rows, report = read_files("rows.jsonl.gz")
            print(report)
            print({reason: part.rows for reason, part in report.dropped.items()})
    """

    sources: Mapping[str, int]
    read: int
    kept: int
    groups: int
    dropped: Mapping[str, Dropped]
    languages: Mapping[str, int]

    def __str__(self) -> str:
        lines = [f"{self.kept:,} of {self.read:,} rows kept, in {self.groups:,} groups"]
        lines += [f"{part.rows:,} left out: {reason}, first at {part.first}" for reason, part in self.dropped.items()]
        return "; ".join(lines)

    def __rich__(self) -> Table:
        table = Table(title=f"{self.kept:,} of {self.read:,} rows in {self.groups:,} groups", title_justify="left")
        for header in ("", "rows", "first at"):
            table.add_column(header, justify="right" if header == "rows" else "left", overflow="fold")
        for source, amount in self.sources.items():
            table.add_row(escape(f"read of {source}"), f"{amount:,}", "")
        table.add_section()
        for reason, part in self.dropped.items():
            table.add_row(escape(f"left out: {reason}"), f"{part.rows:,}", escape(part.first))
        table.add_section()
        for language, amount in sorted(self.languages.items()):
            table.add_row(f"kept in {language}", f"{amount:,}", "")
        return table


@dataclass
class Tally:
    """The report while it grows."""

    sources: dict[str, int] = field(default_factory=dict)
    read: int = 0
    dropped: dict[str, Dropped] = field(default_factory=dict)

    def source(self, name: str, amount: int) -> None:
        """Count what was read of a file."""
        self.sources[name] = self.sources.get(name, 0) + amount

    def drop(self, reason: str, rows: int, first: str) -> None:
        """Count rows that are left out."""
        if rows:
            known = self.dropped.get(reason, Dropped(0, first))
            self.dropped[reason] = Dropped(known.rows + rows, known.first)
