"""The report on parallel rows: its numbers, how it prints, its JSON file and its picture."""

from __future__ import annotations

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
        near_duplicates: Largest share of the passages with a near-duplicate in another passage cluster (no limit by
            default).
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
    """The rows of one language.

    Args:
        rows: Number of rows.
        empty: Rows with an empty or missing text.
        repeated: Rows whose id has an earlier row in this language.
        duplicates: Rows with the query and positive of an earlier row.
        untranslated: Rows whose positive also occurs in another language of the group.
        query_characters: Lengths of the queries.
        positive_characters: Lengths of the positives.
        checked_texts: Texts whose language was detected; None if it was not.
        wrong_language: Those of them that are in another language.
        detected: Number of these per detected language.
        positive_tokens: Lengths of the positives in tokens; None without a model.
        too_long: Share of the positives that the model truncates.
    """

    rows: int
    empty: int
    repeated: int
    duplicates: int
    untranslated: int
    query_characters: Lengths
    positive_characters: Lengths
    checked_texts: int | None = None
    wrong_language: int | None = None
    detected: dict[str, int] = field(default_factory=dict)
    positive_tokens: Lengths | None = None
    too_long: float | None = None


@dataclass
class Example:
    """The beginning of a text with a finding, and its row, counted from 1.

    A text in another language has ``detected`` and ``confidence``, a near-duplicate passage has the row, the beginning
    and the similarity of the other passage.
    """

    row: int
    id: str
    language: str
    column: str
    text: str
    detected: str | None = None
    confidence: float | None = None
    other_row: int | None = None
    other_text: str | None = None
    similarity: float | None = None


@dataclass
class RowsReport:
    """The result of :func:`~st_hybrid.data.check.check_rows`; print it with rich.

    Args:
        rows: Number of rows.
        groups: Number of distinct ids.
        groups_by_languages: Number of groups per number of languages in them.
        languages: The rows of each language.
        clusters: Number of passage clusters of the valid rows.
        largest_cluster: Rows of the largest cluster.
        clusters_by_groups: Number of clusters per number of groups in them.
        passages: Number of distinct positives of the valid rows.
        near_duplicates: Passages with a near-duplicate in another cluster, which the loss takes for a negative; None if
            not searched for.
        examples: Texts with each finding, by its name in :class:`Limits`.
        undetectable: Languages that the detector does not know.
        options: The options of the check, by name.
        problems: A sentence for each limit that is exceeded.
    """

    rows: int
    groups: int
    groups_by_languages: dict[int, int]
    languages: dict[str, LanguageReport]
    clusters: int
    largest_cluster: int
    clusters_by_groups: dict[int, int]
    passages: int
    near_duplicates: int | None
    examples: dict[str, list[Example]]
    undetectable: list[str]
    options: Mapping[str, Any]
    problems: list[str] = field(default_factory=list)

    def total(self, finding: str) -> int:
        """Number of rows with a finding, over all languages.

        Args:
            finding: ``"empty"``, ``"repeated"``, ``"duplicates"`` or ``"untranslated"``.
        """
        return sum(getattr(report, finding) for report in self.languages.values())

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON types, without the fields that are None."""
        return asdict(self, dict_factory=lambda items: {name: value for name, value in items if value is not None})

    def write(self, path: str | Path, data: str | Path) -> None:
        """Write the report as JSON, with the name of the data and :func:`~st_hybrid.provenance.provenance`.

        Args:
            path: The file.
            data: The data that were checked.
        """
        write_json(path, {"data": Path(data).name, **self.to_dict(), **provenance()})

    def plot(self, path: str | Path) -> None:
        """Draw the number of groups that have each language, and per number of languages.

        Args:
            path: The file; its suffix decides the format, such as ``.png``.
        """
        from matplotlib.figure import Figure

        # An id has one row per language, except for repeated rows.
        by_language = {code: report.rows - report.repeated for code, report in self.languages.items()}
        languages = sorted(by_language, key=lambda code: -by_language[code])
        bars = {"#4c72b0": (languages, [by_language[code] for code in languages])}
        bars["#55a868"] = ([str(number) for number in self.groups_by_languages], [*self.groups_by_languages.values()])
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for axis, (color, (names, groups)) in zip(axes, bars.items(), strict=True):
            axis.bar_label(axis.bar(names, groups, color=color), fmt="{:,.0f}", fontsize=7)
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(axis="y", alpha=0.3)
        axes[0].set(xlabel="language", ylabel="groups", title="Groups per language")
        axes[1].set(xlabel="number of languages", title=f"Groups per number of languages ({self.groups:,} groups)")
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=120, format=Path(path).suffix.lstrip(".") or "png")

    def find_problems(self, limits: Limits) -> list[str]:
        """A sentence for each limit that is exceeded."""
        problems = []
        for finding, said in (
            ("empty", "have an empty text"),
            ("repeated", "repeat the id and language of an earlier row"),
            ("duplicates", "repeat the texts of an earlier row"),
        ):
            if self.total(finding) > getattr(limits, finding) * self.rows:
                limit = getattr(limits, finding)
                problems.append(f"{self.total(finding):,} of {self.rows:,} rows {said} (limit {limit:.4g}).")
        for code, report in self.languages.items():
            wrong, checked = report.wrong_language or 0, report.checked_texts or 0
            if wrong > limits.wrong_language * checked:
                problems.append(
                    f"{code}: {wrong:,} of {checked:,} checked texts are in another language, most often in "
                    f"{max(report.detected, key=report.detected.__getitem__)} (limit {limits.wrong_language:.4g})."
                )
            if report.untranslated > limits.untranslated * report.rows:
                problems.append(
                    f"{code}: {report.untranslated:,} of {report.rows:,} positives also occur in another language of "
                    f"their group (limit {limits.untranslated:.4g})."
                )
        near, limit = self.near_duplicates, limits.near_duplicates
        if near is not None and limit is not None and near > limit * self.passages:
            problems.append(
                f"{near:,} of {self.passages:,} passages have a near-duplicate in another passage cluster "
                f"(limit {limit:.4g})."
            )
        return problems

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        has_tokens = any(report.positive_tokens for report in self.languages.values())
        table = Table(
            title=f"{self.rows:,} rows in {self.groups:,} groups, {len(self.languages)} languages, "
            f"{self.clusters:,} passage clusters",
            caption="Wrong language: of the texts checked. Untranslated: the positive also occurs in another language "
            "of the group. Characters and tokens: median and 95th percentile.",
        )
        table.add_column("")
        headers = ["rows", "empty", "repeated", "wrong\nlanguage", "untrans-\nlated", "query\ncharacters"]
        for header in [*headers, "positive\ncharacters", *(["positive\ntokens", "too long"] if has_tokens else [])]:
            table.add_column(header, justify="right")
        for code, report in self.languages.items():
            wrong = "" if report.checked_texts is None else f"{report.wrong_language:,}/{report.checked_texts:,}"
            cells = [f"{number:,}" for number in (report.rows, report.empty, report.repeated + report.duplicates)]
            lengths = [report.query_characters, report.positive_characters, report.positive_tokens]
            spreads = [f"{one.median:,} {one.percentile_95:,}" if one else "" for one in lengths[: 2 + has_tokens]]
            too_long = [f"{report.too_long or 0:.1%}"] if has_tokens else []
            table.add_row(code, *cells, wrong, f"{report.untranslated:,}", *spreads, *too_long)
        yield table
        sizes = ", ".join(f"{groups:,} with {number}" for number, groups in self.groups_by_languages.items())
        yield f"Groups by number of languages: {sizes}. Largest passage cluster: {self.largest_cluster:,} rows."
        if self.near_duplicates is not None:
            yield (
                f"Passages with a near-duplicate in another passage cluster: {self.near_duplicates:,} of "
                f"{self.passages:,}."
            )
        if self.undetectable:
            yield f"Languages that cannot be detected: {', '.join(self.undetectable)}."
        yield from (f"[bold red]{problem}[/]" for problem in self.problems)
        if not self.problems:
            yield "[green]Every finding is within its limit.[/]"
