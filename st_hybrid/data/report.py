"""What a reader read, what it left out, and why."""

from collections.abc import Callable
from dataclasses import dataclass, field

from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True)
class Dropped:
    """Rows that a reader left out, or mended, for one reason.

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
        mended: Rows kept after a correction, by what was wrong.

    Example:
        ::

            from st_hybrid.data import open_rows

            print(open_rows("rows.jsonl").report)
    """

    sources: dict[str, int] = field(default_factory=dict)
    read: int = 0
    kept: int = 0
    groups: int = 0
    dropped: dict[str, Dropped] = field(default_factory=dict)
    languages: dict[str, int] = field(default_factory=dict)
    mended: dict[str, Dropped] = field(default_factory=dict)

    def count(self, source: str, amount: int) -> None:
        """Count lines, rows or questions of a source."""
        self.sources[source] = self.sources.get(source, 0) + amount

    def drop(self, reason: str, rows: int, place: Callable[[], str]) -> None:
        """Count rows that are left out; ``place`` names the first of them."""
        _add(self.dropped, reason, rows, place)

    def mend(self, remark: str, rows: int, place: Callable[[], str]) -> None:
        """Count rows that are kept after a correction; ``place`` names the first of them."""
        _add(self.mended, remark, rows, place)

    def __str__(self) -> str:
        lines = [f"{self.kept:,} of {self.read:,} rows kept, in {self.groups:,} groups"]
        for what, parts in (("left out", self.dropped), ("mended", self.mended)):
            lines += [f"{part.rows:,} {what}: {reason}, first at {part.first}" for reason, part in parts.items()]
        return "; ".join(lines)

    def __rich__(self) -> Table:
        table = Table(title=f"{self.kept:,} of {self.read:,} rows in {self.groups:,} groups", title_justify="left")
        for header in ("", "rows", "first at"):
            table.add_column(header, justify="right" if header == "rows" else "left", overflow="fold")
        for rows in (
            [(f"read from {source}", amount, "") for source, amount in self.sources.items()],
            [(f"left out: {reason}", part.rows, part.first) for reason, part in self.dropped.items()],
            [(f"mended: {reason}", part.rows, part.first) for reason, part in self.mended.items()],
            [(f"kept in {language}", amount, "") for language, amount in sorted(self.languages.items())],
        ):
            for name, amount, first in rows:
                table.add_row(escape(name), f"{amount:,}", escape(first))
            table.add_section()
        return table


def _add(parts: dict[str, Dropped], reason: str, rows: int, place: Callable[[], str]) -> None:
    if rows:
        known = parts.get(reason)
        parts[reason] = Dropped(known.rows + rows, known.first) if known else Dropped(rows, place())
