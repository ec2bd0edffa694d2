"""Random retrieval collections, and their evaluation from a given matrix of scores."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from st_hybrid.evaluation import QueryScores, RetrievalCollection, RetrievalScores, score_queries


def build(seed: int, languages: int, questions: int, filler: int = 3, whole: bool = False) -> RetrievalCollection:
    """Random questions in a random subset of the languages, with one or two relevant sentences in each."""
    rng = np.random.default_rng(seed)
    queries, passages, answers = [], [], defaultdict(list)
    for question in range(questions):
        present = rng.permutation(languages)[: languages if whole else rng.integers(1, languages + 1)]
        for language in sorted(present.tolist()):
            queries.append((question, language))
            for _ in range(rng.integers(1, 3)):
                answers[question].append(len(passages))
                passages.append(language)
    passages += rng.integers(0, languages, filler).tolist()
    pairs = [(q, c) for q, (question, _) in enumerate(queries) for c in answers[question]]
    collection = RetrievalCollection(
        name="random",
        languages=tuple("abcdef"[:languages]),
        query_ids=[f"q{question}" for question, _ in queries],
        queries=[f"query {question} in {language}" for question, language in queries],
        query_languages=np.array([language for _, language in queries]),
        passage_ids=[f"c{c}" for c in range(len(passages))],
        passages=[f"passage {c}" for c in range(len(passages))],
        passage_languages=np.array(passages),
        relevant_queries=np.array([q for q, _ in pairs]),
        relevant_passages=np.array([c for _, c in pairs]),
    )
    return shuffled(collection, rng)[0]


def shuffled(
    collection: RetrievalCollection, rng: np.random.Generator
) -> tuple[RetrievalCollection, np.ndarray, np.ndarray]:
    """The same collection in another order of queries, passages and pairs."""
    q, c = rng.permutation(len(collection.queries)), rng.permutation(len(collection.passages))
    p = rng.permutation(len(collection.relevant_queries))
    other = replace(
        collection,
        query_ids=[collection.query_ids[i] for i in q],
        queries=[collection.queries[i] for i in q],
        query_languages=collection.query_languages[q],
        passage_ids=[collection.passage_ids[i] for i in c],
        passages=[collection.passages[i] for i in c],
        passage_languages=collection.passage_languages[c],
        relevant_queries=np.argsort(q)[collection.relevant_queries[p]],
        relevant_passages=np.argsort(c)[collection.relevant_passages[p]],
    )
    return other, q, c


def score_matrix_queries(matrix: np.ndarray, collection: RetrievalCollection, *, quotas: bool = False) -> QueryScores:
    """Evaluate given scores: the dot product of row q with unit vector c is the score of passage c."""
    eye = np.eye(matrix.shape[1], dtype=np.float32)
    return score_queries(matrix, eye, collection, similarity="dot", quotas=quotas)


def score_matrix(matrix: np.ndarray, collection: RetrievalCollection, *, quotas: bool = False) -> RetrievalScores:
    """The averages of :func:`score_matrix_queries`."""
    return score_matrix_queries(matrix, collection, quotas=quotas).summary()


collections = st.builds(
    build,
    seed=st.integers(0, 2**32 - 1),
    languages=st.integers(1, 4),
    questions=st.integers(1, 6),
    filler=st.integers(0, 30),
)


def by_rank(scores: Any) -> Any:
    """Scores without the entropy, which also tells apart what ranks alike."""
    content = scores.to_dict() if hasattr(scores, "to_dict") else scores
    if not isinstance(content, dict):
        return content
    return {name: by_rank(part) for name, part in content.items() if name != "contrastive_entropy"}
