"""What was translated, what was left out, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from st_hybrid.translation.checks import REASONS


@dataclass(frozen=True)
class LanguageReport:
    """What came of one target language.

    Args:
        rows: Rows translated into it.
        suspicious: How many of them are suspicious, by the first reason that holds for one of their texts.
        identified: Whether the texts' language could be checked.
    """

    rows: int
    suspicious: Mapping[str, int]
    identified: bool


@dataclass(frozen=True)
class TranslationReport:
    """What was translated and what was left out; print it with rich, or as text.

    Args:
        given: Rows that were given.
        groups: Their distinct ids.
        kept: Rows of the result, the given ones among them.
        languages: What came of each target language.
        kept_suspicious: Whether suspicious rows are among those kept.
        pieces: Distinct sentences to translate, over all target languages.
        reused: How many of these an earlier run had translated.
        tokens: Tokens of those that this run translated.
        seconds: How long that took.

    Example:
        ::

            from rich import print

            rows, report = translate_rows(rows, ["de", "fr"], translator)
            print(report)
            print(report.languages["de"].suspicious)
    """

    given: int
    groups: int
    kept: int
    languages: Mapping[str, LanguageReport]
    kept_suspicious: bool
    pieces: int
    reused: int
    tokens: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The report for a JSON file."""
        return asdict(self)

    def __str__(self) -> str:
        what = "marked" if self.kept_suspicious else "left out"
        lines = [f"{self.kept:,} rows in {self.groups:,} groups, {self.given:,} of them given"]
        for language, part in self.languages.items():
            reasons = ", ".join(f"{name} {amount:,}" for name, amount in part.suspicious.items())
            unchecked = "" if part.identified else "; whether it is that language was not checked"
            lines.append(
                f"{language}: {part.rows:,} translated, {sum(part.suspicious.values()):,} {what}"
                f"{f' ({reasons})' if reasons else ''}{unchecked}"
            )
        return "; ".join(lines)

    def __rich__(self) -> Table:
        what = "marked" if self.kept_suspicious else "left out"
        table = Table(
            title=f"{self.kept:,} rows in {self.groups:,} groups, {self.given:,} of them given",
            caption=f"{self.pieces:,} sentences, {self.reused:,} of them translated before; "
            f"{self.tokens:,} tokens in {self.seconds:,.0f} s",
            title_justify="left",
            caption_justify="left",
        )
        table.add_column("")
        for language in self.languages:
            table.add_column(language, justify="right")
        table.add_row("translated", *(f"{part.rows:,}" for part in self.languages.values()))
        for name, meaning in REASONS.items():
            amounts = [part.suspicious.get(name, 0) for part in self.languages.values()]
            skipped = [name == "language" and not part.identified for part in self.languages.values()]
            if any(amounts) or any(skipped):
                cells = [
                    "not checked" if skip else f"{amount:,}" for skip, amount in zip(skipped, amounts, strict=True)
                ]
                table.add_row(f"{what}: {name} ({meaning})", *cells)
        return table
