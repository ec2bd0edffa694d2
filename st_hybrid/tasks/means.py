"""Means over the subsets of a task that belong together, and the base of the tasks that report them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mteb import TaskResult
from mteb.abstasks.retrieval import AbsTaskRetrieval

from st_hybrid.evaluation.miracl import PAPER_LANGUAGES
from st_hybrid.evaluation.results import MEASURES, MULTI

MIRACL = "MIRACL"
MIRACL_MEASURES = ("ndcg_at_10", "recall_at_100")
LAREQA_MEASURES = (*MEASURES, "rank_distance")

Scores = Mapping[str, Mapping[str, Any]]
"""Measures by subset and name."""


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
    (of_split,) = result.scores.values()
    return mean_scores(result.task_name, {of_subset["hf_subset"]: of_subset for of_subset in of_split})


def mean_scores(task: str, scores: Scores) -> dict[str, dict[str, float]]:
    """The means of :func:`group_means`, of scores by subset."""
    return {name: _means(task, [scores[one] for one in subsets]) for name, subsets in _groups(task, scores).items()}


class GroupedRetrieval(AbsTaskRetrieval):
    """A task that adds the means of a group of subsets to the scores of each of them, once all of them are done.

    mteb evaluates a task subset by subset, and accepts more subsets than it asked for. So when the last subset of a
    group is done, the earlier ones are returned again, with the means.
    """

    _support_cross_encoder = False

    data_dir: str | Path | None = None
    _model: Any = None
    _done: dict[str, Mapping[str, float]]

    def evaluate(self, model: Any, *args: Any, **kwargs: Any) -> Mapping[str, dict[str, float]]:
        """Measure a model; see :meth:`mteb.AbsTask.evaluate` for the arguments."""
        scores = super().evaluate(model, *args, **kwargs)
        if model is not self._model:
            self._model, self._done = model, {}
        self._done.update(scores)
        result = {subset: dict(of_subset) for subset, of_subset in scores.items()}
        for name, subsets in _groups(self.metadata.name, self.hf_subsets).items():
            if set(subsets) & set(scores) and set(subsets) <= set(self._done):
                means = _means(self.metadata.name, [self._done[subset] for subset in subsets])
                prefix = "paper" if name == "paper" else "macro"
                for subset in subsets:
                    of_subset = result.setdefault(subset, dict(self._done[subset]))
                    of_subset.update({f"{prefix}_{measure}": mean for measure, mean in means.items()})
        return result

    def unload_data(self) -> None:
        """Drop the texts, and what is known of the last model."""
        super().unload_data()
        self._model = None


def _groups(task: str, subsets: Iterable[str]) -> dict[str, list[str]]:
    """The subsets that belong together, by the name of their group."""
    if task == MIRACL:
        groups = {"all": list(subsets)}
        return groups | ({"paper": list(PAPER_LANGUAGES)} if set(PAPER_LANGUAGES) <= set(subsets) else {})
    groups = {}
    for subset in subsets:
        query, pool = subset.split("-")
        kind = "multilingual" if pool == MULTI else "monolingual" if query == pool else "cross_lingual"
        groups.setdefault(kind, []).append(subset)
    return groups


def _means(task: str, scores: list[Mapping[str, Any]]) -> dict[str, float]:
    return {
        measure: float(np.mean([of_subset[measure] for of_subset in scores]))
        for measure in (MIRACL_MEASURES if task == MIRACL else LAREQA_MEASURES)
        if all(measure in of_subset for of_subset in scores)
    }
