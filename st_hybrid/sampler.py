"""Hybrid batch sampling: monolingual and cross-lingual batches in a set ratio."""

import logging
from collections.abc import Iterator
from typing import Any, Literal, get_args
from weakref import WeakSet

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers.base.sampler import DefaultBatchSampler, ProportionalBatchSampler

from st_hybrid.draw import PairRows, Shuffled, Stream
from st_hybrid.grouping import Ints
from st_hybrid.pairs import SAMPLERS, is_ordinary

logger = logging.getLogger(__name__)

LanguageSampling = Literal["uniform", "proportional", "mixed"]

_STEPS_AT_ONCE = 1024  # steps turned into Python lists together: few enough to keep memory flat


class HybridBatchSampler(DefaultBatchSampler):
    """Draw monolingual batches with share ``alpha`` and cross-lingual batches otherwise.

    The method is hybrid batch training (Elmahdy, Lin and Ahmad 2024, `arXiv 2408.10536
    <https://arxiv.org/abs/2408.10536>`_). Its baselines are settings: X-X-mono is ``alpha=1``, X-Y is ``alpha=0``, and
    LAReQA's X-X is ``alpha=1, language_sampling="mixed"``.

    An epoch has as many pairs as there are parallel rows that can be a query. Of its ``n`` batches,
    ``round(alpha * n)`` are monolingual, however many rows serve each kind: bitext rows serve cross-lingual pairs only,
    and rows without translations monolingual pairs only. No two pairs of a batch share a passage cluster or a query
    text. Within each kind of batch, the numbers of uses of a language's rows differ by at most one, as far as that rule
    permits. Seed and epoch alone decide the batches, so a resumed run sees the same ones.

    With several processes, ``batch_size`` is per process, and these rules hold for the union of a step's batches,
    which are of one kind and, if monolingual, of one language.

    Args:
        dataset: Pairs from :func:`~st_hybrid.parallel_pairs`.
        batch_size: Pairs per batch and process.
        drop_last: Leave out the last step of an epoch if it has fewer pairs than the others.
        valid_label_columns, generator: Passed by the trainer. The generator draws the seed if ``seed`` is None.
        seed: Seed of the draw.
        alpha: Share of monolingual batches, from 0 to 1.
        language_sampling: Monolingual batches take languages ``"uniform"``, equally often (the default, and the paper's
            rule), ``"proportional"`` to their rows, or ``"mixed"``: pairs of one language each, many in a batch.
        same_document: Fill cross-lingual batches with rows of the same documents, whose passages are harder to tell
            apart. Requires ``parallel_pairs(document_column=...)``; rows without a document are drawn at random.
        homogeneous: If False, a batch holds pairs of both kinds, with share ``alpha`` of monolingual pairs on average:
            a control that tells the effect of batches of one kind from that of both kinds of pairs.
        world_size: Number of processes, by default that of the running process group.

    Raises:
        ValueError: ``alpha`` is not a number from 0 to 1, ``language_sampling`` is unknown or has no effect,
            ``dataset`` did not come from ``parallel_pairs``, it lacks a kind of pair that ``alpha`` asks for, or it has
            too few passage clusters for a batch.

    Example:
        ::

            from functools import partial
            from sentence_transformers import SentenceTransformerTrainingArguments
            from st_hybrid import HybridBatchSampler

            args = SentenceTransformerTrainingArguments("out", batch_sampler=partial(HybridBatchSampler, alpha=0.3))
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = 0,
        *,
        alpha: float = 0.5,
        language_sampling: LanguageSampling | None = None,
        same_document: bool = False,
        homogeneous: bool = True,
        world_size: int | None = None,
    ) -> None:
        if not isinstance(alpha, (int, float, np.number)) or isinstance(alpha, bool) or not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be a number between 0 and 1, got {alpha!r}.")
        if language_sampling not in (None, *get_args(LanguageSampling)):
            raise ValueError(f"language_sampling must be uniform, proportional or mixed, got {language_sampling!r}.")
        for name, given, useless, reason in (
            ("language_sampling", language_sampling, alpha == 0, "with alpha=0, without monolingual batches"),
            ("same_document", same_document, alpha == 1, "with alpha=1, without cross-lingual batches"),
            ("homogeneous", not homogeneous, alpha in (0, 1), f"with alpha={alpha}, which has one kind of pair"),
            ("language_sampling", language_sampling, not homogeneous, "with homogeneous=False"),
            ("same_document", same_document, not homogeneous, "with homogeneous=False"),
        ):
            if given and useless:
                raise ValueError(f"{name} has no effect {reason}. Leave it out.")
        if seed is None:
            seed = int(torch.randint(2**31, (1,), generator=generator))
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        self.alpha = float(alpha)
        self.language_sampling = language_sampling or "uniform"
        self.same_document = same_document
        self.homogeneous = homogeneous
        self.world_size = _processes() if world_size is None else world_size
        self._monolingual = 0  # the first streams
        self._streams: list[Stream | Shuffled] = [Shuffled(len(dataset))] if is_ordinary(dataset) else []
        if self._streams:
            logger.warning("%s did not come from parallel_pairs: its batches are random.", _named(dataset))
        else:
            self._draw_from(PairRows.of(dataset), _named(dataset), is_first=dataset not in SAMPLERS)
            SAMPLERS.setdefault(dataset, WeakSet()).add(self)
        self._step_size = self.batch_size * self.world_size
        rows = len(np.unique(np.concatenate([stream.row for stream in self._streams])))
        self._full_steps, rest = divmod(rows, self._step_size)
        self._last_batch = 0 if drop_last else rest // self.world_size

    def __len__(self) -> int:
        """Number of batches of an epoch, over all processes."""
        return (self._full_steps + (self._last_batch > 0)) * self.world_size

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the epoch's batches, each a list of row numbers of the data set."""
        steps, last = self._draw_epoch(np.random.default_rng([self.seed, self.epoch]))
        for begin in range(0, len(steps), _STEPS_AT_ONCE):
            yield from steps[begin : begin + _STEPS_AT_ONCE].reshape(-1, self.batch_size).tolist()
        if self._last_batch:
            yield from last.reshape(self.world_size, -1).tolist()

    def _draw_epoch(self, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """The pairs of the full steps, ``(full steps, step size)``, and of the last and shorter step, if any."""
        last_size = self._last_batch * self.world_size
        steps = self._full_steps + (last_size > 0)
        monolingual = round(self.alpha * steps) if self._monolingual else 0
        stream_of_step = np.full(steps, self._monolingual)  # the cross-lingual stream follows the monolingual ones
        if monolingual:
            stream_of_step[:monolingual] = self._quota(monolingual, rng)
        rng.shuffle(stream_of_step)

        drawn = np.empty((self._full_steps, self._step_size), dtype=np.int64)
        last = np.empty(0, dtype=np.int64)
        for number, stream in enumerate(self._streams):
            mine = np.flatnonzero(stream_of_step == number)
            full = mine[mine < self._full_steps]
            batches, rest = stream.draw(len(full), self._step_size, last_size if len(full) < len(mine) else 0, rng)
            drawn[full] = batches[rng.permutation(len(full))]
            last = rest if len(rest) else last
        return drawn, last

    def _quota(self, steps: int, rng: np.random.Generator) -> Ints:
        """The stream of each monolingual step, by largest remainder."""
        sizes = np.array([len(stream.row) for stream in self._streams[: self._monolingual]])
        share = sizes if self.language_sampling == "proportional" else np.ones_like(sizes)
        exact = steps * share / share.sum()
        quota = np.floor(exact).astype(np.int64)
        first = np.lexsort((rng.random(len(exact)), np.round(quota - exact, 9)))
        quota[first[: steps - quota.sum()]] += 1
        return np.repeat(np.arange(len(quota)), quota)

    def _draw_from(self, pairs: PairRows, name: str, is_first: bool) -> None:
        """Make the streams, with smaller batches if the pairs fill no others."""
        if self.same_document and pairs.document is None:
            raise ValueError(
                f"{name} knows no documents, so same_document has no effect. Name their column: "
                "parallel_pairs(rows, document_column=...)."
            )
        monolingual = pairs.monolingual
        chosen: dict[str, dict[str, Ints]] = {}
        if self.alpha > 0:
            chosen["monolingual"] = self._monolingual_pairs(pairs, np.flatnonzero(monolingual))
        if self.alpha < 1:
            chosen["cross-lingual"] = {"all languages": np.flatnonzero(~monolingual)}
        mends = {
            "monolingual": "Add rows whose query is not their own positive; or set alpha=0 for cross-lingual batches.",
            "cross-lingual": "Shuffle pairs before you select some, because the monolingual ones come first; give "
            "translations the same id; or set alpha=1 for monolingual batches only.",
        }
        for kind, parts in chosen.items():
            if not any(map(len, parts.values())):
                raise ValueError(f"{name} has no {kind} pairs, and alpha={self.alpha:g} asks for them. {mends[kind]}")
        if 0 < self.alpha < 1 and is_first:
            self._say_what_serves(pairs, name)
        if not self.homogeneous:
            chosen = {"": {"": np.arange(len(monolingual))}}
        options: dict[str, Any] = {"monolingual": None if self.homogeneous else self.alpha}
        streams = {
            kind: {
                code: Stream(pairs, which, same_document=self.same_document and kind == "cross-lingual", **options)
                for code, which in parts.items()
                if len(which)
            }
            for kind, parts in chosen.items()
        }
        most = {kind: {code: stream.largest_batch for code, stream in parts.items()} for kind, parts in streams.items()}
        kind = min(most, key=lambda kind: max(most[kind].values()))
        fits = max(most[kind].values())
        if fits < self.batch_size * self.world_size:
            processes = f" in each of {self.world_size} processes" if self.world_size > 1 else ""
            reason = (
                f"{name} has too few {kind + ' ' * bool(kind)}pairs: with distinct passage clusters and query texts "
                f"they fill steps of at most {fits:,}, not batches of {self.batch_size:,}{processes}."
            )
            if self.drop_last or fits < self.world_size:
                raise ValueError(f"{reason} Choose a smaller batch.")
            self.batch_size = fits // self.world_size
            logger.warning("%s The batches have %d pairs.", reason, self.batch_size)
        size = self.batch_size * self.world_size
        small = {code: fits for code, fits in most.get("monolingual", {}).items() if fits < size}
        if small:
            logger.warning(
                "%s: monolingual batches leave out %s, with too few distinct passage clusters and query texts for "
                "batches of %d. A smaller batch would include them.",
                name,
                ", ".join(f"{code} ({fits:,})" for code, fits in small.items()),
                self.batch_size,
            )
        kept = [[stream for code, stream in of_kind.items() if code not in small] for of_kind in streams.values()]
        self._monolingual = len(kept[0]) if "monolingual" in streams else 0
        self._streams = [stream for of_kind in kept for stream in of_kind]

    def _monolingual_pairs(self, pairs: PairRows, which: Ints) -> dict[str, Ints]:
        """The numbers of the pairs of each language, or of all."""
        if self.language_sampling == "mixed":
            return {"all languages": which}
        language = pairs.language[pairs.query_row[which]]
        return {code: which[language == number] for number, code in enumerate(pairs.languages)}

    def _say_what_serves(self, pairs: PairRows, name: str) -> None:
        """Warn if some rows serve one kind of batch only, because alpha then repeats the rows of a kind more often."""
        one, other = (np.unique(pairs.query_row[which]) for which in (pairs.monolingual, ~pairs.monolingual))
        both = len(np.intersect1d(one, other, assume_unique=True))
        total = len(one) + len(other) - both
        if both < total:
            logger.warning(
                "%s: of %s rows, %s serve monolingual pairs only, %s cross-lingual pairs only and %s both. With "
                "alpha=%g, monolingual batches use each of theirs %.2g times per epoch, cross-lingual ones %.2g times.",
                name,
                *(f"{count:,}" for count in (total, len(one) - both, len(other) - both, both)),
                self.alpha,
                self.alpha * total / len(one),
                (1 - self.alpha) * total / len(other),
            )


class StepwiseProportionalBatchSampler(ProportionalBatchSampler):
    """Draw a data set of a ``DatasetDict`` per step instead of per batch.

    sentence-transformers' ``ProportionalBatchSampler`` draws a data set per batch, so with several processes the
    batches of one step come from different data sets and are of different kinds. This sampler also draws data sets by
    size, but takes all batches of a step from one. With one process a step is a batch.

    Example:
        ::

            from sentence_transformers import SentenceTransformerTrainingArguments
            from st_hybrid import StepwiseProportionalBatchSampler as Stepwise

            args = SentenceTransformerTrainingArguments("out", multi_dataset_batch_sampler=Stepwise)
    """

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of each step one after the other."""
        world_size = _processes()
        offsets = np.cumsum([0, *(len(part) for part in self.dataset.datasets)])  # type: ignore[arg-type]
        steps = np.repeat(np.arange(len(self.batch_samplers)), [len(s) // world_size for s in self.batch_samplers])
        batches = [iter(sampler) for sampler in self.batch_samplers]
        for number in np.random.default_rng([self.seed or 0, self.epoch]).permutation(steps).tolist():
            for _ in range(world_size):
                # Some samplers, such as NoDuplicatesBatchSampler, may yield fewer batches than their length.
                if (batch := next(batches[number], None)) is not None:
                    yield [row + int(offsets[number]) for row in batch]


def _named(dataset: Any) -> str:
    """The name that the trainer gave the data set in a dictionary, if any."""
    transform = getattr(dataset, "format", {}).get("format_kwargs", {}).get("transform")
    name = getattr(transform, "keywords", {}).get("dataset_name")
    return f"The data set {name!r}" if name else "The data set"


def _processes() -> int:
    running = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if running else 1
