"""One retrieval model for monolingual, cross-lingual and mixed-language search."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from st_hybrid.evaluation import CrossLingualRetrievalEvaluator as CrossLingualRetrievalEvaluator
    from st_hybrid.loss import MultilingualMultipleNegativesRankingLoss as MultilingualMultipleNegativesRankingLoss
    from st_hybrid.methods.centering import LanguageCentering as LanguageCentering
    from st_hybrid.pairs import load_pairs as load_pairs
    from st_hybrid.pairs import parallel_pairs as parallel_pairs
    from st_hybrid.pairs import save_pairs as save_pairs
    from st_hybrid.rows import join_rows as join_rows
    from st_hybrid.rows import split_groups as split_groups
    from st_hybrid.sampler import HybridBatchSampler as HybridBatchSampler
    from st_hybrid.sampler import StepwiseProportionalBatchSampler as StepwiseProportionalBatchSampler
    from st_hybrid.trainer import HybridTrainer as HybridTrainer

__version__ = "0.1.0"

# Names are loaded on first use, so that the command line's --help does not wait for torch.
_HOME = {
    "CrossLingualRetrievalEvaluator": "evaluation",
    "HybridBatchSampler": "sampler",
    "HybridTrainer": "trainer",
    "LanguageCentering": "methods.centering",
    "MultilingualMultipleNegativesRankingLoss": "loss",
    "StepwiseProportionalBatchSampler": "sampler",
    "join_rows": "rows",
    "load_pairs": "pairs",
    "parallel_pairs": "pairs",
    "save_pairs": "pairs",
    "split_groups": "rows",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'st_hybrid' has no attribute {name!r}")
    return getattr(importlib.import_module(f"st_hybrid.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
