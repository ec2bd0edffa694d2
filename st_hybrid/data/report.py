"""What a reader read, what it left out, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True)
class Dropped:
    """Rows that a reader left out for one reason.

    Args:
        rows: Number of rows.
        first: Place of the first of them: file and line, or what the format has instead.
    """

    rows: int
    first: str


@dataclass
class ReadReport:
    """What a reader read, kept and left out. Print it with rich, or as text.

    Args:
        sources: Number of lines, rows or questions read from each file or data set.
        read: Number of parallel rows in the sources.
        kept: Number of rows kept.
        groups: Number of distinct ids of the kept rows.
        dropped: Rows left out, by reason; ``read == kept + sum(part.rows for part in dropped.values())``.
        languages: Number of kept rows per language.

    Example:
        ::

            from datasets import Dataset
            from st_hybrid.data import open_rows

            Dataset.from_list([
                {"id": 1, "language": "de", "query": "Wo nisten Störche?", "positive": "Auf Dächern."},
                {"id": 1, "language": "en", "query": "Where do storks nest?", "positive": ""},
            ]).to_json("rows.jsonl")
            print(open_rows("rows.jsonl").report)  # 1 of 2 rows kept, in 1 groups; 1 left out: no positive, …
    """

    sources: dict[str, int] = field(default_factory=dict)
    read: int = 0
    kept: int = 0
    groups: int = 0
    dropped: dict[str, Dropped] = field(default_factory=dict)
    languages: dict[str, int] = field(default_factory=dict)

    def count(self, source: str, amount: int) -> None:
        """Count lines, rows or questions of a source."""
        self.sources[source] = self.sources.get(source, 0) + amount

    def drop(self, reason: str, rows: int, place: Callable[[], str]) -> None:
        """Count rows that are left out; ``place`` names the first of them."""
        if rows:
            known = self.dropped.get(reason)
            self.dropped[reason] = Dropped(known.rows + rows, known.first) if known else Dropped(rows, place())

    def __str__(self) -> str:
        lines = [f"{self.kept:,} of {self.read:,} rows kept, in {self.groups:,} groups"]
        lines += [f"{part.rows:,} left out: {reason}, first at {part.first}" for reason, part in self.dropped.items()]
        return "; ".join(lines)

    def __rich__(self) -> Table:
        table = Table(title=f"{self.kept:,} of {self.read:,} rows in {self.groups:,} groups", title_justify="left")
        for header in ("", "rows", "first at"):
            table.add_column(header, justify="right" if header == "rows" else "left", overflow="fold")
        for rows in (
            [(f"read from {source}", amount, "") for source, amount in self.sources.items()],
            [(f"left out: {reason}", part.rows, part.first) for reason, part in self.dropped.items()],
            [(f"kept in {language}", amount, "") for language, amount in sorted(self.languages.items())],
        ):
            for name, amount, first in rows:
                table.add_row(escape(name), f"{amount:,}", escape(first))
            table.add_section()
        return table
