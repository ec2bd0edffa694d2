"""Metadata of the tasks, with sample counts that mteb would look for in files of its own."""

from __future__ import annotations

from typing import Any

from mteb import TaskMetadata

#: Language and script, as mteb names them, of every language of the tasks.
SCRIPTS = {
    "ar": "ara-Arab",
    "bn": "ben-Beng",
    "de": "deu-Latn",
    "el": "ell-Grek",
    "en": "eng-Latn",
    "es": "spa-Latn",
    "fa": "fas-Arab",
    "fi": "fin-Latn",
    "fr": "fra-Latn",
    "hi": "hin-Deva",
    "id": "ind-Latn",
    "ja": "jpn-Jpan",
    "ko": "kor-Kore",
    "ru": "rus-Cyrl",
    "sw": "swa-Latn",
    "te": "tel-Telu",
    "th": "tha-Thai",
    "tr": "tur-Latn",
    "vi": "vie-Latn",
    "yo": "yor-Latn",
    "zh": "zho-Hans",
}


class CountedTaskMetadata(TaskMetadata):
    """Metadata that carries the numbers of queries and documents itself.

    Args:
        counts: Numbers of queries and of documents, of each split and subset.
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
