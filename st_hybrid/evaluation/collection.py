"""A retrieval task in several languages, held as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class RetrievalCollection:
    """Queries and candidates of a retrieval task, each with its language, and which candidates answer which query.

    A *setting* is a query language with a pool: the candidates of one language, or those of all languages together.
    It counts the queries that have a relevant candidate in the pool; a query need not exist in every language.

    Args:
        name: Name of the task, such as ``"XQuAD-R"``.
        languages: The language codes; the integer codes below index this sequence.
        query_ids: Id of each query. Translations of one question share it, so that a sample takes them together.
        queries: Text of each query.
        query_languages: Integer language code of each query, shape ``(queries,)``.
        candidate_ids: Id of each candidate, all different.
        candidates: Text of each candidate. Equal texts may occur more than once; each occurrence is a candidate.
        candidate_languages: Integer language code of each candidate, shape ``(candidates,)``.
        relevant_queries: Query number of each relevant (query, candidate) pair, shape ``(pairs,)``.
        relevant_candidates: Candidate number of each relevant pair, shape ``(pairs,)``.
        candidate_passages: Number of the longer passage that each candidate is a part of, shape ``(candidates,)``;
            by default every candidate stands alone. :meth:`sample` keeps passages whole.

    Raises:
        ValueError: If lengths disagree, a number is out of range, an id or a pair is repeated.

    Example:
        ::

            import numpy as np
            from st_hybrid.evaluation import RetrievalCollection

            collection = RetrievalCollection(
                name="capitals",
                languages=("en", "de"),
                query_ids=("fr", "fr"),
                queries=("Capital of France?", "Hauptstadt Frankreichs?"),
                query_languages=np.array([0, 1]),
                candidate_ids=("en-0", "de-0", "de-1"),
                candidates=("Paris is in France.", "Paris liegt in Frankreich.", "Rom liegt in Italien."),
                candidate_languages=np.array([0, 1, 1]),
                relevant_queries=np.array([0, 0, 1, 1]),
                relevant_candidates=np.array([0, 1, 0, 1]),
            )
            print(collection.query_counts, collection.candidate_counts)
            # {'en': 1, 'de': 1} {'en': 1, 'de': 2}
    """

    name: str
    languages: Sequence[str]
    query_ids: Sequence[str]
    queries: Sequence[str]
    query_languages: IntArray
    candidate_ids: Sequence[str]
    candidates: Sequence[str]
    candidate_languages: IntArray
    relevant_queries: IntArray
    relevant_candidates: IntArray
    candidate_passages: IntArray | None = None

    def __post_init__(self) -> None:
        lengths = {
            "query": {len(self.query_ids), len(self.queries), len(self.query_languages)},
            "candidate": {len(self.candidate_ids), len(self.candidates), len(self.candidate_languages)},
            "relevance": {len(self.relevant_queries), len(self.relevant_candidates)},
        }
        if self.candidate_passages is not None:
            lengths["candidate"].add(len(self.candidate_passages))
        for what, found in lengths.items():
            if len(found) != 1:
                raise ValueError(f"{self.name}: the {what} columns have different lengths: {sorted(found)}.")
            if found == {0}:
                raise ValueError(f"{self.name}: the {what} columns are empty.")
        for column, bound in (
            ("query_languages", len(self.languages)),
            ("candidate_languages", len(self.languages)),
            ("relevant_queries", len(self.queries)),
            ("relevant_candidates", len(self.candidates)),
        ):
            numbers = np.asarray(getattr(self, column), dtype=np.int32)
            if numbers.min() < 0 or numbers.max() >= bound:
                raise ValueError(f"{self.name}: {column} must lie in [0, {bound}).")
            object.__setattr__(self, column, numbers)
        if len(set(self.languages)) != len(self.languages):
            raise ValueError(f"{self.name}: a language is named twice in {list(self.languages)}.")
        if len(set(self.candidate_ids)) != len(self.candidate_ids):
            raise ValueError(f"{self.name}: a candidate id is repeated.")
        if len(set(zip(self.query_ids, self.query_languages.tolist(), strict=True))) != len(self.query_ids):
            raise ValueError(f"{self.name}: a query id is repeated within a language.")
        pairs = self.relevant_queries.astype(np.int64) * len(self.candidates) + self.relevant_candidates
        if len(np.unique(pairs)) != len(pairs):
            raise ValueError(f"{self.name}: a (query, candidate) pair is marked relevant twice.")

    @property
    def query_counts(self) -> dict[str, int]:
        """Number of queries of each language."""
        return self._count(self.query_languages)

    @property
    def candidate_counts(self) -> dict[str, int]:
        """Number of candidates of each language."""
        return self._count(self.candidate_languages)

    def _count(self, codes: IntArray) -> dict[str, int]:
        return dict(zip(self.languages, np.bincount(codes, minlength=len(self.languages)).tolist(), strict=True))

    def sample(self, questions: int, *, seed: int = 0, whole_pool: bool = False) -> RetrievalCollection:
        """Return the collection restricted to a random sample of questions, each in all the languages it has.

        A smaller sample of the same seed is a subset of a larger one. By default the pool shrinks too, to the whole
        passages (in all languages) that hold a relevant candidate of a sampled question: encoding the pool is what
        takes the time. Ranks in a smaller pool are better, so such scores compare with others on the same sample,
        never with scores on the whole collection.

        Args:
            questions: Number of different question ids to take; all of them if there are fewer.
            seed: Seed of the choice.
            whole_pool: Keep every candidate.

        Raises:
            ValueError: If ``questions`` is not positive.
        """
        if questions < 1:
            raise ValueError(f"questions must be at least 1, not {questions}.")
        ids = sorted(set(self.query_ids))
        if questions >= len(ids):
            return self
        chosen = {ids[i] for i in np.random.default_rng(seed).permutation(len(ids))[:questions]}
        keep_query = np.fromiter((i in chosen for i in self.query_ids), dtype=bool, count=len(self.query_ids))
        if whole_pool:
            keep_candidate = np.ones(len(self.candidates), dtype=bool)
        else:
            passages = self.candidate_passages
            if passages is None:
                passages = np.arange(len(self.candidates), dtype=np.int32)
            keep_candidate = np.isin(passages, passages[self.relevant_candidates[keep_query[self.relevant_queries]]])
        return self._restricted(f"{self.name}-sample{questions}", keep_query, keep_candidate)

    def in_languages(self, queries: Sequence[str], candidates: Sequence[str]) -> RetrievalCollection:
        """Return the collection with the queries of some languages and the candidates of some languages only.

        Args:
            queries: Languages of the queries to keep.
            candidates: Languages of the candidates to keep.

        Raises:
            ValueError: If a language is not in the collection, or nothing is left.
        """
        if unknown := [language for language in (*queries, *candidates) if language not in self.languages]:
            raise ValueError(f"{self.name} is not in {', '.join(unknown)}, only in {', '.join(self.languages)}.")
        numbers = {language: number for number, language in enumerate(self.languages)}
        return self._restricted(
            self.name,
            np.isin(self.query_languages, [numbers[language] for language in queries]),
            np.isin(self.candidate_languages, [numbers[language] for language in candidates]),
        )

    def _restricted(
        self, name: str, keep_query: npt.NDArray[np.bool_], keep_candidate: npt.NDArray[np.bool_]
    ) -> RetrievalCollection:
        """The collection under another name, with some of its queries and candidates."""
        keep_pair = keep_query[self.relevant_queries] & keep_candidate[self.relevant_candidates]
        kept_queries, kept_candidates = np.flatnonzero(keep_query).tolist(), np.flatnonzero(keep_candidate).tolist()
        return replace(
            self,
            name=name,
            query_ids=[self.query_ids[i] for i in kept_queries],
            queries=[self.queries[i] for i in kept_queries],
            query_languages=self.query_languages[keep_query],
            candidate_ids=[self.candidate_ids[i] for i in kept_candidates],
            candidates=[self.candidates[i] for i in kept_candidates],
            candidate_languages=self.candidate_languages[keep_candidate],
            relevant_queries=(np.cumsum(keep_query) - 1)[self.relevant_queries[keep_pair]],
            relevant_candidates=(np.cumsum(keep_candidate) - 1)[self.relevant_candidates[keep_pair]],
            candidate_passages=None if self.candidate_passages is None else self.candidate_passages[keep_candidate],
        )
