"""A retrieval task in several languages, held as flat arrays."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset
from scipy.sparse import csr_array

from st_hybrid.grouping import numbered
from st_hybrid.rows import ParallelRows

IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class RetrievalCollection:
    """Queries and passages, each with its language, and which passages are relevant to which query.

    Most collections come from :meth:`from_dicts` or :meth:`from_rows`. A query need not exist in every language.

    Raises:
        ValueError: Lengths disagree, a number is out of range, or an id or a pair is repeated.
    """

    name: str  #: Name of the task, such as ``"XQuAD-R"``.
    languages: Sequence[str]  #: The language codes; the integer codes below index this sequence.
    query_ids: Sequence[str]  #: Id of each query; translations share it.
    queries: Sequence[str]  #: Text of each query.
    query_languages: IntArray  #: Language code of each query: ``(queries,)``.
    passage_ids: Sequence[str]  #: Id of each passage, all different.
    passages: Sequence[str]  #: Text of each passage; equal texts may be several passages.
    passage_languages: IntArray  #: Language code of each passage: ``(passages,)``.
    relevant_queries: IntArray  #: Query number of each relevant (query, passage) pair: ``(pairs,)``.
    relevant_passages: IntArray  #: Passage number of each relevant pair: ``(pairs,)``.
    passage_contexts: IntArray | None = None  #: Number of each passage's paragraph, which a sample keeps whole.
    grades: npt.NDArray[np.float64] | None = None  #: Gain in nDCG of each relevant pair, 1 by default: ``(pairs,)``.

    def __post_init__(self) -> None:
        contexts = () if self.passage_contexts is None else (self.passage_contexts,)
        grades = () if self.grades is None else (self.grades,)
        for what, columns in {
            "query": (self.query_ids, self.queries, self.query_languages),
            "passage": (self.passage_ids, self.passages, self.passage_languages, *contexts),
            "relevance": (self.relevant_queries, self.relevant_passages, *grades),
        }.items():
            if len(lengths := set(map(len, columns))) != 1:
                raise ValueError(f"{self.name}: the {what} columns have different lengths: {sorted(lengths)}.")
            if lengths == {0}:
                raise ValueError(f"{self.name}: the {what} columns are empty.")
        for what, ids, texts in (("query", self.query_ids, self.queries), ("passage", self.passage_ids, self.passages)):
            for number, text in enumerate(texts):
                if not isinstance(text, str):
                    raise ValueError(f"{self.name}: the {what} {ids[number]!r} has no text but {text!r}.")
        for column, bound in (
            ("query_languages", len(self.languages)),
            ("passage_languages", len(self.languages)),
            ("relevant_queries", len(self.queries)),
            ("relevant_passages", len(self.passages)),
        ):
            numbers = np.asarray(getattr(self, column), dtype=np.int32)
            if numbers.min() < 0 or numbers.max() >= bound:
                raise ValueError(f"{self.name}: {column} must lie in [0, {bound}).")
            object.__setattr__(self, column, numbers)
        asked: Any = zip(self.query_ids, self.query_languages.tolist(), strict=True)
        pairs: Any = zip(self.relevant_queries.tolist(), self.relevant_passages.tolist(), strict=True)
        for values, complaint in (
            (list(self.languages), f"a language is named twice in {list(self.languages)}"),
            (list(self.passage_ids), "a passage id is repeated"),
            (list(asked), "a query id is repeated within a language"),
            (list(pairs), "a (query, passage) pair is marked relevant twice"),
        ):
            if len(set(values)) != len(values):
                raise ValueError(f"{self.name}: {complaint}.")

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
    ) -> "RetrievalCollection":
        """Make a collection from the dictionaries that sentence-transformers' ``InformationRetrievalEvaluator`` takes.

        Args:
            queries: Text of each query by its id.
            corpus: Text of each passage by its id.
            relevant_docs: Ids of the relevant passages by the query's id; or their grades by their id, where above 0 is
                relevant, and the gain in nDCG.
            query_languages: Language of each query by its id; ``dict.fromkeys(queries, "en")`` if all share one.
            passage_languages: Language of each passage by its id.
            name: Name of the collection.

        Example:
            ::

                from st_hybrid.evaluation import RetrievalCollection

                corpus, languages = {"a": "On roofs.", "b": "Auf Dächern."}, {"q": "en", "a": "en", "b": "de"}
                RetrievalCollection.from_dicts({"q": "Where?"}, corpus, {"q": ["a", "b"]}, languages, languages)
        """
        queries, corpus, relevant_docs = _plain(queries), _plain(corpus), _plain(relevant_docs)
        query_languages, passage_languages = _plain(query_languages), _plain(passage_languages)
        graded = {
            query: dict(found) if isinstance(found, Mapping) else dict.fromkeys(sorted(set(found)), 1)
            for query, found in relevant_docs.items()
        }
        pairs = [(query, one, grade) for query, found in graded.items() for one, grade in found.items() if grade > 0]
        for ids, known, complaint in (
            (queries, query_languages, "query_languages has no language for query"),
            (corpus, passage_languages, "passage_languages has no language for passage"),
            (relevant_docs, queries, "relevant_docs names the unknown query"),
            ({passage for _, passage, _ in pairs}, corpus, "relevant_docs names the unknown passage"),
        ):
            if unknown := set(ids) - set(known):
                raise ValueError(f"{name}: {complaint} {min(unknown)!r}.")
        spoken = [query_languages[one] for one in queries] + [passage_languages[one] for one in corpus]
        languages, codes = np.unique(spoken, return_inverse=True)
        query_number, passage_number = ({one: number for number, one in enumerate(ids)} for ids in (queries, corpus))
        return cls(
            name=name,
            languages=languages.tolist(),
            query_ids=list(map(str, queries)),
            queries=list(queries.values()),
            query_languages=codes[: len(queries)],
            passage_ids=list(map(str, corpus)),
            passages=list(corpus.values()),
            passage_languages=codes[len(queries) :],
            relevant_queries=np.array([query_number[query] for query, *_ in pairs]),
            relevant_passages=np.array([passage_number[passage] for _, passage, _ in pairs]),
            grades=np.array([grade for *_, grade in pairs], dtype=np.float64),
        )

    @classmethod
    def from_rows(
        cls, rows: Dataset, *, columns: Mapping[str, str] = MappingProxyType({}), name: str = "held-out rows"
    ) -> "RetrievalCollection":
        """Make a collection from parallel rows, to measure a model on rows that it was not trained on.

        The positives of a query's group are relevant to it. Equal positives in one language are one passage. A
        sentence would find itself: of bitext, every other translation of a sentence asks, and the others answer.

        Args:
            rows: Parallel rows, such as ``split_groups(rows, 0.05)["test"]``.
            columns: As for :class:`~st_hybrid.rows.ParallelRows`, which checks the rows: ``{"query": "question"}``.
            name: Name of the collection.
        """
        parallel = ParallelRows(rows, columns=columns, negative_columns=[])
        text, texts = numbered(parallel.table["positive"])
        order = np.argsort(parallel.group, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order)) - np.searchsorted(parallel.group[order], parallel.group[order])
        turn = (place + parallel.group) % 2 == 0
        asks, answers = (np.flatnonzero(~parallel.bitext | side) for side in (turn, ~turn))
        _, first, passage = np.unique(
            parallel.passage_language[answers] * len(texts) + text[answers], return_index=True, return_inverse=True
        )
        first = answers[first]
        # A query has a row for each of its positives.
        number = parallel.group * len(parallel.languages) + parallel.language
        asked = asks[np.sort(np.unique(number[asks], return_index=True)[1])]
        relevant_queries, relevant_passages = (
            _by_group(parallel.group[asked], np.arange(len(asked)), (len(parallel), len(asked))).T
            @ _by_group(parallel.group[answers], passage, (len(parallel), len(first)))
        ).nonzero()
        if not len(relevant_queries):
            raise ValueError(f"{name}: the rows are sentences without translations. Add rows that answer queries.")
        return cls(
            name=name,
            languages=parallel.languages,
            query_ids=list(map(str, parallel.table["id"].take(pa.array(asked)).to_pylist())),
            queries=parallel.table["query"].take(pa.array(asked)).to_pylist(),
            query_languages=parallel.language[asked],
            passage_ids=list(map(str, range(len(first)))),
            passages=texts.take(pa.array(text[first])).to_pylist(),
            passage_languages=parallel.passage_language[first],
            relevant_queries=relevant_queries,
            relevant_passages=relevant_passages,
        )

    @property
    def query_counts(self) -> dict[str, int]:
        """Number of queries of each language."""
        return {language: int((self.query_languages == code).sum()) for code, language in enumerate(self.languages)}

    @property
    def passage_counts(self) -> dict[str, int]:
        """Number of passages of each language."""
        return {language: int((self.passage_languages == code).sum()) for code, language in enumerate(self.languages)}

    def sample(self, size: int, *, seed: int = 0) -> "RetrievalCollection":
        """Take a random sample of queries, each in all its languages; a smaller one is a subset of a larger one.

        The pool shrinks to the contexts of the relevant passages, which saves most of the encoding. Ranks in a smaller
        pool are better: compare them on equal samples only.

        Args:
            size: Number of different query ids to take; all of them if there are fewer.
            seed: Seed of the choice.
        """
        if size < 1:
            raise ValueError(f"The size of a sample must be at least 1, got {size}.")
        ids = sorted(set(self.query_ids))
        if size >= len(ids):
            return self
        chosen = {ids[i] for i in np.random.default_rng(seed).permutation(len(ids))[:size]}
        keep_query = np.array([identifier in chosen for identifier in self.query_ids])
        contexts = np.arange(len(self.passages)) if self.passage_contexts is None else self.passage_contexts
        relevant = self.relevant_passages[keep_query[self.relevant_queries]]
        return self._restricted(f"{self.name}-sample{size}", keep_query, np.isin(contexts, contexts[relevant]))

    def in_languages(self, queries: Sequence[str], passages: Sequence[str]) -> "RetrievalCollection":
        """The collection with the queries of some languages and the passages of some languages only."""
        if unknown := [language for language in (*queries, *passages) if language not in self.languages]:
            raise ValueError(f"{self.name} is not in {', '.join(unknown)}, only in {', '.join(self.languages)}.")
        asked, pool = (np.isin(self.languages, list(chosen)) for chosen in (queries, passages))
        return self._restricted(self.name, asked[self.query_languages], pool[self.passage_languages])

    def _restricted(
        self, name: str, keep_query: npt.NDArray[np.bool_], keep_passage: npt.NDArray[np.bool_]
    ) -> "RetrievalCollection":
        keep_pair = keep_query[self.relevant_queries] & keep_passage[self.relevant_passages]
        return replace(
            self,
            name=name,
            query_ids=list(compress(self.query_ids, keep_query)),
            queries=list(compress(self.queries, keep_query)),
            query_languages=self.query_languages[keep_query],
            passage_ids=list(compress(self.passage_ids, keep_passage)),
            passages=list(compress(self.passages, keep_passage)),
            passage_languages=self.passage_languages[keep_passage],
            relevant_queries=(np.cumsum(keep_query) - 1)[self.relevant_queries[keep_pair]],
            relevant_passages=(np.cumsum(keep_passage) - 1)[self.relevant_passages[keep_pair]],
            passage_contexts=None if self.passage_contexts is None else self.passage_contexts[keep_passage],
            grades=None if self.grades is None else self.grades[keep_pair],
        )


def _by_group(groups: IntArray, numbers: IntArray, shape: tuple[int, int]) -> csr_array:
    """Which queries or passages are of which group, ``(groups, queries or passages)``."""
    return csr_array((np.ones(len(groups), dtype=np.int32), (groups, numbers)), shape=shape)


def _plain(value: Any) -> Any:
    """A value of numpy, Arrow or a data set as Python's own, with all that it holds."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, pa.Scalar | np.generic):
        return value.as_py() if isinstance(value, pa.Scalar) else value.item()
    return value if isinstance(value, str) or not isinstance(value, Iterable) else [_plain(one) for one in value]
