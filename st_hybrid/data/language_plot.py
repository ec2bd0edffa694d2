"""Which languages the groups of parallel rows have, as a picture."""

from __future__ import annotations

from pathlib import Path

from st_hybrid.data.check import RowsReport


def plot_languages(report: RowsReport, path: str | Path) -> None:
    """Draw how many groups have each language, and how many groups have how many languages.

    Args:
        report: What :func:`~st_hybrid.data.check.check_rows` found.
        path: File to write; the suffix says the format, such as ``.png``.
    """
    from matplotlib.figure import Figure

    codes = sorted(report.languages, key=lambda code: -report.languages[code]["rows"])
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    by_language, by_number = figure.subplots(1, 2, sharey=True)
    # An id has at most one row a language, but for those that the check counts as repeated.
    counts = [report.languages[code]["rows"] - report.languages[code]["repeated"] for code in codes]
    by_language.bar(codes, counts, color="#4c72b0")
    by_language.set(xlabel="language", ylabel="groups", title="Groups that have a language")
    by_number.bar(
        [str(number) for number in report.groups_by_languages],
        list(report.groups_by_languages.values()),
        color="#55a868",
    )
    by_number.set(xlabel="languages of a group", title=f"Languages of a group ({report.groups:,} groups)")
    for axes in (by_language, by_number):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        axes.bar_label(axes.containers[0], fmt="{:,.0f}", fontsize=7)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
