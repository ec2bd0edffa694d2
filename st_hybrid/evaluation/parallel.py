"""Held-out parallel rows as a retrieval collection."""

from __future__ import annotations

import numpy as np
from datasets import Dataset

from st_hybrid.evaluation.collection import RetrievalCollection
from st_hybrid.pairs import pair_text, parallel_pairs


def parallel_collection(
    rows: Dataset,
    *,
    name: str = "held-out rows",
    id_column: str = "id",
    language_column: str = "language",
    query_column: str = "query",
    positive_column: str = "positive",
) -> RetrievalCollection:
    """Make a retrieval collection of parallel rows, to measure a model on rows that it was not trained on.

    Each query is a question, and each distinct passage of a language a candidate. A question's relevant candidates are
    the positives of its group, in all languages.

    Args:
        rows: Parallel rows, such as ``split_groups(rows, 0.05)["test"]``.
        name: Name of the collection.
        id_column: Column whose equal values mark translations of one another.
        language_column: Column of language codes.
        query_column: Column of the queries.
        positive_column: Column of the passages that answer them.

    Returns:
        The collection, with the queries in the order of the rows.

    Raises:
        ValueError: The rows are not valid parallel rows; see :func:`~st_hybrid.parallel_pairs`.

    Example:
        ::

            from st_hybrid import CrossLingualRetrievalEvaluator, split_groups
            from st_hybrid.evaluation import parallel_collection

            parts = split_groups(rows, test_size=200)
            evaluator = CrossLingualRetrievalEvaluator(parallel_collection(parts["test"]))
    """
    pairs = parallel_pairs(
        rows,
        id_column=id_column,
        language_column=language_column,
        query_column=query_column,
        positive_column=positive_column,
        negative_columns=[],
    )
    text = pair_text(pairs)
    language = np.array(text.keys["language"])
    passages, passage = np.unique(np.array(rows[positive_column], dtype=object), return_inverse=True)
    distinct, first, candidate = np.unique(language * len(passages) + passage, return_index=True, return_inverse=True)
    numbers = pairs.with_format("numpy")[:]
    relevant = np.unique(np.stack([numbers["query_row"], candidate[numbers["positive_row"]]]), axis=1)
    return RetrievalCollection(
        name=name,
        languages=text.languages,
        query_ids=[str(group) for group in rows[id_column]],
        queries=rows[query_column][:],
        query_languages=language,
        candidate_ids=[str(number) for number in range(len(distinct))],
        candidates=passages[passage[first]].tolist(),
        candidate_languages=language[first],
        relevant_queries=relevant[0],
        relevant_candidates=relevant[1],
    )
