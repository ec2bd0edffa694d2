"""Figures of an evaluation."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill

import numpy as np

from st_hybrid.evaluation.probe import CorpusProbe
from st_hybrid.files import replacing

Shares = Mapping[str, Mapping[str, float]]


def plot_top_languages(
    variants: Mapping[str, Shares], pool: Mapping[str, int], path: str | Path, *, title: str = ""
) -> None:
    """Draw heat maps of the languages that rank first in a pool of mixed languages, by language of the query.

    Cells are in per cent; the last row is the languages' shares of the pool. A model that prefers no language has rows
    like the last one. One that prefers the query's own has a bright diagonal.

    Args:
        variants: Title of each heat map and its ``top_10_languages`` (:class:`~st_hybrid.evaluation.RetrievalScores`).
        pool: Number of passages of each language.
        path: PNG file to write.
        title: Title of the figure.
    """
    from matplotlib.figure import Figure  # slow to import

    if not variants or not all(variants.values()):
        raise ValueError("There are no shares of languages to draw.")
    languages, last = list(pool), {language: count / sum(pool.values()) for language, count in pool.items()}
    rows = {
        name: np.array([[row.get(language, 0.0) for language in languages] for row in (*shares.values(), last)])
        for name, shares in variants.items()
    }
    highest = max(values.max() for values in rows.values())
    columns = min(len(variants), 2)
    lines = -(-len(variants) // columns)
    cell = 0.46  # inches
    width = max(columns * (1.6 + cell * len(languages)) + 1, 6)
    height = lines * (1.5 + cell * max(map(len, rows.values()))) + 0.9
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(variants) :]:
        axes.set_axis_off()
    for axes, (name, values) in zip(grid.flat, rows.items(), strict=False):
        image = axes.imshow(values, cmap="viridis", vmin=0, vmax=highest, aspect="auto")
        axes.axhline(len(values) - 1.5, color="white", linewidth=8)  # a gap before the pool's row
        for (row, column), share in np.ndenumerate(values):
            colour = "black" if share > 0.6 * highest else "white"
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, size=9)
        axes.set(title=fill(name, 40), xlabel="language of the first 10", ylabel="language of the query")
        axes.set_xticks(range(len(languages)), languages)
        axes.set_yticks(range(len(values)), [*variants[name], "pool"])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=grid, shrink=0.7, pad=0.02, format=lambda share, _: f"{100 * share:.0f}")
    bar.set_label("share of the first 10 (%)")
    bar.outline.set_visible(False)
    figure.suptitle(fill(title, int(10 * width), break_on_hyphens=False))
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def plot_probe(probe: CorpusProbe, path: str | Path, *, title: str = "") -> None:
    """Draw the share of each language among the passages nearest to its own, before and after centring.

    Args:
        probe: The measures.
        path: PNG file to write.
        title: Title of the figure.

    Example:
        ::

            import numpy as np
            from st_hybrid.evaluation import probe_embeddings
            from st_hybrid.evaluation.plots import plot_probe

            vectors = np.random.default_rng(0).standard_normal((200, 8))
            plot_probe(probe_embeddings(vectors, ["de", "en"] * 100), "probe.png")
    """
    from matplotlib.figure import Figure  # slow to import

    languages = dict(sorted(probe.languages.items(), key=lambda item: item[1].own.value + item[1].own_centered.value))
    places = np.arange(len(languages))
    figure = Figure(figsize=(8, 2.2 + 0.32 * len(languages)), layout="constrained")
    axes = figure.subplots()
    own = [(part.own_centered, part.own) for part in languages.values()]
    axes.hlines(places, *np.array([[after.value, before.value] for after, before in own]).T, color="0.85", lw=3)
    pool = [part.pool for part in languages.values()]
    axes.plot(pool, places, "|", color="0.25", markersize=14, markeredgewidth=2, label="share of the pool")
    for estimates, color, label in zip(
        zip(*own, strict=True), ("#0072b2", "#d55e00"), ("centred", "plain"), strict=True
    ):
        values = np.array([part.value for part in estimates])
        errors = np.abs(np.array([[part.low, part.high] for part in estimates]).T - values)
        axes.errorbar(values, places, xerr=errors, fmt="o", color=color, markersize=8, label=label)
    axes.set_yticks(places, [f"{code} ({part.passages:,})" for code, part in languages.items()])
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.7, len(languages) - 0.3))
    axes.set_xlabel(f"share of the own language among the {probe.k} nearest passages, with 95% intervals")
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(fill(title, 90), x=0.01, ha="left", size="medium")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
