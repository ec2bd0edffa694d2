"""Metadata of the tasks, with the sample counts that mteb otherwise reads from its own files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mteb
from mteb import TaskMetadata


class CountedTaskMetadata(TaskMetadata):
    """Metadata with the numbers of queries and documents.

    Args:
        counts: Numbers of queries and of documents of each split and subset.
    """

    counts: dict[str, dict[str, tuple[int, int]]]

    @property
    def descriptive_stats(self) -> dict[str, Any]:
        """Numbers of samples, queries and documents of each split and of each of its subsets."""
        return {
            split: {
                **_statistics([sum(column) for column in zip(*subsets.values(), strict=True)]),
                "hf_subset_descriptive_stats": {name: _statistics(counts) for name, counts in subsets.items()},
            }
            for split, subsets in self.counts.items()
        }


def adapted_metadata(original: str, **changes: Any) -> CountedTaskMetadata:
    """Metadata of a task that is made from the data of one of mteb's tasks: those of the original, with changes."""
    kept = mteb.get_task(original).metadata.model_dump()
    return CountedTaskMetadata(
        **{**kept, "adapted_from": [original], "task_subtypes": ["Question answering"], **changes}
    )


def _statistics(counts: Sequence[int]) -> dict[str, int]:
    queries, documents = counts
    return {"num_samples": queries + documents, "num_queries": queries, "num_documents": documents}
