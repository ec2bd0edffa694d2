"""Retrieval collections in several languages and their one-pass evaluation."""

from __future__ import annotations

from st_hybrid.evaluation.collection import RetrievalCollection
from st_hybrid.evaluation.evaluator import CrossLingualRetrievalEvaluator
from st_hybrid.evaluation.lareqa import PUBLISHED_COUNTS, check_counts, read_lareqa
from st_hybrid.evaluation.lareqa_files import lareqa_folder
from st_hybrid.evaluation.parallel import parallel_collection
from st_hybrid.evaluation.scoring import SETTINGS, QueryScores, evaluate_retrieval, score_embeddings, score_queries

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
