"""What a model card may say about evaluation sets that the training rows were checked against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from st_hybrid.data.decontamination import read_report


@dataclass(frozen=True)
class CheckedSet:
    """An evaluation set that all training data were checked against.

    Args:
        name: Its name.
        texts: Its number of texts.
        sha256: The fingerprint of its texts.
        removed: Training rows that were removed because of a match with any of the sets checked.
        ngram: Letters of an n-gram, in the weakest of the checks.
        threshold: Share of n-grams that two texts could share less than, in the weakest of the checks.
        version: Version of st-hybrid that checked.
    """

    name: str
    texts: int
    sha256: str
    removed: int
    ngram: int
    threshold: float
    version: str


def checked_sets(data: Sequence[str | Path]) -> list[CheckedSet]:
    """Find the evaluation sets that every one of several training data sets was checked against.

    A report counts if it lies beside the data, as ``st-hybrid data decontaminate`` writes it and ``st-hybrid data
    mine`` takes it over, and if its checksum is that of the data as they are now.

    Args:
        data: Files, folders or hub names that are trained on; a hub name was never checked.

    Returns:
        The sets that all of the data were checked against, sorted by name; none if one of the data has no valid report.

    Example:
        ::

            from st_hybrid.data.zero_shot import checked_sets

            print([one.name for one in checked_sets(["clean.jsonl.gz"])])
    """
    reports = [read_report(one) for one in data]
    if not reports or None in reports:
        return []
    by_set = [{(one["name"], one["sha256"]): one for one in report["against"]} for report in reports if report]
    return [
        CheckedSet(
            name=name,
            texts=by_set[0][name, sha256]["texts"],
            sha256=sha256,
            removed=sum(report["data"]["rows"] - report["clean"]["rows"] for report in reports if report),
            ngram=max(report["method"]["ngram"] for report in reports if report),
            threshold=max(report["method"]["threshold"] for report in reports if report),
            version=reports[0]["versions"]["st-hybrid"] if reports[0] else "",
        )
        for name, sha256 in sorted(set.intersection(*(set(part) for part in by_set)))
    ]


def zero_shot_statement(checked: Sequence[CheckedSet]) -> str:
    """Say what the check allows to say, and no more.

    Args:
        checked: What :func:`checked_sets` found.

    Returns:
        A paragraph for a model card; empty if nothing was checked.
    """
    if not checked:
        return ""
    sets = ", ".join(f"{one.name} ({one.texts:,} texts, SHA-256 `{one.sha256[:12]}`)" for one in checked)
    first = checked[0]
    return (
        f"The training rows were checked against {sets} with `st-hybrid data decontaminate` {first.version} "
        f"(letter {first.ngram}-grams, overlap {first.threshold:g}), which removed {first.removed:,} rows. As far as "
        f"this training goes, evaluation on {'it' if len(checked) == 1 else 'them'} is zero-shot; what the starting "
        "model had been trained on was not checked."
    )
