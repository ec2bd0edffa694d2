"""The report on parallel rows: its numbers, how it prints, its JSON file and its picture."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from st_hybrid.files import replacing, write_json
from st_hybrid.provenance import provenance


@dataclass(frozen=True)
class Limits:
    """How much of each finding is acceptable, as a share in [0, 1].

    Args:
        empty: Largest share of the rows with an empty or missing text.
        repeated: Largest share of the rows whose id has an earlier row in their language. Training refuses such rows.
        duplicates: Largest share of the rows with the language, query and positive of an earlier row.
        wrong_language: Largest share of a language's checked texts that are in another language.
        untranslated: Largest share of a language's rows whose positive also occurs in another language of the group.
        near_duplicates: Largest share of the passages with a near-duplicate in another passage cluster (no limit).
    """

    empty: float = 0.0
    repeated: float = 0.0
    duplicates: float = 0.01
    wrong_language: float = 0.01
    untranslated: float = 0.05
    near_duplicates: float | None = None


class Lengths(NamedTuple):
    """Median, 95th percentile and maximum of the lengths of texts."""

    median: int
    percentile_95: int
    maximum: int


@dataclass
class LanguageReport:
    """The rows of one language."""

    rows: int
    empty: int  #: Rows with an empty or missing text.
    repeated: int  #: Rows whose id has an earlier row in this language.
    duplicates: int  #: Rows with the query and positive of an earlier row.
    untranslated: int  #: Rows whose positive also occurs in another language of the group.
    query_characters: Lengths
    positive_characters: Lengths
    checked_texts: int | None = None  #: Texts whose language was detected; None if it was not.
    wrong_language: int | None = None  #: Those of them that are in another language.
    detected: dict[str, int] = field(default_factory=dict)  #: Number of these per detected language.
    positive_tokens: Lengths | None = None  #: None without a model.
    too_long: float | None = None  #: Share of the positives that the model truncates.


@dataclass
class RowsReport:
    """The result of :func:`~st_hybrid.data.check.check_rows`; print it with rich.

    ``examples`` has texts with each finding, by its name in :class:`Limits`: the ``row``, counted from 1, ``id``,
    ``language``, ``column`` and the beginning of the ``text``. A text in another language has ``detected`` and
    ``confidence``; a near-duplicate has ``other_row``, ``other_text`` and ``similarity``.
    """

    rows: int
    groups: int  #: Distinct ids.
    groups_by_languages: dict[int, int]  #: Number of groups per number of languages in them.
    languages: dict[str, LanguageReport]
    clusters: int  #: Passage clusters of the valid rows.
    largest_cluster: int  #: Rows of the largest cluster.
    clusters_by_groups: dict[int, int]  #: Number of clusters per number of groups in them.
    passages: int  #: Distinct positives of the valid rows.
    near_duplicates: int | None  #: Passages with a near-duplicate in another cluster, a negative to the loss.
    examples: dict[str, list[dict[str, Any]]]
    undetectable: list[str]  #: Languages that the detector does not know.
    options: Mapping[str, Any]  #: The options of the check, by name.
    problems: list[str] = field(default_factory=list)  #: A sentence for each limit that is exceeded.

    def total(self, finding: str) -> int:
        """Number of rows ``"empty"``, ``"repeated"``, ``"duplicates"`` or ``"untranslated"``, over all languages."""
        return sum(getattr(report, finding) for report in self.languages.values())

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON types, without the fields that are None."""
        return asdict(self, dict_factory=lambda items: {name: value for name, value in items if value is not None})

    def write(self, path: str | Path, data: str | Path) -> None:
        """Write the report as JSON, with the name of the data and :func:`~st_hybrid.provenance.provenance`."""
        write_json(path, {"data": Path(data).name, **self.to_dict(), **provenance()})

    def plot(self, path: str | Path) -> None:
        """Draw the number of groups that have each language, and per number of languages, to ``.png`` or another."""
        from matplotlib.figure import Figure

        # An id has one row per language, except for repeated rows.
        of_language = Counter({code: report.rows - report.repeated for code, report in self.languages.items()})
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        drawn = (of_language.most_common(), "#4c72b0"), (self.groups_by_languages.items(), "#55a868")
        for axis, (groups, color) in zip(axes, drawn, strict=True):
            bars = axis.bar([str(name) for name, _ in groups], [count for _, count in groups], color=color)
            axis.bar_label(bars, fmt="{:,.0f}", fontsize=7)
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(axis="y", alpha=0.3)
        axes[0].set(xlabel="language", ylabel="groups", title="Groups per language")
        axes[1].set(xlabel="number of languages", title=f"Groups per number of languages ({self.groups:,} groups)")
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=120, format=Path(path).suffix.lstrip(".") or "png")

    def find_problems(self, limits: Limits) -> list[str]:
        """A sentence for each limit that is exceeded."""
        of_rows = {
            "empty": "rows have an empty text",
            "repeated": "rows repeat the id and language of an earlier row",
            "duplicates": "rows repeat the texts of an earlier row",
        }
        found = [(getattr(limits, name), self.total(name), self.rows, "", said) for name, said in of_rows.items()]
        for code, one in self.languages.items():
            most = max(one.detected, key=one.detected.__getitem__, default="")
            said = f"checked texts are in another language, most often in {most}"
            found.append((limits.wrong_language, one.wrong_language or 0, one.checked_texts or 0, f"{code}: ", said))
            said = "positives also occur in another language of their group"
            found.append((limits.untranslated, one.untranslated, one.rows, f"{code}: ", said))
        if limits.near_duplicates is not None and self.near_duplicates is not None:
            said = "passages have a near-duplicate in another passage cluster"
            found.append((limits.near_duplicates, self.near_duplicates, self.passages, "", said))
        return [
            f"{where}{number:,} of {whole:,} {said} (limit {limit:.4g})."
            for limit, number, whole, where, said in found
            if number > limit * whole
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        has_tokens = any(one.positive_tokens for one in self.languages.values())
        table = Table(
            title=f"{self.rows:,} rows in {self.groups:,} groups, {self.clusters:,} passage clusters",
            caption="Untranslated: the positive also occurs in another language. Lengths: median and 95th percentile.",
        )
        table.add_column("")
        headers = ["rows", "empty", "repeated", "wrong\nlanguage", "untrans-\nlated", "query\ncharacters"]
        for header in [*headers, "positive\ncharacters", *(["positive\ntokens", "too long"] if has_tokens else [])]:
            table.add_column(header, justify="right")
        for code, one in self.languages.items():
            wrong = "" if one.checked_texts is None else f"{one.wrong_language:,}/{one.checked_texts:,}"
            cells = [f"{number:,}" for number in (one.rows, one.empty, one.repeated + one.duplicates)]
            cells += [wrong, f"{one.untranslated:,}"]
            lengths = one.query_characters, one.positive_characters, one.positive_tokens
            cells += [f"{spread.median:,} {spread.percentile_95:,}" if spread else "" for spread in lengths]
            table.add_row(code, *cells[:7], *([cells[7], f"{one.too_long or 0:.1%}"] if has_tokens else []))
        yield table
        sizes = ", ".join(f"{groups:,} with {number}" for number, groups in self.groups_by_languages.items())
        yield f"Groups by number of languages: {sizes}. Largest passage cluster: {self.largest_cluster:,} rows."
        if (near := self.near_duplicates) is not None:
            yield f"Passages with a near-duplicate in another passage cluster: {near:,} of {self.passages:,}."
        if self.undetectable:
            yield f"Languages that cannot be detected: {', '.join(self.undetectable)}."
        yield from (f"[bold red]{problem}[/]" for problem in self.problems)
        if not self.problems:
            yield "[green]Every finding is within its limit.[/]"
