"""The report beside decontaminated data, and what a model card may say because of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from st_hybrid.data.decontamination import Decontamination
from st_hybrid.files import sha256, write_json
from st_hybrid.provenance import provenance


@dataclass(frozen=True)
class CheckedSet:
    """An evaluation set that all training data were checked against."""

    name: str
    texts: int  #: Number of its texts.
    sha256: str  #: Checksum of the texts.
    removed: int  #: Training rows that were removed because they matched any of the sets.
    ngram: int  #: Letters per n-gram, in the weakest of the checks.
    threshold: float  #: Share of n-grams from which texts counted as overlapping, in the weakest of the checks.
    version: str  #: Version of st-hybrid that checked.


def report_path(clean: str | Path) -> Path:
    """Path of the report on a file: ``rows.jsonl.gz.decontamination.json`` beside ``rows.jsonl.gz``."""
    return Path(clean).with_name(f"{Path(clean).name}.decontamination.json")


def write_report(found: Decontamination, data: str | Path, clean: str | Path) -> None:
    """Write the report on ``data`` beside ``clean``, the file or folder that ``found.clean`` was written to."""
    report = {
        "data": Path(data).name,
        "data_sha256": sha256(data) if Path(data).exists() else None,
        "rows": found.rows,
        "groups": found.groups,
        "clean": Path(clean).name,
        "clean_sha256": sha256(clean),  # the report is valid only for content with this checksum
        "clean_rows": len(found.clean),
        "clean_groups": found.clean_groups,
        "against": [{"name": one.name, "texts": len(one.texts), "sha256": one.sha256} for one in found.against],
        "settings": asdict(found.settings),
        "matches": found.matches.to_pylist(),
        "provenance": provenance(),
    }
    write_json(report_path(clean), report)


def carry_report(data: str | Path, derived: str | Path) -> bool:
    """Copy the report on clean data to a file all of whose texts come from them, and which is therefore as clean.

    Returns whether there was a valid report.
    """
    if report := _read_report(data):
        write_json(report_path(derived), {**report, "clean": Path(derived).name, "clean_sha256": sha256(derived)})
    return report is not None


def checked_sets(data: Sequence[str | Path]) -> list[CheckedSet]:
    """Find the evaluation sets that each of several training data sets was checked against.

    A report counts if it lies beside the data, where ``st-hybrid data decontaminate`` and ``st-hybrid data mine`` write
    it, and if the data have not changed since. If one of the data sets has no valid report, there are none.

    Args:
        data: The files, folders or hub names to train on.

    Raises:
        ValueError: A file with a report's name is none.

    Example:
        ::

            from st_hybrid.data.zero_shot import checked_sets

            print(checked_sets(["clean.jsonl.gz"]))  # [] unless a report lies beside the file
    """
    reports = [report for one in data if (report := _read_report(one))]
    if not reports or len(reports) < len(data):
        return []
    by_set = [{(one["name"], one["sha256"]): one["texts"] for one in report["against"]} for report in reports]
    return [
        CheckedSet(
            name=name,
            texts=by_set[0][name, checksum],
            sha256=checksum,
            removed=sum(report["rows"] - report["clean_rows"] for report in reports),
            ngram=max(report["settings"]["ngram"] for report in reports),
            threshold=max(report["settings"]["threshold"] for report in reports),
            version=reports[0]["provenance"]["versions"]["st-hybrid"],
        )
        for name, checksum in sorted(set.intersection(*map(set, by_set)))
    ]


def zero_shot_statement(checked: Sequence[CheckedSet]) -> str:
    """The paragraph of a model card that :func:`checked_sets` justifies; empty if there are no sets."""
    if not checked:
        return ""
    sets = ", ".join(f"{one.name} ({one.texts:,} texts, SHA-256 `{one.sha256[:12]}`)" for one in checked)
    first = checked[0]
    return (
        f"The training rows were checked against {sets} with `st-hybrid data decontaminate` {first.version} "
        f"(letter {first.ngram}-grams, overlap {first.threshold:g}), which removed {first.removed:,} rows. Evaluation "
        f"on {'this set' if len(checked) == 1 else 'these sets'} is therefore zero-shot with regard to this training. "
        "The training data of the base model were not checked."
    )


def _read_report(data: str | Path) -> dict[str, Any] | None:
    """The report beside a file or folder; None if there is none, or if the content has changed since."""
    path = report_path(data)
    if not Path(data).exists() or not path.is_file():
        return None
    try:
        report: dict[str, Any] = json.loads(path.read_bytes())
        return report if report["clean_sha256"] == sha256(data) else None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a report of st-hybrid data decontaminate. Remove it, or check the data again."
        ) from error
