"""Evaluate models, compare their scores, and look at what they find."""

from __future__ import annotations

from st_hybrid.benchmark.browse import write_browse_page
from st_hybrid.benchmark.compare import compare_scores
from st_hybrid.benchmark.evaluate import evaluate_models, evaluate_tasks
from st_hybrid.benchmark.tables import print_scores

__all__ = ["compare_scores", "evaluate_models", "evaluate_tasks", "print_scores", "write_browse_page"]
