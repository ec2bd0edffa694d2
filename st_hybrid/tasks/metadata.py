"""Metadata of the tasks, with the sample counts that mteb otherwise reads from its own files."""

from __future__ import annotations

from typing import Any

from langcodes import Language
from mteb import TaskMetadata

from st_hybrid.evaluation import PUBLISHED_COUNTS as LAREQA_COUNTS
from st_hybrid.evaluation.miracl import PUBLISHED_COUNTS as MIRACL_COUNTS


def _language_and_script(code: str) -> str:
    """The language as mteb names it: ``"deu-Latn"``."""
    language = Language.get(code)
    return f"{language.to_alpha3()}-{language.maximize().script}"


SCRIPTS = {code: _language_and_script(code) for code in (*MIRACL_COUNTS, *LAREQA_COUNTS["XQuAD-R"])}
"""Language and script of every language of the tasks, as mteb names them."""


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
                "hf_subset_descriptive_stats": {name: _statistics(list(pair)) for name, pair in subsets.items()},
            }
            for split, subsets in self.counts.items()
        }


def _statistics(counts: list[int]) -> dict[str, int]:
    queries, documents = counts
    return {"num_samples": queries + documents, "num_queries": queries, "num_documents": documents}
