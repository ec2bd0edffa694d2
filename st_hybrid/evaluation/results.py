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
MIXED_MEASURES = ("rank_distance", "foreign_recall_at_20", "language_preference_rate", "rank_correlation")
"""The measures of how a pool of all languages treats the languages."""
MULTI = "multi"  # name of the pool of all languages
PLAIN, CENTERED, QUOTAS = "plain", "centered: {}", "quotas"  # names of a task's scores: TaskScores.variants


class JsonScores:
    """A dataclass of scores that goes to JSON and back."""

    def to_dict(self) -> dict[str, Any]:
        """The scores as nested dictionaries, without attributes that are None."""
        present: Any = lambda items: {name: value for name, value in items if value is not None}  # noqa: E731
        return asdict(self, dict_factory=present)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Make the scores from what :meth:`to_dict` returned; ValueError if something is missing."""
        return TypeAdapter(cls).validate_python(content)


@dataclass(frozen=True, kw_only=True)
class SettingScores(JsonScores):
    """Scores of one setting, or their means over the settings of a kind."""

    map: float  #: Mean average precision over the full ranking.
    recall_at_1: float  #: Share of the relevant passages that rank first.
    recall_at_10: float  #: Share of the relevant passages among the first 10.
    ndcg_at_10: float  #: Normalised discounted cumulative gain of the first 10.
    mrr_at_10: float  #: Mean reciprocal rank of the first relevant passage, 0 if it is not among the first 10.
    contrastive_entropy: float | None = None  #: Mean -log softmax of a relevant passage against those that are not.
    peer_at_20: float | None = None  #: Language fairness of a pool of all languages: 0 is unfair, about 0.5 is fair.
    rank_distance: float | None = None  #: Largest minus smallest rank of the relevant passages in all languages.
    foreign_recall_at_20: float | None = None  #: Share of relevant passages in other languages among the first 20.
    language_preference_rate: float | None = None  #: How often the own language's passage is the first relevant one.
    rank_correlation: float | None = None  #: Mean rank correlation of a query with its translations, of all passages.


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers of queries and passages of each language, and of settings of each kind."""

    queries: dict[str, int]
    passages: dict[str, int]
    settings: dict[str, int]
    empty_settings: int = 0  #: Settings without a relevant passage; they are left out.
    one_language: int = 0  #: Queries whose relevant passages are in one language; they have no rank distance.


@dataclass(frozen=True, kw_only=True)
class RetrievalScores(JsonScores):
    """Scores of a retrieval collection. Means are over the queries of a setting, then over the settings of a kind."""

    monolingual: SettingScores | None = None  #: Means over the pools in the query's language, if there are any.
    cross_lingual: SettingScores | None = None  #: Means over the pools in one other language, if there are any.
    multilingual: SettingScores  #: Means over the pools of all languages.
    rank_distance: float | None = None  #: The language bias in the pool of all languages; lower is better.
    foreign_recall_at_20: float | None = None  #: Recall there of passages in other languages than the query's.
    language_preference_rate: float | None = None  #: How often the query's own language is first of equal translations.
    rank_correlation: float | None = None  #: How alike translations of a query rank that pool; 1 if all alike.
    per_pair: dict[str, SettingScores]  #: Scores of each setting: ``"en-de"``, or ``"en-multi"`` for all languages.
    top_10_languages: dict[str, dict[str, float]]  #: By query language, the languages' shares of the first 10 of all.
    counts: Counts  #: Numbers of queries, passages and settings.

    @property
    def by_setting(self) -> dict[str, SettingScores]:
        """The means of each kind that has settings, under the names of :data:`SETTINGS`."""
        means = {kind: getattr(self, kind) for kind in SETTINGS}
        return {kind: scores for kind, scores in means.items() if scores is not None}


@dataclass(frozen=True, kw_only=True)
class TaskScores(RetrievalScores):
    """Scores of a task in a file of ``st-hybrid evaluate``, and those of its variants."""

    centered: dict[str, RetrievalScores]  #: With language centering, by the means' origin: ``"evaluated"`` or a folder.
    quotas: RetrievalScores | None = None  #: With the languages' passages merged by rank.
    seconds: dict[str, float]  #: Seconds of ``encoding`` and of ``scoring``.
    sample: dict[str, int] | None = None  #: Number of ``queries`` and ``seed`` of the sample, if one was taken.

    @property
    def variants(self) -> dict[str, RetrievalScores]:
        """The scores by name: ``"plain"``, ``"centered: …"`` for each origin of means, and ``"quotas"``."""
        merged = {} if self.quotas is None else {QUOTAS: self.quotas}
        return {PLAIN: self, **{CENTERED.format(origin): part for origin, part in self.centered.items()}, **merged}


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
    """Scores of each language of MIRACL, and their means.

    The means are over ``all`` languages and, if they are there, over the 15 of the ``paper`` (arXiv 2408.10536).
    """

    per_language: dict[str, MiraclLanguageScores]
    means: dict[str, MiraclMeans]
