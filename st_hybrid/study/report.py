"""The report of a study: one page that holds everything, and the same in Markdown."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader

from st_hybrid.evaluation.results import MULTI
from st_hybrid.files import replacing
from st_hybrid.study.cells import CELLS
from st_hybrid.study.figures import Drawn, figures
from st_hybrid.study.grid import Measure
from st_hybrid.study.results import MEASURES, RANK_DISTANCE, Key, Results, in_order, read_results
from st_hybrid.study.statistics import Estimate, difference, mixed_slope

__all__ = ["write_report"]

Row = list[str]


@dataclass(frozen=True)
class Table:
    """A table of text."""

    header: Row
    rows: list[Row]
    title: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    title: str
    texts: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Drawn] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)

    @property
    def has_content(self) -> bool:
        """Whether there is anything but text."""
        return any(table.rows for table in self.tables) or bool(self.figures or self.blocks)


def write_report(study: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of a study: ``report.html``, ``report.md``, and each figure as PNG with its numbers as CSV.

    The declared contrasts come first. The page needs no server and no network.

    Args:
        study: Folder of the study.
        output: Folder to write (``report`` in the study's by default).

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: The folder holds no study.
        ValueError: No cell is done.

    Example:
        ::

            from st_hybrid.study.cells import run_study
            from st_hybrid.study.report import write_report

            run_study("grid.yaml", "study")
            print(write_report("study"))
    """
    results = read_results(study)
    if not results.scores:
        raise ValueError(f"No cell of {study} is done. Run it: st-hybrid study run.")
    output = Path(study) / "report" if output is None else Path(output)
    output.mkdir(parents=True, exist_ok=True)
    cells = {cell.cell: results.folder / CELLS / cell.cell for cell in results.cells if cell.state == "done"}
    logs = {name: _read(place / "training.json").get("log", []) for name, place in cells.items()}
    drawn = figures(results, logs, output)
    sections = [
        _contrasts(results),
        _slopes(results),
        *_scores(results),
        _languages(results),
        Section("Figures", figures=drawn),
        _missing(results),
        _origin(results, cells.values()),
    ]
    sections = [section for section in sections if section.has_content]
    done = sum(cell.state == "done" for cell in results.cells)
    lead = (
        f"{done} of {len(results.cells)} cells are done. Scores are means over questions, each in all its languages, "
        "and over seeds. Intervals hold 95%, over questions and seeds at once."
    )
    title = f"Study {Path(study).resolve().name}"
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    page = environment.get_template("report.html").render(title=title, lead=lead, sections=sections)
    with replacing(output / "report.html") as path:
        path.write_text(page, encoding="utf-8")
    with replacing(output / "report.md") as path:
        path.write_text(_markdown(title, lead, sections), encoding="utf-8")
    return output / "report.html"


def _contrasts(results: Results) -> Section:
    """What was declared, and whether it holds."""
    header = ["contrast", "where", "measure", "question", "gain", "p (Holm)", "holds", "detectable"]
    rows = []
    for one in results.tested:
        asked = "better" if one.question == "superiority" else f"not worse by {one.margin:g}"
        digits = 1 if one.measure == RANK_DISTANCE else 4
        rows.append(
            [
                f"{one.key.method} against {one.against}",
                _where(one.key),
                one.measure,
                asked,
                f"{one.estimate.value:+.{digits}f}\n{_interval(one.estimate, digits)}",
                f"{one.adjusted_p:.2g}",
                "yes" if one.holds else "no",
                f"{one.estimate.detectable:.{digits}f}",
            ]
        )
    texts = [
        "A positive gain is good in every measure: of rank distance and entropy it is the decrease. Holm's adjustment "
        "is over all rows. The last column is the smallest gain that this design finds in four cases of five. Where it "
        "is larger than what you care for, no means that it could not have been seen.",
    ]
    return Section("Declared contrasts", texts, [Table(header, rows)])


def _slopes(results: Results) -> Section:
    header = ["contrast", "where", "measure", "change per doubling", "95% interval", "mixed model"]
    rows = []
    for method, against, family, measure, estimate in results.slopes():
        digits = 2 if measure == RANK_DISTANCE else 5
        rows.append(
            [
                f"{method} minus {against}",
                _where(family),
                measure,
                f"{estimate.value:+.{digits}f}",
                _interval(estimate, digits),
                _by_mixed_model(results, method, against, family, measure, digits),
            ]
        )
    sizes = len(set(results.sizes.values()))
    texts = [
        f"The slope of the difference on log2 of the active parameters (without embeddings), over {sizes} sizes. The "
        "interval is over questions and seeds. No power law is fitted."
    ]
    return Section("Does the gain change with the size of the encoder?", texts, [Table(header, rows)])


def _by_mixed_model(results: Results, method: str, against: str, family: Key, measure: Measure, digits: int) -> str:
    """The slope and its standard error by statsmodels, if it is installed and several seeds tell trainings apart."""
    parts: dict[int, Any] = {}
    for model, size in results.sizes.items():
        key = family._replace(model=model)
        if (both := results.paired(key, results.beside(key, against), measure)) is not None:
            parts[size] = both[0] - both[1]
    if min(len(part) for part in parts.values()) < 2:
        return ""
    try:
        value, error = mixed_slope(list(parts), list(parts.values()))
    except ImportError:
        return ""
    return f"{value:+.{digits}f} ± {error:.{digits}f}" if np.isfinite(error) else ""


def _scores(results: Results) -> list[Section]:
    """The paper's first table: every method, with intervals."""
    sections = []
    for task in dict.fromkeys(key.task for key in results.scores):
        groups: dict[Key, list[Row]] = {}
        keys = in_order(results, (key for key in results.scores if key.task == task))
        starts = [key for key in keys if key.budget is None]
        for key in (key for key in keys if key.budget is not None):
            group = key._replace(method="", variant="")
            if group not in groups:
                own = (one for one in starts if (one.model, one.data) == (key.model, key.data))
                groups[group] = [_row(results, one) for one in own]
            groups[group].append(_row(results, key))
        for key in starts if not groups else ():
            groups.setdefault(key._replace(method="", variant=""), []).append(_row(results, key))
        header = ["method", "seeds", *MEASURES, "median"]
        tables = [Table(header, rows, _where(group)) for group, rows in groups.items()]
        texts = [
            "Mo., Cr. and Mul. are mAP. Less is better of rank distance, whose median over questions is last, and of "
            "entropy, the contrastive entropy in the pool of all languages."
        ]
        sections.append(Section(f"Scores on {task}", texts, tables))
    return sections


def _row(results: Results, key: Key) -> Row:
    """A method's scores."""
    seeds, scores = results.scores[key]
    cells = [_with_interval(scores[measure], 0 if measure == RANK_DISTANCE else 3) for measure in MEASURES]
    distances = scores[RANK_DISTANCE]
    return [key.shown, str(len(seeds)), *cells, "" if np.isnan(distances).any() else f"{np.median(distances):,.0f}"]


def _languages(results: Results) -> Section:
    """Mul. of query languages that were in the training and of those that were not."""
    trained = {
        (cell.settings["data"]): set(cell.about["languages"])
        for cell in results.cells
        if cell.state == "done" and cell.about["languages"]
    }
    rows = []
    for key in in_order(results, [*results.pairs]):
        multi = results.pairs[key].get(MULTI)
        if multi is None or key.data not in trained:
            continue
        seen = multi.index.isin(trained[key.data])
        if seen.all() or not seen.any():
            continue
        cells = [f"{multi[part].mean():.3f}" for part in (seen, ~seen)]
        rows.append([key.shown, f"{key.task}, {_where(key)}", *cells, ", ".join(multi.index[~seen])])
    texts = ["Mul. by whether the language of the query was in the training rows."]
    return Section("Seen and unseen languages", texts, [Table(["method", "where", "seen", "unseen", "which"], rows)])


def _missing(results: Results) -> Section:
    rows = []
    for cell in results.cells:
        if cell.state != "done":
            names = ", ".join(str(value) for value in cell.settings.values() if value is not None)
            rows.append([names, cell.state, cell.about.get("error", ""), cell.cell])
    return Section("Cells that are not done", [], [Table(["cell", "state", "error", "folder"], rows)])


def _origin(results: Results, places: Iterable[Path]) -> Section:
    """Where the numbers come from, and what may be called zero-shot."""
    environments, claims = [], set()
    said = {True: "zero-shot", None: "not known to be zero-shot", False: "not zero-shot"}
    for place in places:
        about = _read(place / "environment.json")
        versions = ", ".join(" ".join(one) for one in about["versions"].items())
        environments.append(f"{about['date']}, {about['hardware']}, {versions}\n{about['command']}")
        scores = _read(place / "scores.json")
        for task, claim in scores.get("zero_shot", {}).items():
            claims.add(f"{task}: {said[claim['claim']]}; {claim['reason']}".replace(str(scores["model"]), "the model"))
    cells = (
        f"{cell.cell} {', '.join(str(value) for value in cell.settings.values() if value is not None)}"
        for cell in results.cells
    )
    blocks = [(results.folder / "grid.yaml").read_text(encoding="utf-8"), "\n".join(dict.fromkeys(environments))]
    blocks += ["\n".join(sorted(claims))] * bool(claims) + ["\n".join(cells)]
    texts = ["The grid, the environments, what may be called zero-shot, and the folder of each cell."]
    return Section("Where these numbers come from", texts, blocks=blocks)


def _with_interval(scores: Any, digits: int) -> str:
    if np.isnan(scores).any():
        return ""
    low, high = difference(scores, np.zeros_like(scores), resamples=1000).interval
    return f"{scores.mean():,.{digits}f}\n[{low:,.{digits}f}, {high:,.{digits}f}]"


def _interval(estimate: Estimate, digits: int) -> str:
    low, high = estimate.interval
    return f"[{low:+.{digits}f}, {high:+.{digits}f}]"


def _where(key: Key) -> str:
    fraction = f"{key.fraction:.3g} of the data" if key.fraction < 1 else None
    return ", ".join(str(part) for part in (key.model or None, key.data, fraction, key.budget) if part is not None)


def _markdown(title: str, lead: str, sections: Sequence[Section]) -> str:
    parts = [f"# {title}", lead]
    for section in sections:
        parts += [f"## {section.title}", *section.texts]
        for table in section.tables:
            lines = [table.header, ["---", *["---:"] * (len(table.header) - 1)], *table.rows]
            rows = "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)
            parts += [f"### {table.title}", rows] if table.title else [rows]
        parts += [f"![{figure.title}]({figure.name}.png)\n\n[Numbers]({figure.name}.csv)" for figure in section.figures]
        parts += [f"```text\n{block.rstrip()}\n```" for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _escaped(cell: str) -> str:
    """Text for a cell of Markdown, in which HTML counts."""
    return cell.replace("\n", " ").replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;")


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
