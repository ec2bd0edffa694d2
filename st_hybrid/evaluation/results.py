"""Scores of retrieval tasks: the measures of each setting, and their means over the settings of a kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

if TYPE_CHECKING:
    from typing_extensions import Self

SETTINGS = ("monolingual", "cross_lingual", "multilingual")
"""The kinds of settings: the pool is in the query's language, in one other language, or in all languages."""

MEASURES = ("map", "recall_at_1", "recall_at_10", "ndcg_at_10", "mrr_at_10")
"""The measures of every setting."""

MULTI = "multi"
"""Name of the pool of all languages."""

PLAIN, CENTERED = "plain", "centered: {}"
"""Names of a task's scores without and with language means subtracted."""


class JsonScores:
    """A dataclass of scores that goes to JSON and back."""

    def to_dict(self) -> dict[str, Any]:
        """The scores as nested dictionaries under the names of the attributes, without attributes that are None."""
        present: Any = lambda items: {name: value for name, value in items if value is not None}  # noqa: E731
        return asdict(self, dict_factory=present)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Make the scores from what :meth:`to_dict` returned; ValueError if something is missing."""
        return TypeAdapter(cls).validate_python(content)


@dataclass(frozen=True, kw_only=True)
class SettingScores(JsonScores):
    """Scores of one setting, or their means over the settings of a kind.

    Args:
        map: Mean average precision over the full ranking.
        recall_at_1: Share of the relevant passages that rank first.
        recall_at_10: Share of the relevant passages among the first 10.
        ndcg_at_10: Normalised discounted cumulative gain of the first 10.
        mrr_at_10: Mean reciprocal rank of the first relevant passage, 0 if it is not among the first 10.
        peer_at_20: Language fairness (:func:`~st_hybrid.evaluation.fairness.peer`) of a pool of all languages: near 0
            where languages are preferred, about 0.5 where the order does not depend on language.
        rank_distance: Largest minus smallest rank of a query's relevant passages in a pool of all languages.
    """

    map: float
    recall_at_1: float
    recall_at_10: float
    ndcg_at_10: float
    mrr_at_10: float
    peer_at_20: float | None = None
    rank_distance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers of queries and passages of each language, and of settings of each kind.

    Args:
        queries: By language.
        passages: By language.
        settings: By kind.
        empty_settings: Number of settings without a query that has a relevant passage; they are left out of the means.
        one_language: Number of queries whose relevant passages are in one language; they have no rank distance.
    """

    queries: dict[str, int]
    passages: dict[str, int]
    settings: dict[str, int]
    empty_settings: int = 0
    one_language: int = 0


@dataclass(frozen=True, kw_only=True)
class RetrievalScores(JsonScores):
    """Scores of a retrieval collection. Means are over the queries of a setting, then over the settings of a kind.

    Args:
        monolingual: Means over the settings whose pool is in the query's language; None if there are none.
        cross_lingual: Means over the settings whose pool is in one other language; None if there are none.
        multilingual: Means over the settings whose pool is in all languages.
        rank_distance: Mean rank distance in the pool of all languages: the language bias, lower is better. None if no
            query has relevant passages in two languages.
        per_pair: Scores of each setting, by query language and pool: ``"en-de"``, or ``"en-multi"`` for the pool of all
            languages.
        top_10_languages: For each query language, the share of each language among the first 10 passages in the pool of
            all languages.
        counts: Numbers of queries, passages and settings.

    Example:
        ::

            from st_hybrid.evaluation import RetrievalCollection, score_embeddings

            corpus, languages = {"p1": "Here.", "p2": "Hier."}, {"p1": "en", "p2": "de"}
            collection = RetrievalCollection.from_dicts({"q": "Where?"}, corpus, {"q": corpus}, {"q": "en"}, languages)
            scores = score_embeddings([[1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], collection)
            print(scores.multilingual.map, scores.per_pair["en-de"].recall_at_1, scores.rank_distance)  # 1.0 1.0 1.0
    """

    monolingual: SettingScores | None = None
    cross_lingual: SettingScores | None = None
    multilingual: SettingScores
    rank_distance: float | None = None
    per_pair: dict[str, SettingScores]
    top_10_languages: dict[str, dict[str, float]]
    counts: Counts

    @property
    def by_setting(self) -> dict[str, SettingScores]:
        """The means of each kind that has settings, under the names of :data:`SETTINGS`."""
        means = {kind: getattr(self, kind) for kind in SETTINGS}
        return {kind: scores for kind, scores in means.items() if scores is not None}


@dataclass(frozen=True, kw_only=True)
class TaskScores(RetrievalScores):
    """Scores of XQuAD-R or MLQA-R in a file of ``st-hybrid evaluate``.

    Args:
        centered: The scores with language means subtracted, by the means' origin: ``"evaluated"`` or a folder.
        seconds: Seconds of ``encoding`` and of ``scoring``.
        sample: Number of ``queries`` and ``seed`` of the sample; None if the task was evaluated whole.
    """

    centered: dict[str, RetrievalScores]
    seconds: dict[str, float]
    sample: dict[str, int] | None = None

    @property
    def variants(self) -> dict[str, RetrievalScores]:
        """The scores by name: ``"plain"``, and ``"centered: …"`` for each origin of means."""
        return {PLAIN: self, **{CENTERED.format(origin): scores for origin, scores in self.centered.items()}}


@dataclass(frozen=True, kw_only=True)
class MiraclMeans:
    """Means of MIRACL's measures."""

    ndcg_at_10: float
    recall_at_100: float


@dataclass(frozen=True, kw_only=True)
class MiraclLanguageScores(MiraclMeans):
    """Scores of one language of MIRACL; ``index_recall_at_100`` is that of an approximate search."""

    queries: int
    passages: int
    seconds: float
    index_recall_at_100: float | None = None


@dataclass(frozen=True, kw_only=True)
class MiraclScores(JsonScores):
    """Scores of MIRACL.

    Args:
        per_language: Scores of each language.
        means: Means over ``all`` languages and, if they are there, over the 15 of the ``paper`` (arXiv 2408.10536).
    """

    per_language: dict[str, MiraclLanguageScores]
    means: dict[str, MiraclMeans]
