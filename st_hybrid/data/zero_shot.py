"""The report beside decontaminated data, and what a model card may say because of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from st_hybrid.data.decontamination import Decontamination
from st_hybrid.data.overlap import OverlapSettings
from st_hybrid.files import sha256, write_json
from st_hybrid.provenance import provenance


@dataclass(frozen=True)
class EvaluationSet:
    """An evaluation set: its number of texts, their checksum, and the checksums of the files that they come from."""

    name: str
    texts: int
    sha256: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class DecontaminationReport:
    """What was checked against which evaluation sets, and the file that is clean.

    ``data`` was checked; it has no checksum if it is a name on the hub. ``clean`` holds the rows that were left, or
    texts from them; the report is valid only for content with its checksum. The other fields are those of
    :class:`~st_hybrid.data.decontamination.Decontamination` and :func:`~st_hybrid.provenance.provenance`.
    """

    data: str
    data_sha256: str | None
    rows: int
    groups: int
    clean: str
    clean_sha256: str
    clean_rows: int
    clean_groups: int
    against: Sequence[EvaluationSet]
    settings: OverlapSettings
    matches: Sequence[Mapping[str, Any]]
    provenance: Mapping[str, Any]


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


def write_report(found: Decontamination, data: str | Path, clean: str | Path) -> DecontaminationReport:
    """Write the report beside the clean file.

    Args:
        found: The result of :func:`~st_hybrid.data.decontamination.decontaminate`.
        data: The file, folder or hub name that was checked.
        clean: The file or folder that ``found.clean`` was written to.
    """
    report = DecontaminationReport(
        data=Path(data).name,
        data_sha256=sha256(data) if Path(data).exists() else None,
        rows=found.rows,
        groups=found.groups,
        clean=Path(clean).name,
        clean_sha256=sha256(clean),
        clean_rows=len(found.clean),
        clean_groups=found.clean_groups,
        against=[EvaluationSet(one.name, len(one.texts), one.sha256, dict(one.files)) for one in found.against],
        settings=found.settings,
        matches=found.matches.to_pylist(),
        provenance=provenance(),
    )
    write_json(report_path(clean), asdict(report))
    return report


def carry_report(data: str | Path, derived: str | Path) -> bool:
    """Copy the report on clean data to a file all of whose texts come from them, and which is therefore as clean.

    Args:
        data: The file or folder that the texts come from. Without a valid report beside it, nothing is written.
        derived: The file or folder that was made from it.

    Returns:
        Whether a report was copied.
    """
    report = _read_report(data)
    if report is not None:
        report = replace(report, clean=Path(derived).name, clean_sha256=sha256(derived))
        write_json(report_path(derived), asdict(report))
    return report is not None


def checked_sets(data: Sequence[str | Path]) -> list[CheckedSet]:
    """Find the evaluation sets that each of several training data sets was checked against.

    A report counts if it lies beside the data, where ``st-hybrid data decontaminate`` and ``st-hybrid data mine`` write
    it, and if the data have not changed since.

    Args:
        data: The files, folders or hub names to train on.

    Returns:
        The sets in the order of their names. Empty if one of the data sets has no valid report.

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
    by_set = [{(one.name, one.sha256): one.texts for one in report.against} for report in reports]
    return [
        CheckedSet(
            name=name,
            texts=by_set[0][name, checksum],
            sha256=checksum,
            removed=sum(report.rows - report.clean_rows for report in reports),
            ngram=max(report.settings.ngram for report in reports),
            threshold=max(report.settings.threshold for report in reports),
            version=reports[0].provenance["versions"]["st-hybrid"],
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


def _read_report(data: str | Path) -> DecontaminationReport | None:
    """The report beside a file or folder; None if there is none, or if the content has changed since."""
    path = report_path(data)
    if not Path(data).exists() or not path.is_file():
        return None
    try:
        report = TypeAdapter(DecontaminationReport).validate_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{path} is not a report of st-hybrid data decontaminate. Remove it, or check the data again.\n{error}"
        ) from error
    return report if report.clean_sha256 == sha256(data) else None
