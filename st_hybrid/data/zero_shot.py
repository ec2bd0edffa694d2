"""The report beside decontaminated data, and what may be called zero-shot."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, try_to_load_from_cache

from st_hybrid.data.decontamination import Decontamination
from st_hybrid.files import sha256, write_json
from st_hybrid.provenance import provenance

# What mteb's metadata call an evaluation set and what it was made from: XQuAD has paragraphs of SQuAD, MIRACL questions
# of Mr. TyDi.
EVALUATION_SETS = {"XQuAD-R": r"xquad|(par)?squad(_?v?2)?$", "MLQA-R": r"mlqa", "MIRACL": r"miracl|mr-?t[iy]d"}


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


@dataclass(frozen=True)
class ZeroShot:
    """Whether the evaluation of a model on a set may be called zero-shot (None if that is not known), and why."""

    claim: bool | None
    reason: str

    def __str__(self) -> str:
        said = {True: "zero-shot", False: "not zero-shot", None: "not known to be zero-shot"}[self.claim]
        return f"{said}: {self.reason}"


def zero_shot(model: str | Path, evaluation: str) -> ZeroShot:
    """Tell whether the evaluation of a model on a set may be called zero-shot.

    It may if neither the rows of ``st-hybrid train`` nor the training data of the encoder that it started from hold the
    set or what the set was made from. The rows must have been checked (``training.json``). What encoders of the hub
    were trained on is in mteb's metadata, which need no network. What another folder was trained on is not known, but
    its name, ``config.json`` or model card may name an encoder that was trained on the set.

    Args:
        model: The folder or hub name of the model.
        evaluation: Name of the set, such as ``"XQuAD-R"``.

    Example:
        ::

            from st_hybrid.data.zero_shot import zero_shot

            print(zero_shot("sentence-transformers/LaBSE", "XQuAD-R").claim)  # True
    """
    import mteb

    known = {str(meta.name): meta for meta in mteb.get_model_metas()}
    encoders: set[str] = set()
    doubts = [] if evaluation in EVALUATION_SETS else [f"mteb's metadata do not know {evaluation}"]
    reasons, todo, seen = [], [str(model)], set[str]()
    while todo:
        seen.add(name := todo.pop())
        if run := _read_json(Path(name) / "training.json"):
            if evaluation in {one["name"] for one in run["checked_against"]}:
                reasons.append("the training rows were checked against it")
            else:
                doubts.append(f"the training rows were not checked against {evaluation}")
            todo += {run["settings"]["model"]} - seen
        elif name in known and not Path(name).is_dir():
            encoders.add(name)
        else:
            doubts.append(f"what {name} was trained on is not known")
            origins = _origins(name, known)
            encoders |= origins & known.keys()
            todo += origins - known.keys() - seen
    encoders |= {str(known[encoder].adapted_from) for encoder in encoders} & known.keys()
    for encoder in sorted(encoders):
        if (datasets := known[encoder].training_datasets) is None:
            doubts.append(f"what {encoder} was trained on is not known")
        elif held := sorted(one for one in datasets if re.match(EVALUATION_SETS.get(evaluation, "$"), one.lower())):
            return ZeroShot(False, f"{encoder} was trained on {', '.join(held)}, by mteb's metadata")
        else:
            reasons.append(f"{encoder} was not trained on it, by mteb's metadata")
    return ZeroShot(None if doubts else True, "; ".join(dict.fromkeys(doubts or reasons)))


def zero_shot_statement(model: str | Path) -> str:
    """The part of a model card on evaluation sets, from what ``training.json`` in the model's folder tells."""
    checked = _read_json(Path(model) / "training.json")["checked_against"]
    said = "The training rows were not checked against evaluation sets."
    if checked:
        sets = ", ".join(f"{one['name']} ({one['texts']:,} texts, SHA-256 `{one['sha256'][:12]}`)" for one in checked)
        first = checked[0]
        said = (
            f"The training rows were checked against {sets} with `st-hybrid data decontaminate` {first['version']} "
            f"(letter {first['ngram']}-grams, overlap {first['threshold']:g}), which removed {first['removed']:,} rows."
        )
    names = dict.fromkeys([*EVALUATION_SETS, *(one["name"] for one in checked)])
    return "\n".join([said, "", *(f"- {name}: {zero_shot(model, name)}." for name in names)])


def _origins(name: str, known: Collection[str]) -> set[str]:
    """The models that a folder was made from, as its path, configuration and card name them."""
    folder = Path(name)
    if not folder.is_dir():
        try:
            cached = try_to_load_from_cache(name, "README.md")
        except ValueError:  # the path of no folder
            return set()
        folder = Path(cached).parent if isinstance(cached, str) else folder
    alike = [one for one in known if one.endswith(f"/{folder.name}")]
    told = {*alike} if len(alike) == 1 else set()
    # The hub's cache has models--owner--name/snapshots/revision.
    told |= {"/".join(part.split("--")[1:]) for part in folder.resolve().parts if part.startswith("models--")}
    told.add(_read_json(folder / "config.json").get("_name_or_path", ""))
    if (card := folder / "README.md").is_file():
        base = ModelCard(card.read_text(encoding="utf-8"), ignore_metadata_errors=True).data.get("base_model") or []
        told |= {base} if isinstance(base, str) else {*base}
    return told - {""}


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes()) if path.is_file() else {}


def _read_report(data: str | Path) -> dict[str, Any] | None:
    """The report beside a file or folder; None if there is none, or if the content has changed since."""
    path = report_path(data)
    if not Path(data).exists() or not path.is_file():
        return None
    try:
        report: dict[str, Any] = json.loads(path.read_bytes())
        _ = [(one["name"], one["sha256"], one["texts"]) for one in report["against"]]
        _ = report["rows"] - report["clean_rows"], report["settings"]["ngram"], report["settings"]["threshold"]
        _ = report["provenance"]["versions"]["st-hybrid"]
        return report if report["clean_sha256"] == sha256(data) else None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a report of data decontaminate. Remove it.") from error
