"""Means over the subsets of a task that belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mteb import TaskResult

from st_hybrid.evaluation.miracl import PAPER_LANGUAGES
from st_hybrid.evaluation.results import MEASURES, MULTI

MIRACL_MEASURES = ("ndcg_at_10", "recall_at_100")
LAREQA_MEASURES = (*MEASURES, "rank_distance")


def setting_of(subset: str) -> str:
    """The setting of a subset: ``"en-en"`` is monolingual, ``"en-de"`` cross-lingual, ``"en-multi"`` multilingual."""
    query, pool = subset.split("-")
    return "multilingual" if pool == MULTI else "monolingual" if query == pool else "cross_lingual"


def group_means(result: TaskResult) -> dict[str, dict[str, float]]:
    """Means of a result over the subsets that belong together, where mteb averages over all subsets.

    Args:
        result: A result of ``XQuAD-R``, ``MLQA-R`` or ``MIRACL``, fresh or from a file.

    Returns:
        For XQuAD-R and MLQA-R the means of ``monolingual``, ``cross_lingual`` and ``multilingual``; for MIRACL those of
        ``all`` languages and, if the result has them, of the 15 of the ``paper`` (arXiv 2408.10536). Each has the
        measures that all its subsets have.

    Example:
        ::

            import mteb
            from st_hybrid.tasks import group_means

            result = mteb.evaluate(mteb.get_model("intfloat/multilingual-e5-small"), mteb.get_task("XQuAD-R"))
            print(group_means(result.task_results[0])["multilingual"]["map"])
    """
    (split,) = result.scores
    scores = {of_subset["hf_subset"]: of_subset for of_subset in result.scores[split]}
    if result.task_name == "MIRACL":
        return mean_scores(scores)
    groups: dict[str, list[str]] = {}
    for subset in scores:
        groups.setdefault(setting_of(subset), []).append(subset)
    return {name: _means([scores[subset] for subset in part], LAREQA_MEASURES) for name, part in groups.items()}


def mean_scores(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Means of MIRACL's measures over ``all`` languages, and over those of the ``paper`` if all 15 are there."""
    means = {"all": _means(list(scores.values()), MIRACL_MEASURES)}
    if set(PAPER_LANGUAGES) <= set(scores):
        means["paper"] = _means([scores[language] for language in PAPER_LANGUAGES], MIRACL_MEASURES)
    return means


@dataclass(frozen=True)
class Group:
    """Subsets whose means are added to the scores of each of them, under ``<prefix>_<measure>``."""

    prefix: str
    subsets: Sequence[str]
    measures: Sequence[str]


class RunningMeans:
    """Adds the means of a group to its subsets' scores as soon as all of them are done.

    mteb evaluates a task subset by subset, and accepts more subsets than it asked for. So when the last subset of a
    group is done, the earlier ones are returned again, with the means.
    """

    def __init__(self) -> None:
        self._model: Any = None
        self._done: dict[str, Mapping[str, float]] = {}

    def add(
        self, model: Any, scores: Mapping[str, Mapping[str, float]], groups: Sequence[Group]
    ) -> dict[str, dict[str, float]]:
        """Take in the scores of some subsets of a model; another model starts anew.

        Returns:
            The given scores, with the means of the groups that are complete, and all other subsets of these groups.
        """
        if model is not self._model:
            self._model, self._done = model, {}
        self._done.update(scores)
        result = {subset: dict(of_subset) for subset, of_subset in scores.items()}
        for group in groups:
            if not set(group.subsets) & set(scores) or not set(group.subsets) <= set(self._done):
                continue
            means = _means([self._done[subset] for subset in group.subsets], group.measures)
            named = {f"{group.prefix}_{measure}": mean for measure, mean in means.items()}
            for subset in group.subsets:
                result.setdefault(subset, dict(self._done[subset])).update(named)
        return result


def _means(scores: Sequence[Mapping[str, Any]], measures: Sequence[str]) -> dict[str, float]:
    return {
        measure: float(np.mean([of_subset[measure] for of_subset in scores]))
        for measure in measures
        if all(measure in of_subset for of_subset in scores)
    }
