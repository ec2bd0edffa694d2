"""A retrieval task in several languages, held as flat arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset

from st_hybrid.grouping import counting, numbered
from st_hybrid.rows import ParallelRows

IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class RetrievalCollection:
    """Queries and passages, each with its language, and which passages are relevant to which query.

    A *setting* is a query language with a pool: the passages of one language, or those of all languages together. It
    counts the queries that have a relevant passage in the pool; a query need not exist in every language. Most
    collections come from :meth:`from_dicts` or :meth:`from_rows`.

    Args:
        name: Name of the task, such as ``"XQuAD-R"``.
        languages: The language codes; the integer codes below index this sequence.
        query_ids: Id of each query; translations share it, so that a sample takes them together.
        queries: Text of each query.
        query_languages: Integer language code of each query, shape ``(queries,)``.
        passage_ids: Id of each passage, all different.
        passages: Text of each passage; each occurrence of a text is a passage.
        passage_languages: Integer language code of each passage, shape ``(passages,)``.
        relevant_queries: Query number of each relevant (query, passage) pair, shape ``(pairs,)``.
        relevant_passages: Passage number of each relevant pair, shape ``(pairs,)``.
        passage_contexts: Number of the longer text that each passage is a part of, which :meth:`sample` keeps
            together, shape ``(passages,)``; by default each passage is a text of its own.
        grades: Gain in nDCG of each relevant pair, above 0, shape ``(pairs,)``; 1 by default.

    Raises:
        ValueError: Lengths disagree, a number is out of range, or an id or a pair is repeated.
    """

    name: str
    languages: Sequence[str]
    query_ids: Sequence[str]
    queries: Sequence[str]
    query_languages: IntArray
    passage_ids: Sequence[str]
    passages: Sequence[str]
    passage_languages: IntArray
    relevant_queries: IntArray
    relevant_passages: IntArray
    passage_contexts: IntArray | None = None
    grades: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        lengths = {
            "query": {len(self.query_ids), len(self.queries), len(self.query_languages)},
            "passage": {len(self.passage_ids), len(self.passages), len(self.passage_languages)},
            "relevance": {len(self.relevant_queries), len(self.relevant_passages)},
        }
        if self.passage_contexts is not None:
            lengths["passage"].add(len(self.passage_contexts))
        if self.grades is not None:
            lengths["relevance"].add(len(self.grades))
        for what, found in lengths.items():
            if len(found) != 1:
                raise ValueError(f"{self.name}: the {what} columns have different lengths: {sorted(found)}.")
            if found == {0}:
                raise ValueError(f"{self.name}: the {what} columns are empty.")
        bounds = {"query_languages": len(self.languages), "passage_languages": len(self.languages)}
        bounds |= {"relevant_queries": len(self.queries), "relevant_passages": len(self.passages)}
        for column, bound in bounds.items():
            numbers = np.asarray(getattr(self, column), dtype=np.int32)
            if numbers.min() < 0 or numbers.max() >= bound:
                raise ValueError(f"{self.name}: {column} must lie in [0, {bound}).")
            object.__setattr__(self, column, numbers)
        if len(set(self.languages)) != len(self.languages):
            raise ValueError(f"{self.name}: a language is named twice in {list(self.languages)}.")
        if len(set(self.passage_ids)) != len(self.passage_ids):
            raise ValueError(f"{self.name}: a passage id is repeated.")
        if len(set(zip(self.query_ids, self.query_languages.tolist(), strict=True))) != len(self.query_ids):
            raise ValueError(f"{self.name}: a query id is repeated within a language.")
        pairs = self.relevant_queries.astype(np.int64) * len(self.passages) + self.relevant_passages
        if len(np.unique(pairs)) != len(pairs):
            raise ValueError(f"{self.name}: a (query, passage) pair is marked relevant twice.")

    @classmethod
    def from_dicts(
        cls,
        queries: Mapping[str, str],
        corpus: Mapping[str, str],
        relevant_docs: Mapping[str, Iterable[str] | Mapping[str, float]],
        query_languages: Mapping[str, str],
        passage_languages: Mapping[str, str],
        *,
        name: str = "collection",
    ) -> RetrievalCollection:
        """Make a collection from the dictionaries that sentence-transformers' ``InformationRetrievalEvaluator`` takes.

        Args:
            queries: Text of each query by its id.
            corpus: Text of each passage by its id.
            relevant_docs: Ids of the relevant passages of each query by the query's id; or their grades by their id,
                where those above 0 are relevant, and nDCG takes the grade as the gain.
            query_languages: Language code of each query by its id; ``dict.fromkeys(queries, "en")`` if all share one.
            passage_languages: Language code of each passage by its id.
            name: Name of the collection.

        Raises:
            ValueError: An id has no language, or ``relevant_docs`` names an id that is not there.

        Example:
            ::

                from st_hybrid.evaluation import RetrievalCollection

                collection = RetrievalCollection.from_dicts(
                    queries={"q1": "Where do storks nest?", "q2": "Wo nisten Störche?"},
                    corpus={"p1": "They nest on chimneys.", "p2": "Sie nisten auf Kaminen."},
                    relevant_docs={"q1": {"p1", "p2"}, "q2": {"p1", "p2"}},
                    query_languages={"q1": "en", "q2": "de"},
                    passage_languages={"p1": "en", "p2": "de"},
                )
        """
        graded = {
            query: {passage: grade for passage, grade in found.items() if grade > 0}
            if isinstance(found, Mapping)
            else dict.fromkeys(sorted(set(found)), 1.0)
            for query, found in relevant_docs.items()
        }
        relevant = {passage for passages in graded.values() for passage in passages}
        for ids, known, complaint in (
            (queries, query_languages, "query_languages has no language for query"),
            (corpus, passage_languages, "passage_languages has no language for passage"),
            (relevant_docs, queries, "relevant_docs names the unknown query"),
            (relevant, corpus, "relevant_docs names the unknown passage"),
        ):
            if unknown := set(ids) - set(known):
                raise ValueError(f"{name}: {complaint} {min(unknown)!r}.")
        languages = sorted({*(query_languages[one] for one in queries), *(passage_languages[one] for one in corpus)})
        code = {language: number for number, language in enumerate(languages)}
        query_number, passage_number = (dict(zip(ids, range(len(ids)), strict=True)) for ids in (queries, corpus))
        pairs = [
            (query_number[q], passage_number[p], grade) for q, found in graded.items() for p, grade in found.items()
        ]
        return cls(
            name=name,
            languages=languages,
            query_ids=list(queries),
            queries=list(queries.values()),
            query_languages=np.array([code[query_languages[identifier]] for identifier in queries]),
            passage_ids=list(corpus),
            passages=list(corpus.values()),
            passage_languages=np.array([code[passage_languages[identifier]] for identifier in corpus]),
            relevant_queries=np.array([query for query, *_ in pairs]),
            relevant_passages=np.array([passage for _, passage, _ in pairs]),
            grades=np.array([grade for *_, grade in pairs]),
        )

    @classmethod
    def from_rows(
        cls, rows: Dataset, *, columns: Mapping[str, str] = MappingProxyType({}), name: str = "held-out rows"
    ) -> RetrievalCollection:
        """Make a collection from parallel rows, to measure a model on rows that it was not trained on.

        The relevant passages of a query are the positives of its group, in all languages. Equal positives in one
        language are one passage.

        Args:
            rows: Parallel rows, such as ``split_groups(rows, 0.05)["test"]``.
            columns: As for :class:`~st_hybrid.rows.ParallelRows`: ``{"query": "question"}``.
            name: Name of the collection.

        Raises:
            ValueError: The rows are not valid parallel rows; see :class:`~st_hybrid.rows.ParallelRows`.

        Example:
            ::

                from datasets import Dataset
                from st_hybrid.evaluation import RetrievalCollection

                rows = Dataset.from_dict({
                    "id": [1, 1],
                    "language": ["en", "de"],
                    "query": ["Where do storks nest?", "Wo nisten Störche?"],
                    "positive": ["They nest on chimneys.", "Sie nisten auf Kaminen."],
                })
                collection = RetrievalCollection.from_rows(rows, name="storks")
        """
        parallel = ParallelRows(rows, columns=columns, negative_columns=[])
        text, texts = numbered(parallel.table["positive"])
        _, first, passage = np.unique(parallel.language * len(texts) + text, return_index=True, return_inverse=True)

        # Every query with every row of its group.
        by_group, sizes = np.argsort(parallel.group, kind="stable"), np.bincount(parallel.group)
        mates = sizes[parallel.group]
        start = (np.cumsum(sizes) - sizes)[parallel.group]
        query = np.repeat(np.arange(len(parallel)), mates)
        mate = by_group[np.repeat(start, mates) + counting(mates)]
        relevant = np.unique(np.stack([query, passage[mate]]), axis=1)
        return cls(
            name=name,
            languages=parallel.languages,
            query_ids=[str(identifier) for identifier in parallel.table["id"].to_pylist()],
            queries=parallel.table["query"].to_pylist(),
            query_languages=parallel.language.astype(np.int32),
            passage_ids=[str(number) for number in range(len(first))],
            passages=texts.take(pa.array(text[first])).to_pylist(),
            passage_languages=parallel.language[first].astype(np.int32),
            relevant_queries=relevant[0],
            relevant_passages=relevant[1],
        )

    @property
    def query_counts(self) -> dict[str, int]:
        """Number of queries of each language."""
        return self._count(self.query_languages)

    @property
    def passage_counts(self) -> dict[str, int]:
        """Number of passages of each language."""
        return self._count(self.passage_languages)

    def _count(self, codes: IntArray) -> dict[str, int]:
        return dict(zip(self.languages, np.bincount(codes, minlength=len(self.languages)).tolist(), strict=True))

    def sample(self, size: int, *, seed: int = 0, whole_pool: bool = False) -> RetrievalCollection:
        """Return the collection restricted to a random sample of queries, each in all the languages it has.

        A smaller sample of the same seed is a subset of a larger one. By default the pool shrinks too, to the contexts
        (in all languages) that hold a relevant passage of a sampled query, because encoding the pool takes most of the
        time. Ranks in a smaller pool are better, so compare such scores only with others on the same sample.

        Args:
            size: Number of different query ids to take; all of them if there are fewer.
            seed: Seed of the choice.
            whole_pool: Keep every passage.

        Raises:
            ValueError: ``size`` is not positive.
        """
        if size < 1:
            raise ValueError(f"The size of a sample must be at least 1, got {size}.")
        ids = sorted(set(self.query_ids))
        if size >= len(ids):
            return self
        chosen = {ids[i] for i in np.random.default_rng(seed).permutation(len(ids))[:size]}
        keep_query = np.fromiter((i in chosen for i in self.query_ids), dtype=bool, count=len(self.query_ids))
        contexts = np.arange(len(self.passages)) if self.passage_contexts is None else self.passage_contexts
        relevant = self.relevant_passages[keep_query[self.relevant_queries]]
        keep_passage = np.isin(contexts, contexts[relevant]) | whole_pool
        return self._restricted(f"{self.name}-sample{size}", keep_query, keep_passage)

    def in_languages(self, queries: Sequence[str], passages: Sequence[str]) -> RetrievalCollection:
        """Return the collection with the queries of some languages and the passages of some languages only.

        Args:
            queries: Languages of the queries to keep.
            passages: Languages of the passages to keep.

        Raises:
            ValueError: A language is not in the collection, or nothing is left.
        """
        if unknown := [language for language in (*queries, *passages) if language not in self.languages]:
            raise ValueError(f"{self.name} is not in {', '.join(unknown)}, only in {', '.join(self.languages)}.")
        codes = {language: code for code, language in enumerate(self.languages)}
        return self._restricted(
            self.name,
            np.isin(self.query_languages, [codes[language] for language in queries]),
            np.isin(self.passage_languages, [codes[language] for language in passages]),
        )

    def _restricted(
        self, name: str, keep_query: npt.NDArray[np.bool_], keep_passage: npt.NDArray[np.bool_]
    ) -> RetrievalCollection:
        """The collection under another name, with some of its queries and passages."""
        keep_pair = keep_query[self.relevant_queries] & keep_passage[self.relevant_passages]
        kept_queries, kept_passages = np.flatnonzero(keep_query).tolist(), np.flatnonzero(keep_passage).tolist()
        return replace(
            self,
            name=name,
            query_ids=[self.query_ids[i] for i in kept_queries],
            queries=[self.queries[i] for i in kept_queries],
            query_languages=self.query_languages[keep_query],
            passage_ids=[self.passage_ids[i] for i in kept_passages],
            passages=[self.passages[i] for i in kept_passages],
            passage_languages=self.passage_languages[keep_passage],
            relevant_queries=(np.cumsum(keep_query) - 1)[self.relevant_queries[keep_pair]],
            relevant_passages=(np.cumsum(keep_passage) - 1)[self.relevant_passages[keep_pair]],
            passage_contexts=None if self.passage_contexts is None else self.passage_contexts[keep_passage],
            grades=None if self.grades is None else self.grades[keep_pair],
        )
