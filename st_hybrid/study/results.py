"""What a study found: the score of each question, by cell, and the declared contrasts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from st_hybrid.evaluation.per_query import read_per_query
from st_hybrid.evaluation.results import MULTI, PLAIN
from st_hybrid.study.cells import CELLS, CellStatus, study_status
from st_hybrid.study.grid import Grid, Measure, Question, read_grid
from st_hybrid.study.statistics import Estimate, adjusted, difference, slope

__all__ = ["Key", "Results", "Tested", "read_results"]

Doubles = npt.NDArray[np.float64]
MEASURES: tuple[Measure, ...] = get_args(Measure)
RANK_DISTANCE: Measure = "rank distance"
LOWER_IS_BETTER: tuple[Measure, ...] = (RANK_DISTANCE, "entropy")


class Key(NamedTuple):
    """What the seeds of a study repeat: everything but the seed."""

    task: str
    model: str
    data: str
    fraction: float
    budget: str | None  #: None for a start as it is.
    method: str
    variant: str  #: "plain", "quotas", or with language means subtracted "centered: …".

    @property
    def shown(self) -> str:
        """The method, with its variant unless that is the plain one."""
        return self.method if self.variant == PLAIN else f"{self.method}, {self.variant}"


@dataclass(frozen=True)
class Tested:
    """A declared contrast under one model, part of the data and budget."""

    key: Key  #: Its method is the first of the contrast.
    against: str
    measure: Measure
    question: Question
    margin: float
    estimate: Estimate  #: Of the gain: more is better in every measure.
    p: float
    adjusted_p: float  #: After Holm, over all that was declared.

    @property
    def holds(self) -> bool:
        """Whether the method is better, or not worse than the margin allows, at the 5% level after Holm."""
        good = self.estimate.value > (0 if self.question == "superiority" else -self.margin)
        return good and self.adjusted_p < 0.05


@dataclass(frozen=True)
class Results:
    """The scores of a study's cells that are done."""

    grid: Grid
    cells: list[CellStatus]
    folder: Path
    #: The score of each question by measure, the mean of its languages, ``(seeds, questions)``, and the seeds.
    scores: Mapping[Key, tuple[list[int], dict[Measure, Doubles]]]
    pairs: Mapping[Key, pd.DataFrame]  #: Mean mAP of each pair of languages of query and pool, over the seeds.
    sizes: Mapping[str, int]  #: Active parameters of each model.

    def paired(self, key: Key, other: Key, measure: Measure) -> tuple[Doubles, Doubles] | None:
        """The scores of two keys on the seeds that both have, or None. A start of one seed stands for each."""
        if key not in self.scores or other not in self.scores:
            return None
        (seeds, first), (others, second) = self.scores[key], self.scores[other]
        if not self._repeats(other):
            return first[measure], np.repeat(second[measure][:1], len(seeds), axis=0)
        shared = sorted({*seeds} & {*others})
        if not shared:
            return None
        return first[measure][[seeds.index(seed) for seed in shared]], second[measure][
            [others.index(seed) for seed in shared]
        ]

    def beside(self, key: Key, method: str) -> Key:
        """The key of another method beside one; a start as it is has neither budget nor share of the data."""
        other = key._replace(method=method)
        return other._replace(fraction=1.0, budget=None) if self.grid.methods[method] is None else other

    def _repeats(self, key: Key) -> bool:
        """Whether the seed means something for a key: not for a start as it is, unless its weights are drawn."""
        return key.budget is not None or self.grid.models[key.model].scratch is not None

    @cached_property
    def tested(self) -> list[Tested]:
        """The declared contrasts, wherever both methods have scores."""
        found: list[tuple[Key, str, Measure, Question, float, Estimate, float]] = []
        for contrast in self.grid.contrasts:
            for key in (key for key in self.scores if key.method == contrast.method and key.variant == PLAIN):
                other = self.beside(key, contrast.against)
                for measure, question in contrast.measures.items():
                    if (both := self.paired(key, other, measure)) is None or np.isnan(both).any():
                        continue
                    sign = -1 if measure in LOWER_IS_BETTER else 1
                    estimate = difference(sign * both[0], sign * both[1])
                    superior = question == "superiority"
                    p = estimate.p_superior() if superior else estimate.p_non_inferior(contrast.margin)
                    found.append((key, contrast.against, measure, question, contrast.margin, estimate, p))
        p_values = adjusted([p for *_, p in found]) if found else []
        return [Tested(*one, adjusted_p=p) for one, p in zip(found, p_values, strict=True)]

    def slopes(self) -> list[tuple[str, str, Key, Measure, Estimate]]:
        """How each declared gain changes when the size doubles, where three sizes or more have it."""
        found = []
        for contrast in self.grid.contrasts:
            families: dict[Key, dict[int, Key]] = defaultdict(dict)
            for key in (key for key in self.scores if key.method == contrast.method and key.variant == PLAIN):
                families[key._replace(model="")][self.sizes[key.model]] = key
            for family, by_size in families.items():
                for measure in MEASURES:
                    parts = {}
                    for size, key in sorted(by_size.items()):
                        both = self.paired(key, self.beside(key, contrast.against), measure)
                        if both is not None and not np.isnan(both).any():
                            parts[size] = both[0] - both[1]
                    if len(parts) >= 3 and len({part.shape[1] for part in parts.values()}) == 1:
                        estimate = slope(list(parts), list(parts.values()))
                        found.append((contrast.method, contrast.against, family, measure, estimate))
        return found


def read_results(study: str | Path) -> Results:
    """Read the scores of all cells of a study that are done.

    Args:
        study: Folder of the study.

    Raises:
        FileNotFoundError: The folder holds no study.

    Example:
        ::

            from st_hybrid.study.cells import run_study
            from st_hybrid.study.results import read_results

            run_study("grid.yaml", "study")
            for key, (seeds, scores) in read_results("study").scores.items():
                print(key.model, key.method, len(seeds), scores["Mul."].mean())
    """
    folder = Path(study)
    cells, grid = study_status(folder), read_grid(folder / "grid.yaml")
    done = [cell for cell in cells if cell.state == "done"]
    seeds: dict[Key, list[int]] = defaultdict(list)
    scores: dict[Key, list[dict[Measure, Doubles]]] = defaultdict(list)
    pairs: dict[Key, list[pd.DataFrame]] = defaultdict(list)
    for cell in done:
        table = read_per_query(folder / CELLS / cell.cell / "scores.per-query.parquet").to_pandas()
        for (task, variant), part in table.groupby(["task", "variant"], sort=False):
            names = (cell.settings[field] for field in ("model", "data", "fraction", "budget", "method"))
            key = Key._make((task, *names, variant))
            seeds[key].append(cell.settings["seed"])
            scores[key].append(_of_questions(part))
            pairs[key].append(part.pivot_table(index="query_language", columns="pool", values="map"))
    sizes = {
        str(cell.settings["model"]): int(cell.about["active_parameters"]) for cell in cells if cell.state == "done"
    }
    stacked = {
        key: (seeds[key], {measure: np.stack([one[measure] for one in of_seeds]) for measure in MEASURES})
        for key, of_seeds in scores.items()
    }
    means = {key: sum(of_seeds[1:], of_seeds[0]) / len(of_seeds) for key, of_seeds in pairs.items()}
    return Results(grid, cells, folder, stacked, means, sizes)


def _of_questions(table: pd.DataFrame) -> dict[Measure, Doubles]:
    """The mean of each question over its languages, by measure; questions in the order of their ids."""
    own, multi = table["pool"] == table["query_language"], table["pool"] == MULTI

    def means(rows: "pd.Series[bool]", column: str) -> Doubles:
        found: Any = table.loc[rows].groupby("query_id")[column].mean()
        return np.asarray(found.reindex(questions), dtype=np.float64)

    questions = sorted(table["query_id"].unique())
    return {
        "Mo.": means(own, "map"),
        "Cr.": means(~own & ~multi, "map"),
        "Mul.": means(multi, "map"),
        RANK_DISTANCE: means(multi, "rank_distance"),
        "PEER": means(multi, "peer_at_20"),
        "entropy": means(multi, "contrastive_entropy"),
    }


def in_order(results: Results, keys: Iterable[Key]) -> list[Key]:
    """Keys in the order of the grid: task, data, budget, model by size, method."""
    data, budgets, methods = ([*names] for names in (results.grid.data, results.grid.budgets, results.grid.methods))

    def place(key: Key) -> tuple[Any, ...]:
        budget = -1 if key.budget is None else budgets.index(key.budget)
        where = key.task, data.index(key.data), -key.fraction, budget, results.sizes[key.model]
        return *where, methods.index(key.method), key.variant != PLAIN, key.variant

    return sorted(keys, key=place)
