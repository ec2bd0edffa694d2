"""One retrieval model for monolingual, cross-lingual and mixed-language search.

st-hybrid extends sentence-transformers with hybrid batch sampling, a loss that masks false negatives among
translations, and an evaluation of monolingual, cross-lingual and multilingual retrieval in one encoding pass.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from st_hybrid.evaluation import CrossLingualRetrievalEvaluator
    from st_hybrid.loss import MultilingualMultipleNegativesRankingLoss
    from st_hybrid.methods.centering import LanguageCentering
    from st_hybrid.pairs import load_pairs, parallel_pairs, save_pairs
    from st_hybrid.rows import split_groups
    from st_hybrid.sampler import HybridBatchSampler, StepwiseProportionalBatchSampler
    from st_hybrid.trainer import HybridTrainer

__version__ = "0.1.0"

# Names are loaded on first use, so that the command line's --help does not wait for torch.
_HOME = {
    "CrossLingualRetrievalEvaluator": "evaluation",
    "HybridBatchSampler": "sampler",
    "HybridTrainer": "trainer",
    "LanguageCentering": "methods.centering",
    "MultilingualMultipleNegativesRankingLoss": "loss",
    "StepwiseProportionalBatchSampler": "sampler",
    "load_pairs": "pairs",
    "parallel_pairs": "pairs",
    "save_pairs": "pairs",
    "split_groups": "rows",
}

__all__ = [
    "CrossLingualRetrievalEvaluator",
    "HybridBatchSampler",
    "HybridTrainer",
    "LanguageCentering",
    "MultilingualMultipleNegativesRankingLoss",
    "StepwiseProportionalBatchSampler",
    "load_pairs",
    "parallel_pairs",
    "save_pairs",
    "split_groups",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'st_hybrid' has no attribute {name!r}")
    return getattr(importlib.import_module(f"st_hybrid.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
