"""The figures of a study's report: each with its numbers."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from st_hybrid.evaluation.results import MULTI, PLAIN
from st_hybrid.files import replacing
from st_hybrid.study.grid import Measure
from st_hybrid.study.results import RANK_DISTANCE, Key, Results, in_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Drawn", "figures"]

# Okabe and Ito's palette, which readers with any colour vision tell apart, without black and yellow.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKERS = ("o", "s", "^", "D", "v", "P")
SHOWN: tuple[Measure, ...] = ("Mo.", "Cr.", "Mul.", RANK_DISTANCE)
_INK = "#010203"  # stands for the colour of the page's text


@dataclass(frozen=True)
class Drawn:
    """A figure: its name for files, its title, its numbers, and the picture for the page."""

    name: str
    title: str
    numbers: pd.DataFrame
    svg: str


def figures(results: Results, logs: Mapping[str, Sequence[Mapping[str, Any]]], output: Path) -> list[Drawn]:
    """Draw every figure that the study has something for; write each as PNG and its numbers as CSV."""
    styles = {
        method: {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}
        for number, method in enumerate(results.grid.methods)
    }
    drawn = []
    # Of trained models the plain scores, and of starts also the free variants, which cost no training.
    shown = [key for key in results.scores if key.variant == PLAIN or key.budget is None]
    for task in dict.fromkeys(key.task for key in shown):
        keys = [key for key in in_order(results, shown) if key.task == task]
        for make in (_by_size, _by_fraction, _by_alpha, _by_cost):
            drawn += make(results, keys, styles, output)
        drawn += _pairs(results, keys, output)
    return drawn + _learning(results, logs, styles, output)


def _lines(
    name: str,
    title: str,
    frame: pd.DataFrame,
    label: str,
    styles: Mapping[str, Mapping[str, str]],
    output: Path,
    *,
    log: bool = False,
    ticks: Mapping[Any, str] | None = None,
    joined: bool = True,
) -> list[Drawn]:
    """A panel per measure, a colour per method, a dot per seed and a line through the means."""
    lines = {key: ("-", ":", "--", "-.")[number % 4] for number, key in enumerate(dict.fromkeys(frame["variant"]))}

    def draw(axes: "Axes", measure: str) -> None:
        of_measure = frame[frame["measure"] == measure]
        for (method, variant), own in of_measure.groupby(["method", "variant"], sort=False):
            style, line = styles[method], lines[variant] if joined else "none"
            axes.plot(own["x"], own["score"], style["marker"], color=style["color"], alpha=0.55, ms=5, mew=0)
            means = own.groupby("x")["score"].mean()
            shown = method if variant == PLAIN else f"{method}, {variant}"
            axes.plot(means.index, means, color=style["color"], ls=line, marker=style["marker"], ms=7, label=shown)
        axes.set(title=measure, xlabel=label)
        if log:
            axes.set_xscale("log")
            axes.minorticks_off()
        if ticks:
            axes.set_xticks([*ticks], [*ticks.values()])

    measures = [measure for measure in SHOWN if frame.loc[frame["measure"] == measure, "score"].notna().any()]
    return [_save(name, title, frame, _panels(measures, draw), output)]


def _frame(results: Results, keys: Sequence[Key], x: Callable[[Key], float | None]) -> pd.DataFrame:
    """Every seed's score of every measure of some keys."""
    rows = []
    for key in keys:
        if (place := x(key)) is None:
            continue
        seeds, scores = results.scores[key]
        for measure in SHOWN:
            for seed, score in zip(seeds, scores[measure].mean(axis=1), strict=True):
                rows.append({**key._asdict(), "x": place, "seed": seed, "measure": measure, "score": float(score)})
    return pd.DataFrame(rows)


def _groups(keys: Sequence[Key], *left: str) -> dict[tuple[Any, ...], list[Key]]:
    """Keys that agree in all but some fields and the method."""
    found: dict[tuple[Any, ...], list[Key]] = {}
    fields = [field for field in Key._fields if field not in (*left, "method", "variant", "task")]
    for key in keys:
        found.setdefault(tuple(getattr(key, field) for field in fields), []).append(key)
    return found


def _named(what: str, task: str, group: Sequence[Any]) -> tuple[str, str]:
    parts = [task, *(str(part) for part in group if part not in (None, 1.0))]
    return "-".join([what.replace(" ", "-"), *(re.sub(r"[^\w.]+", "-", part) for part in parts)]), ", ".join(parts)


def _by_size(results: Results, keys: Sequence[Key], styles: Any, output: Path) -> list[Drawn]:
    drawn: list[Drawn] = []
    untrained = [key for key in keys if key.budget is None]
    for group, own in _groups([key for key in keys if key.budget is not None], "model").items():
        if len({results.sizes[key.model] for key in own}) < 2:
            continue
        starts = [key for key in untrained if key.data == own[0].data]
        frame = _frame(results, [*own, *starts], lambda key: results.sizes[key.model])
        ticks = {results.sizes[key.model]: f"{results.sizes[key.model] / 1e6:.3g}" for key in own}
        name, about = _named("size", own[0].task, group)
        label = "active parameters (millions)"
        title = f"Quality and the size of the encoder: {about}"
        drawn += _lines(name, title, frame, label, styles, output, log=True, ticks=ticks)
    return drawn


def _by_fraction(results: Results, keys: Sequence[Key], styles: Any, output: Path) -> list[Drawn]:
    drawn: list[Drawn] = []
    for group, own in _groups([key for key in keys if key.budget is not None], "fraction").items():
        shares = sorted({key.fraction for key in own})
        if len(shares) < 2:
            continue
        name, about = _named("data", own[0].task, group)
        frame, ticks = _frame(results, own, lambda key: key.fraction), {share: f"{share:.3g}" for share in shares}
        title = f"Quality and the amount of data: {about}"
        drawn += _lines(name, title, frame, "share of the groups", styles, output, log=True, ticks=ticks)
    return drawn


def _by_alpha(results: Results, keys: Sequence[Key], styles: Any, output: Path) -> list[Drawn]:
    drawn: list[Drawn] = []

    def alpha(key: Key) -> float | None:
        method = results.grid.methods.get(key.method)
        if method is None or set(method) - {"alpha", "sampler"} or method.get("sampler") in ("mixture", "x-x"):
            return None
        return float(results.grid.recipe_of(key.model, key.method).sampler_options["alpha"])

    for group, own in _groups([key for key in keys if key.budget is not None]).items():
        frame = _frame(results, own, alpha)
        if len(frame) == 0 or frame["x"].nunique() < 4:
            continue
        name, about = _named("alpha", own[0].task, group)
        frame["method"] = "alpha"
        one = {"alpha": {"color": COLORS[0], "marker": "o"}}
        drawn += _lines(name, f"Quality and alpha: {about}", frame, "share of monolingual batches", one, output)
    return drawn


def _by_cost(results: Results, keys: Sequence[Key], styles: Any, output: Path) -> list[Drawn]:
    seconds: dict[tuple[Any, ...], list[float]] = {}
    for cell in results.cells:
        if cell.state == "done" and cell.about["steps"]:
            names = tuple(cell.settings[field] for field in ("model", "data", "fraction", "budget", "method"))
            seconds.setdefault(names, []).append(cell.about["train_seconds"])

    def cost(key: Key) -> float | None:
        found = seconds.get((key.model, key.data, key.fraction, key.budget, key.method))
        return float(np.mean(found)) / 60 if found else None

    frame = _frame(results, keys, cost)
    if len(frame) == 0 or frame["x"].nunique() < 3:
        return []
    name, about = _named("cost", keys[0].task, ())
    title = f"Quality and the time of training: {about}"
    return _lines(name, title, frame, "minutes of training", styles, output, log=True, joined=False)


def _pairs(results: Results, keys: Sequence[Key], output: Path) -> list[Drawn]:
    """Heat maps of the first declared contrast for the largest model: of its method, and of the gain."""
    for contrast in results.grid.contrasts[:1]:
        own = [key for key in keys if key.method == contrast.method]
        for key in own[-1:]:
            other = results.beside(key, contrast.against)
            if other not in results.pairs:
                continue
            found = results.pairs[key]
            columns = [*(code for code in found.index if code in found), *({MULTI} & {*found.columns})]
            maps = {contrast.method: found[columns]}
            maps[f"gain over {contrast.against}"] = (found - results.pairs[other])[columns]
            figure = _panels([*maps.items()], _heat_map, width=5.2, height=4.4)
            name, about = _named("language pairs", key.task, (key.model, key.data, key.budget))
            numbers = pd.concat(maps).reset_index(names=["values", "query language"])
            return [_save(name, f"mAP of language pairs (%): {about}", numbers, figure, output)]
    return []


def _heat_map(axes: "Axes", panel: tuple[str, pd.DataFrame]) -> None:
    """A cell per language of query and pool; gains in colours of both signs."""
    name, frame = panel
    values, gain = frame.to_numpy(), name.startswith("gain over ")
    reach = float(np.nanmax(np.abs(values))) if gain else 1.0
    axes.imshow(values, cmap="RdBu" if gain else "viridis", vmin=-reach if gain else 0, vmax=reach, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        dark = abs(value) < 0.55 * reach if gain else value > 0.6
        said = f"{100 * value:+.0f}" if gain else f"{100 * value:.0f}"
        axes.text(column, row, said, ha="center", va="center", size=7, color="#111111" if dark else "#ffffff")
    axes.set(title=name, xlabel="language of the pool", ylabel="language of the query")
    axes.set_xticks(range(values.shape[1]), frame.columns, rotation=90 if values.shape[1] > 8 else 0)
    axes.set_yticks(range(values.shape[0]), frame.index)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _learning(
    results: Results, logs: Mapping[str, Sequence[Mapping[str, Any]]], styles: Any, output: Path
) -> list[Drawn]:
    """The training loss of every cell, to show whether a training was cut while it still improved."""
    rows = []
    for cell in results.cells:
        for entry in logs.get(cell.cell, ()):
            for kind in ("loss_monolingual", "loss_cross_lingual"):
                if kind in entry:
                    rows.append({**cell.settings, "step": entry["step"], "kind": kind, "loss": entry[kind]})
    frame = pd.DataFrame(rows)
    if len(frame) == 0 or frame["step"].nunique() < 3:
        return []
    models = sorted(frame["model"].unique(), key=lambda model: results.sizes.get(model, 0))
    kinds = {"loss_monolingual": "monolingual batches", "loss_cross_lingual": "cross-lingual batches"}

    def draw(axes: "Axes", panel: tuple[str, str]) -> None:
        model, kind = panel
        for method in (method for method in styles if method in set(frame["method"])):
            own = frame[(frame["model"] == model) & (frame["kind"] == kind) & (frame["method"] == method)]
            for (_, budget), part in own.groupby(["data", "budget"], sort=False):
                means = part.groupby("step")["loss"].mean()
                first = budget == next(iter(results.grid.budgets))
                axes.plot(means.index, means, color=styles[method]["color"], lw=1.3, label=method if first else None)
        axes.set(title=f"{model}, {kinds[kind]}", xlabel="step", ylabel="loss")

    panels = [(model, kind) for model in models for kind in kinds if kind in set(frame["kind"])]
    return [_save("learning", "Learning curves, means over seeds", frame, _panels(panels, draw), output)]


def _panels(
    panels: Sequence[Any], draw: Callable[["Axes", Any], None], *, width: float = 3.6, height: float = 3.2
) -> "Figure":
    from matplotlib.figure import Figure  # slow to import

    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(width * columns, height * lines + 0.5), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    labels: dict[str, Any] = {}
    for axes, panel in zip(grid.flat, panels, strict=False):
        axes.grid(color=_INK, alpha=0.12)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes, panel)
        handles, names = axes.get_legend_handles_labels()
        labels |= dict(zip(names, handles, strict=True))
        if axes.images:
            axes.grid(False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    if labels:
        figure.legend(
            labels.values(), labels.keys(), loc="outside lower center", ncols=min(3, len(labels)), frameon=False
        )
    return figure


def _save(name: str, title: str, numbers: pd.DataFrame, figure: "Figure", output: Path) -> Drawn:
    """Write the picture and the numbers, and give the picture as SVG in the colours of the page."""
    import matplotlib as mpl

    with replacing(output / f"{name}.png") as path:
        figure.savefig(path, dpi=150, format="png", facecolor="white")
    with replacing(output / f"{name}.csv") as path:
        numbers.to_csv(path, index=False)
    for axes in figure.axes:
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()):
            text.set_color(_INK)
        axes.tick_params(colors=_INK)
        axes.spines[:].set_color(_INK)
        axes.set_facecolor("none")
    for legend in figure.legends:
        for text in legend.get_texts():
            text.set_color(_INK)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r'<svg ([^>]*?)width="[^"]+" height="[^"]+"|<svg ([^>]*?)height="[^"]+"', r"<svg \1\2", svg, count=1)
    # Ids are per figure: several share the page.
    return Drawn(name, title, numbers, re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg))
