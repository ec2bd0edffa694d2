"""Means over the subsets of a task that belong together."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from mteb import TaskResult

from st_hybrid.evaluation.miracl import PAPER_LANGUAGES
from st_hybrid.evaluation.results import MEASURES, MULTI

MIRACL_MEASURES = ("ndcg_at_10", "recall_at_100")
LAREQA_MEASURES = (*MEASURES, "rank_distance")


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


def mean_scores(task: str, scores: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The means of :func:`group_means` from the scores of each subset."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    if task == "MIRACL":
        groups["all"] = list(scores.values())
        if set(PAPER_LANGUAGES) <= set(scores):
            groups["paper"] = [scores[language] for language in PAPER_LANGUAGES]
    else:
        for subset, of_subset in scores.items():
            query, pool = subset.split("-")
            kind = "multilingual" if pool == MULTI else "monolingual" if query == pool else "cross_lingual"
            groups.setdefault(kind, []).append(of_subset)
    return {
        name: {
            measure: float(np.mean([of_subset[measure] for of_subset in group]))
            for measure in (MIRACL_MEASURES if task == "MIRACL" else LAREQA_MEASURES)
            if all(measure in of_subset for of_subset in group)
        }
        for name, group in groups.items()
    }
