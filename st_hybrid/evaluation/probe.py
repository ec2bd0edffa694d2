"""Is a corpus of mixed languages affected by language bias? Measured on its passages, without queries or judgements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from st_hybrid.encoders import require_finite
from st_hybrid.evaluation.results import JsonScores
from st_hybrid.grouping import Ints, place_in_group
from st_hybrid.methods.centering import Floats, LanguageCentering

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Numbers = npt.NDArray[np.float64]

FEWEST = 50  # passages of a language to measure it
TOLERATED = 0.1  # language preference up to which nothing needs to be done

_DEVIATIONS = 1.96  # of a normal distribution, for a 95% interval
_BLOCK = 1 << 22  # similarities at once


@dataclass(frozen=True, kw_only=True)
class Estimate(JsonScores):
    """A value, and the 95% interval that follows from the sampling of the passages."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class LanguageProbe(JsonScores):
    """The passages of one language, and the languages of the ``k`` passages nearest to each."""

    passages: int  #: Their number.
    pool: float  #: Share of the language in the pool in which nearest passages are searched.
    own: Estimate  #: Share of the language among the nearest passages.
    own_centered: Estimate  #: The same after centring.
    nearest: dict[str, float]  #: Share of each language among the nearest passages.
    nearest_centered: dict[str, float]  #: The same after centring.


@dataclass(frozen=True, kw_only=True)
class CorpusProbe(JsonScores):
    """How much language decides which passages of a corpus are close to each other. Print it with rich.

    Args:
        passages: Number of passages measured.
        k: Number of nearest passages looked at.
        language_variance: Share of the vectors' variance that language means explain, less what they would explain by
            chance. Languages count equally. 0 if vectors do not depend on language, 1 if on nothing else.
        nearest_mean_accuracy: Share of the vectors that are nearest to the mean of their own language.
        preference: Language preference, the mean over languages of (own - pool) / (1 - pool): 1 if all nearest passages
            are in the passage's own language, 0 if their languages are those of the pool, below 0 if other languages
            come first, as translations do.
        preference_centered: The same after centring.
        languages: The measures of each language.
        left_out: Number of passages in each language that has too few.
    """

    passages: int
    k: int
    language_variance: Estimate
    nearest_mean_accuracy: Estimate
    preference: Estimate
    preference_centered: Estimate
    languages: dict[str, LanguageProbe]
    left_out: dict[str, int]

    @property
    def advice(self) -> Literal["nothing", "center", "train"]:
        """Nothing up to a language preference of 0.1; center if that reduces it to 0.1; otherwise train.

        The low ends of the intervals count: chance alone is no reason to do more.
        """
        if self.preference.low <= TOLERATED:
            return "nothing"
        return "center" if self.preference_centered.low <= TOLERATED else "train"

    @property
    def conclusion(self) -> str:
        """The advice in one sentence."""
        before, after = f"{self.preference.value:.2f}", f"{self.preference_centered.value:.2f}"
        fall = f"without language means the preference for the own language falls from {before}"
        return {
            "nothing": f"Do nothing: passages hardly prefer their own language ({before}).",
            "center": f"Center: {fall} to {after}.",
            "train": f"Train with hybrid batches: {fall} only to {after}.",
        }[self.advice]

    def to_dict(self) -> dict[str, Any]:
        """The measures as nested dictionaries, with ``advice`` and ``conclusion``."""
        return {"advice": self.advice, "conclusion": self.conclusion, **super().to_dict()}

    def __rich__(self) -> Group:
        summary = Table("", "value", "95% interval", title=f"{self.passages:,} passages", title_justify="left")
        for name, part in (
            ("variance explained by language", self.language_variance),
            ("vectors nearest to the mean of their own language", self.nearest_mean_accuracy),
            ("language preference (0 none, 1 only the own)", self.preference),
            ("… centred", self.preference_centered),
        ):
            summary.add_row(name, f"{part.value:.3f}", f"{part.low:.3f} to {part.high:.3f}")
        title = f"Own language among the {self.k} nearest passages, in per cent"
        table = Table("language", title=title, title_justify="left")
        for header in ("passages", "pool", "nearest", "… centred"):
            table.add_column(header, justify="right")
        table.add_column("most frequent others")
        for code, language in self.languages.items():
            own = (f"{100 * e.value:.0f} ± {50 * (e.high - e.low):.0f}" for e in (language.own, language.own_centered))
            others = sorted((-share, other) for other, share in language.nearest.items() if other != code)[:3]
            shown = ", ".join(f"{other} {-100 * share:.0f}" for share, other in others if share < -0.005)
            table.add_row(escape(code), f"{language.passages:,}", f"{100 * language.pool:.0f}", *own, escape(shown))
        left_out = ", ".join(f"{escape(code)} ({count:,})" for code, count in self.left_out.items())
        return Group(summary, table, *([f"Left out, too few passages: {left_out}"] if left_out else []))


def probe_corpus(
    model: SentenceTransformer,
    passages: Sequence[str],
    languages: Sequence[str],
    *,
    k: int = 10,
    per_language: int = 400,
    batch_size: int = 32,
    document_prompt: str | None = None,
    seed: int = 0,
    show_progress_bar: bool = False,
) -> CorpusProbe:
    """Measure how much language decides which passages of a corpus a model puts close together.

    A bi-encoder that separates languages finds passages in the language of the query first, whatever they say. This
    shows without queries: most of the passages nearest to a passage (by cosine) are in its own language, far more than
    the corpus has of it. The same is measured after centring (:class:`~st_hybrid.LanguageCentering`). One half of the
    passages gives the means for the other half, and nearest passages are searched within a half, so no passage has a
    part in the means that are subtracted from it or from those around it.

    Repeated passages count once. The larger the corpus, the nearer the nearest passages and the higher the preference;
    intervals hold for a corpus of as many passages as were given.

    Args:
        model: The model that searches the corpus.
        passages: Passages of the corpus; a random sample of some thousands is enough.
        languages: Language of each passage.
        k: Number of nearest passages to look at.
        per_language: Largest number of passages per language whose nearest ones are searched.
        batch_size: Passages per encoding batch.
        document_prompt: Text before each passage; by default the model's own document prompt.
        seed: Seed of the division into halves.
        show_progress_bar: Show the progress of encoding.

    Returns:
        The measures, with intervals.

    Raises:
        ValueError: Fewer than two languages have enough passages, or there is not one language per passage.

    Example:
        ::

            from rich import print
            from sentence_transformers import SentenceTransformer
            from st_hybrid.evaluation import probe_corpus

            passages = [text.format(i) for i in range(50) for text in ("House {} is red.", "Haus {} ist rot.")]
            model = SentenceTransformer("intfloat/multilingual-e5-small")
            probe = probe_corpus(model, passages, ["en", "de"] * 50)
            print(probe, probe.preference.value, probe.conclusion)
    """
    if len(passages) != len(languages):
        raise ValueError(f"There are {len(passages):,} passages but {len(languages):,} languages. Give one for each.")
    distinct = dict.fromkeys(zip(passages, languages, strict=True))
    texts, codes = [text for text, _ in distinct], [code for _, code in distinct]
    _measurable(codes, k)  # before the encoding
    embeddings = model.encode_document(
        texts, prompt=document_prompt, batch_size=batch_size, show_progress_bar=show_progress_bar
    )
    require_finite(embeddings, texts)
    return probe_embeddings(embeddings, codes, k=k, per_language=per_language, seed=seed)


def probe_embeddings(
    embeddings: Floats, languages: Sequence[str], *, k: int = 10, per_language: int = 400, seed: int = 0
) -> CorpusProbe:
    """Measure given embeddings of distinct passages, shape ``(passages, dimensions)``, as :func:`probe_corpus` does."""
    if len(embeddings) != len(languages):
        raise ValueError(f"There are {len(embeddings):,} vectors but {len(languages):,} languages. Give one for each.")
    codes, left_out = _measurable(languages, k)
    kept = np.random.default_rng(seed).permutation(np.flatnonzero(np.isin(languages, codes)))
    vectors, names = np.asarray(embeddings, dtype=np.float32)[kept], np.asarray(languages)[kept]
    if not np.isfinite(vectors).all():
        raise ValueError("An embedding holds a value that is not finite. Check the model, or leave its passage out.")
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    language = np.searchsorted(codes, names)
    counts = np.bincount(language)
    place = place_in_group(language)
    half, searched = place % 2, np.flatnonzero(place < per_language)

    centered, own_mean, pool = np.empty_like(vectors), np.empty(len(kept)), np.empty(len(kept))
    for part in (0, 1):
        here, other = half == part, half != part
        means = LanguageCentering.from_embeddings(vectors[other], names[other], vectors[other], names[other])
        centered[here] = means.transform(vectors[here], names[here], "document")
        own_mean[here] = means.nearest_languages(vectors[here], "document") == names[here]
        pool[here] = ((np.bincount(language[here]) - 1) / (here.sum() - 1))[language[here]]
    pool = np.bincount(language[searched], pool[searched]) / np.minimum(counts, per_language)

    (plain, error), (after, error_after) = (
        _nearest_languages(part, language, half, searched, k) for part in (vectors, centered)
    )
    weight = 1 / (1 - pool) / len(codes)  # of a language's own share in the preference
    preference, preference_centered = (
        _estimate(weight @ (np.diag(shares) - pool), influence @ weight, lowest=-1)
        for shares, influence in ((plain, error), (after, error_after))
    )
    return CorpusProbe(
        passages=len(kept),
        k=k,
        language_variance=_explained_variance(vectors, language),
        nearest_mean_accuracy=_estimate(*_mean_over_languages(own_mean, language)),
        preference=preference,
        preference_centered=preference_centered,
        languages={
            code: LanguageProbe(
                passages=int(counts[number]),
                pool=float(pool[number]),
                own=_estimate(plain[number, number], error[:, number]),
                own_centered=_estimate(after[number, number], error_after[:, number]),
                nearest=dict(zip(codes, plain[number].tolist(), strict=True)),
                nearest_centered=dict(zip(codes, after[number].tolist(), strict=True)),
            )
            for number, code in enumerate(codes)
        },
        left_out=left_out,
    )


def _measurable(languages: Sequence[str], k: int) -> tuple[list[str], dict[str, int]]:
    """The languages with enough passages, in alphabetic order, and the passages of the others."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    fewest = max(FEWEST, 2 * (k + 1))  # each half has k more passages of a passage's language
    counts = Counter(languages)
    codes = sorted(code for code, count in counts.items() if count >= fewest)
    if len(codes) < 2:
        found = ", ".join(f"{code} {count:,}" for code, count in counts.most_common(20))
        raise ValueError(
            f"The corpus needs {fewest} distinct passages in each of at least two languages; it has {found or 'none'}. "
            "Take a larger sample, or check the languages."
        )
    return codes, {code: count for code, count in counts.most_common() if count < fewest}


def _nearest_languages(vectors: Floats, language: Ints, half: Ints, searched: Ints, k: int) -> tuple[Numbers, Numbers]:
    """Look up the languages of the vectors nearest to those searched for, within a half.

    Returns:
        For each language the share of each among the ``k`` nearest, shape ``(languages, languages)``; vectors that tie
        share the last places. And the influence of each vector on each language's own share, shape ``(vectors,
        languages)``: as one searched for, and as one whose places would otherwise go to the next nearest (the
        infinitesimal jackknife).
    """
    of_language = np.eye(language.max() + 1, dtype=np.float32)[language]
    counts = of_language[searched].sum(axis=0)
    shares, influence = np.zeros((len(counts), len(counts))), np.zeros(of_language.shape)
    for part in (0, 1):
        pool = np.flatnonzero(half == part)
        rows = np.flatnonzero(np.isin(pool, searched))  # numbers in the pool
        block = max(1, _BLOCK // len(pool))
        for some in (rows[start : start + block] for start in range(0, len(rows), block)):
            similarity = vectors[pool[some]] @ vectors[pool].T
            similarity[np.arange(len(some)), some] = -np.inf  # a passage is not its own neighbour
            following, last = np.partition(similarity, (-k - 1, -k), axis=1)[:, [-k - 1, -k], None].swapaxes(0, 1)
            above, tied = (similarity > last).astype(np.float32), (similarity == last).astype(np.float32)
            taken = above + tied * ((k - above.sum(axis=1, keepdims=True)) / tied.sum(axis=1, keepdims=True))
            after = (similarity == following).astype(np.float32)
            own = of_language[pool[some]]
            found = taken @ of_language[pool]  # counts of each language
            next_found = after @ of_language[pool] / after.sum(axis=1, keepdims=True)
            shares += own.T @ found
            influence[pool[some]] += own * found
            influence[pool] += taken.T @ own * of_language[pool] - taken.T @ (own * next_found)
    shares /= k * counts[:, None]
    influence[searched] -= k * of_language[searched] * np.diag(shares)
    return shares, influence / (k * counts)


def _explained_variance(vectors: Floats, language: Ints) -> Estimate:
    """Share of the variance that the language means explain, less what as many means would explain by chance."""
    count = np.bincount(language)
    means = np.eye(len(count))[language].T @ vectors / count[:, None]
    within = np.square(vectors - means[language]).sum(axis=1) * (count / (count - 1))[language]
    within_language = np.bincount(language, within) / count
    chance = (within_language / count).mean() * (1 - 1 / len(count))
    between = max(0.0, np.square(means - means.mean(axis=0)).sum(axis=1).mean() - chance)
    total = between + within_language.mean()
    if total < 1e-12:  # rounding: all vectors are equal, and of length 1
        return _estimate(0.0, within)
    share = between / total
    overall = np.square(vectors - means.mean(axis=0)).sum(axis=1)
    _, influence = _mean_over_languages(((1 - share) * overall - within) / total, language)
    return _estimate(share, influence)


def _mean_over_languages(values: Numbers, language: Ints) -> tuple[float, Numbers]:
    """The mean over languages of their passages' mean values, and the influence of each passage on it."""
    counts = np.bincount(language)
    means = np.bincount(language, values) / counts
    return means.mean(), (values - means[language]) / counts[language] / len(counts)


def _estimate(value: Any, influence: Numbers, lowest: float = 0.0) -> Estimate:
    """A value with the interval that follows from the influence of each passage on it."""
    error = _DEVIATIONS * np.linalg.norm(influence)
    value, low, high = np.clip([value, value - error, value + error], lowest, 1.0).tolist()
    return Estimate(value=value, low=low, high=high)
