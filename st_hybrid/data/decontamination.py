"""Training rows that share text with evaluation sets: found, reported and left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray
from rich.console import Console, RenderableType
from rich.progress import track
from rich.table import Table

from st_hybrid.data.evaluation_texts import EvaluationTexts
from st_hybrid.data.letters import letters
from st_hybrid.data.overlap import KnownTexts, OverlapSettings
from st_hybrid.files import sha256
from st_hybrid.pairs import pair_text, parallel_pairs
from st_hybrid.provenance import provenance

Ints = NDArray[np.int64]

_CHUNK = 1 << 16
_SHOWN = 20
_SUFFIX = ".decontamination.json"


@dataclass(frozen=True)
class Decontamination:
    """What :func:`decontaminate` found.

    Args:
        clean: The rows that are left.
        matches: A row for each text that overlaps with an evaluation set, with its largest overlap: ``row``, ``id``,
            ``language``, ``column``, ``evaluation`` (the set), ``evaluation_id`` (the text in it), ``kind``
            (``"exact"`` or ``"near"``) and ``overlap``.
        against: The evaluation sets.
        settings: When texts overlap.
        rows: Rows before.
        groups: Groups before.
        clean_groups: Groups that are left.
    """

    clean: Dataset
    matches: pa.Table
    against: Sequence[EvaluationTexts]
    settings: OverlapSettings
    rows: int
    groups: int
    clean_groups: int

    def __rich__(self) -> RenderableType:
        """The matches, the largest overlaps first."""
        matches = self.matches.sort_by([("overlap", "descending"), ("row", "ascending")])
        dropped = f"{self.rows - len(self.clean):,} rows in {self.groups - self.clean_groups:,} groups left out"
        title = f"{len(matches):,} texts overlap; {dropped}"
        if not len(matches):
            return f"{title}."
        table = Table(title=title, title_justify="left")
        for header in ("row", "language", "column", "evaluation text", "kind", "overlap"):
            table.add_column(header, overflow="fold", justify="right" if header in ("row", "overlap") else "left")
        for match in matches.slice(0, _SHOWN).to_pylist():
            table.add_row(
                f"{match['row']:,}",
                match["language"],
                match["column"],
                f"{match['evaluation']} {match['evaluation_id']}",
                match["kind"],
                f"{match['overlap']:.2f}",
            )
        if len(matches) > _SHOWN:
            table.add_row("…", f"{len(matches) - _SHOWN:,} more")
        return table


def decontaminate(
    rows: Dataset,
    against: Sequence[EvaluationTexts],
    settings: OverlapSettings | None = None,
    *,
    id_column: str = "id",
    language_column: str = "language",
    query_column: str = "query",
    positive_column: str = "positive",
    show_progress_bar: bool = False,
) -> Decontamination:
    """Find the rows that share text with evaluation sets, and leave out all that belongs to them.

    Queries, positives and negatives are compared with every text of the sets, whatever its language: as wholes, and by
    the n-grams that one text has of the other, so an evaluation text within a longer passage, a cut one and a lightly
    edited one are found (:class:`~st_hybrid.data.overlap.KnownTexts`). A paraphrase or a translation is not; but where
    one language of a group is found, the whole group goes, and with it all groups of its passage cluster.

    Args:
        rows: Parallel rows.
        against: Evaluation sets, as of :func:`~st_hybrid.data.evaluation_texts.read_evaluation_texts`.
        settings: When texts overlap.
        id_column: As for :func:`~st_hybrid.parallel_pairs`.
        language_column: As for :func:`~st_hybrid.parallel_pairs`.
        query_column: As for :func:`~st_hybrid.parallel_pairs`.
        positive_column: As for :func:`~st_hybrid.parallel_pairs`.
        show_progress_bar: Show how far it has come.

    Returns:
        The clean rows and what was found.

    Raises:
        ValueError: The rows are not valid parallel rows, or no evaluation set is given.

    Example:
        ::

            from st_hybrid.data import open_rows
            from st_hybrid.data.decontamination import decontaminate
            from st_hybrid.data.evaluation_texts import read_evaluation_texts

            found = decontaminate(open_rows("rows.jsonl").rows, [read_evaluation_texts("XQuAD-R", "data")])
            print(found.matches.to_pandas(), len(found.clean))
    """
    if not against:
        raise ValueError("Name at least one evaluation set to compare with.")
    settings = settings or OverlapSettings()
    pairs = parallel_pairs(
        rows,
        id_column=id_column,
        language_column=language_column,
        query_column=query_column,
        positive_column=positive_column,
        partners=1,
    )
    about = pair_text(pairs)
    names = [query_column, positive_column, *about.negative_columns]
    columns = about.texts.with_format("arrow")[:]
    every = pa.chunked_array([chunk.cast(pa.large_string()) for name in names for chunk in columns[name].chunks])
    encoded = every.combine_chunks().dictionary_encode()
    distinct, code = encoded.dictionary, encoded.indices.to_numpy()

    sets = [(one, KnownTexts(letters(one.texts), settings)) for one in against]
    best = [_Best(len(distinct)) for _ in sets]
    starts: Any = range(0, len(distinct), _CHUNK)
    if show_progress_bar:
        starts = track(starts, description="Comparing texts", console=Console(stderr=True))
    for start in starts:
        part = letters(distinct.slice(start, _CHUNK))
        for (_, known), chosen in zip(sets, best, strict=True):
            chosen.take(*known.find(part), offset=start)

    table = rows.select_columns([id_column, language_column]).with_format("arrow")[:]
    matches = []
    for one, chosen in zip(against, best, strict=True):
        place = np.flatnonzero(chosen.known[code] >= 0)
        row, match = place % len(rows), code[place]
        matches.append(
            pa.table(
                {
                    "row": row,
                    "id": table[id_column].take(row).cast(pa.string()),
                    "language": table[language_column].take(row).cast(pa.string()),
                    "column": pa.array(names, pa.string()).take(place // len(rows)),
                    "evaluation": pa.repeat(one.name, len(row)),
                    "evaluation_id": one.ids.take(chosen.known[match]),
                    "kind": pc.if_else(pa.array(chosen.exact[match], pa.bool_()), "exact", "near"),
                    "overlap": np.round(chosen.overlap[match], 4),
                }
            )
        )
    found = pa.concat_tables(matches).sort_by("row")
    cluster = np.array(about.keys["cluster"])
    dropped = np.isin(cluster, cluster[found["row"].to_numpy()])
    kept = np.flatnonzero(~dropped)
    ids = table[id_column]
    return Decontamination(
        clean=rows.select(kept),
        matches=found,
        against=list(against),
        settings=settings,
        rows=len(rows),
        groups=pc.count_distinct(ids).as_py(),
        clean_groups=pc.count_distinct(ids.take(kept)).as_py(),
    )


def report_path(clean: str | Path) -> Path:
    """Where the report on a clean file lies: beside it, ``rows.jsonl.gz.decontamination.json``."""
    clean = Path(clean)
    return clean.with_name(clean.name + _SUFFIX)


def write_report(found: Decontamination, data: str | Path, clean: str | Path) -> dict[str, Any]:
    """Write what was found beside the clean file, which the report knows by its checksum.

    Args:
        found: What :func:`decontaminate` gave.
        data: What was checked; a file's or folder's checksum goes into the report.
        clean: The clean file, as it was written.

    Returns:
        The report: ``data`` and ``clean`` (name, SHA-256, rows, groups), ``against`` (name, texts, SHA-256 of the
        texts and of the files), ``method``, ``matches``, and what :func:`~st_hybrid.provenance.provenance` says.
    """
    sources = [
        {"name": one.name, "texts": len(one.texts), "sha256": one.sha256, "files": dict(one.files)}
        for one in found.against
    ]
    about = provenance()
    about["versions"] |= {name: version(name) for name in ("datasets", "pyarrow", "scipy")}
    report = {
        "data": _described(data, found.rows, found.groups),
        "clean": _described(clean, len(found.clean), found.clean_groups),
        "against": sources,
        "method": {
            "compared": "letters and digits after NFKC and case folding, whole and by n-grams",
            "dropped": "the passage clusters of all rows with a match",
            **asdict(found.settings),
        },
        "matches": found.matches.to_pylist(),
        **about,
    }
    _save(report, report_path(clean))
    return report


def read_report(data: str | Path) -> dict[str, Any] | None:
    """Find the report on some data, if it holds for them as they are now.

    Args:
        data: A clean file or folder, or one that :func:`carry_report` knows of.

    Returns:
        The report; None if there is none, or if the data have changed since.

    Raises:
        ValueError: What lies there is no report.
    """
    path = report_path(data)
    if not Path(data).exists() or not path.is_file():
        return None
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        valid = report.get("derived", report["clean"])["sha256"] == sha256(data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a report of st-hybrid data decontaminate ({error!r}). Remove it, or check the data again."
        ) from error
    return report if valid else None


def carry_report(data: str | Path, derived: str | Path) -> bool:
    """Take the report on clean data over to a file all of whose texts are theirs: such a file is as clean.

    Args:
        data: The clean file or folder; with any other data nothing happens.
        derived: What was made of it, as it was written.

    Returns:
        Whether there was a report to take over.

    Raises:
        ValueError: What lies beside the data is no report.
    """
    report = read_report(data)
    if report is not None:
        made = {"name": Path(derived).name, "sha256": sha256(derived), "by": provenance()["command"]}
        _save({**report, "derived": made}, report_path(derived))
    return report is not None


def _save(report: dict[str, Any], path: Path) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)


def _described(path: str | Path, rows: int, groups: int) -> dict[str, Any]:
    return {
        "name": Path(path).name,
        "sha256": sha256(path) if Path(path).exists() else None,
        "rows": rows,
        "groups": groups,
    }


class _Best:
    """Each text's largest overlap with a set."""

    def __init__(self, texts: int) -> None:
        self.known = np.full(texts, -1)
        self.overlap = np.zeros(texts)
        self.exact = np.zeros(texts, dtype=bool)

    def take(
        self, text: Ints, known: Ints, overlap: NDArray[np.float64], exact: NDArray[np.bool_], *, offset: int
    ) -> None:
        order = np.lexsort((overlap, exact, text))  # a text's last is its best
        last = order[np.flatnonzero(np.diff(text[order], append=-1))]
        self.known[text[last] + offset] = known[last]
        self.overlap[text[last] + offset] = overlap[last]
        self.exact[text[last] + offset] = exact[last]
