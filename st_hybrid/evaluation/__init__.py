"""Retrieval collections in several languages and their one-pass evaluation."""

from st_hybrid.evaluation.collection import RetrievalCollection
from st_hybrid.evaluation.evaluator import CrossLingualRetrievalEvaluator
from st_hybrid.evaluation.lareqa import PUBLISHED_COUNTS, lareqa_folder, load_lareqa, read_lareqa
from st_hybrid.evaluation.probe import CorpusProbe, Estimate, LanguageProbe, probe_corpus, probe_embeddings
from st_hybrid.evaluation.results import SETTINGS, RetrievalScores, SettingScores
from st_hybrid.evaluation.scoring import (
    QueryScores,
    encode_collection,
    evaluate_retrieval,
    score_embeddings,
    score_queries,
)

__all__ = [
    "PUBLISHED_COUNTS",
    "SETTINGS",
    "CorpusProbe",
    "CrossLingualRetrievalEvaluator",
    "Estimate",
    "LanguageProbe",
    "QueryScores",
    "RetrievalCollection",
    "RetrievalScores",
    "SettingScores",
    "encode_collection",
    "evaluate_retrieval",
    "lareqa_folder",
    "load_lareqa",
    "probe_corpus",
    "probe_embeddings",
    "read_lareqa",
    "score_embeddings",
    "score_queries",
]
