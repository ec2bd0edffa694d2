"""Retrieval collections in several languages and their one-pass evaluation."""

from __future__ import annotations

from .collection import RetrievalCollection
from .evaluation import SETTINGS, QueryScores, evaluate_retrieval, score_embeddings, score_queries
from .evaluator import CrossLingualRetrievalEvaluator
from .lareqa import PUBLISHED_COUNTS, check_counts, read_lareqa
from .lareqa_files import lareqa_folder
from .parallel import parallel_collection

__all__ = [
    "PUBLISHED_COUNTS",
    "SETTINGS",
    "CrossLingualRetrievalEvaluator",
    "QueryScores",
    "RetrievalCollection",
    "check_counts",
    "evaluate_retrieval",
    "lareqa_folder",
    "parallel_collection",
    "read_lareqa",
    "score_embeddings",
    "score_queries",
]
