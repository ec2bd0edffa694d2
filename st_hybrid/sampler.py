"""Hybrid batch sampling: monolingual and cross-lingual batches in a set share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from sentence_transformers.base.sampler import DefaultBatchSampler, ProportionalBatchSampler

from st_hybrid.grouping import place_in_group
from st_hybrid.pairs import pair_text

logger = logging.getLogger(__name__)

Ints = NDArray[np.int64]

_STEPS_AT_ONCE = 1024  # steps turned into Python lists together: few enough to keep memory flat
_REPAIR_ROUNDS = 50  # each round frees nearly all clashes that are left, so a few do


class HybridBatchSampler(DefaultBatchSampler):
    """Draw each batch monolingual with share ``alpha`` and cross-lingual otherwise.

    The method is hybrid batch training (Elmahdy, Lin and Ahmad 2024, `arXiv 2408.10536
    <https://arxiv.org/abs/2408.10536>`_). Its baselines are settings of the same sampler:

    ======================  =========================================  ======================================
    baseline                a batch                                    setting
    ======================  =========================================  ======================================
    X-X-mono                one language                               ``alpha=1``
    X-Y                     each pair in two languages, all mixed      ``alpha=0``
    X-X (LAReQA)            each pair in one language, all mixed       ``alpha=1, language_sampling="mixed"``
    ======================  =========================================  ======================================

    An epoch is one pass over the parallel rows: it has as many pairs as there are rows to draw a query from, of
    whatever kind. Of its ``n`` batches ``round(alpha * n)`` are monolingual. No two pairs of a batch share a passage
    cluster or a query text, and within each kind the rows of a language are used equally often, give or take
    one, as far as that rule lets them. Seed and epoch alone decide the batches, so a resumed run sees those
    that it would have seen.

    Under several processes, ``batch_size`` is that of one process. All processes draw the same sequence, in which
    the batches of one step follow each other, so that accelerate hands each process its own; the rules above hold
    for the step as a whole, whose batches are of one kind and, if monolingual, of one language.

    Args:
        dataset: Pairs of :func:`~st_hybrid.parallel_pairs`, also after ``select``, ``filter`` or ``shuffle``.
        batch_size: Pairs of a batch, for each process.
        drop_last: Leave out the last step of an epoch if it has fewer pairs than the others.
        valid_label_columns: Taken because the trainer passes it; the pairs' own ``label`` is used.
        generator: Used only where ``seed`` is None, to draw one.
        seed: Seed of the draw, to which the epoch is added as a second number.
        alpha: Share of monolingual batches, 0 to 1.
        language_sampling: How monolingual batches take their language: ``"uniform"``, each equally often (the paper's
            rule); ``"proportional"``, by number of rows; ``"mixed"``, not at all: each pair keeps to one language
            and the batch mixes them.
        world_size: Number of processes; by default that of the running process group.

    Raises:
        TypeError: ``alpha`` is not a number, or ``dataset`` is an ``IterableDataset``.
        ValueError: ``alpha`` is outside 0 to 1, ``dataset`` did not come from ``parallel_pairs``, no language has
            enough passage clusters for a batch, or ``alpha < 1`` and no group has two languages.

    Example:
        ::

            from functools import partial
            from sentence_transformers import SentenceTransformerTrainingArguments
            from st_hybrid import HybridBatchSampler

            args = SentenceTransformerTrainingArguments("out", batch_sampler=HybridBatchSampler)
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
        language_sampling: Literal["uniform", "proportional", "mixed"] = "uniform",
        world_size: int | None = None,
    ) -> None:
        if not isinstance(alpha, (int, float, np.number)) or isinstance(alpha, bool):
            raise TypeError(f"alpha must be a number between 0 and 1, got {alpha!r}.")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha, the share of monolingual batches, must lie between 0 and 1, got {alpha!r}.")
        if language_sampling not in ("uniform", "proportional", "mixed"):
            raise ValueError(
                f'language_sampling must be "uniform", "proportional" or "mixed", got {language_sampling!r}.'
            )
        if not isinstance(dataset, Dataset):
            raise TypeError(
                f"HybridBatchSampler draws rows by number, which an {type(dataset).__name__} does not allow. Load the "
                "parallel rows as a datasets.Dataset and pass st_hybrid.parallel_pairs(rows)."
            )
        if seed is None:
            seed = int(torch.randint(2**31, (1,), generator=generator))
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        self.alpha = float(alpha)
        self.language_sampling = language_sampling
        self.world_size = _processes() if world_size is None else world_size
        self._step_size = batch_size * self.world_size

        pool = _PairPool.of(dataset)
        self._monolingual = self._monolingual_streams(pool) if alpha > 0 else []
        self._cross_lingual = self._cross_lingual_stream(pool) if alpha < 1 else None
        streams = [*self._monolingual, *([self._cross_lingual] if self._cross_lingual else [])]
        rows = len(np.unique(np.concatenate([stream.row for stream in streams])))
        self._full_steps, rest = divmod(rows, self._step_size)
        self._last_batch = 0 if drop_last else rest // self.world_size
        if len(self) == 0:
            raise ValueError(
                f"{rows:,} rows do not fill one step of {self._step_size:,} pairs and drop_last leaves out the rest. "
                "Take a smaller batch or drop_last=False."
            )

    def __len__(self) -> int:
        """Number of batches of an epoch, over all processes."""
        return (self._full_steps + (self._last_batch > 0)) * self.world_size

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the epoch's batches, each a list of row numbers of the pairs data set."""
        rng = np.random.default_rng([self.seed, self.epoch])
        last = self._last_batch * self.world_size
        steps, short = self._draw_epoch(rng, self._full_steps, last)
        for begin in range(0, len(steps), _STEPS_AT_ONCE):
            yield from steps[begin : begin + _STEPS_AT_ONCE].reshape(-1, self.batch_size).tolist()
        if last:
            yield from short.reshape(self.world_size, -1).tolist()

    def _draw_epoch(self, rng: np.random.Generator, full_steps: int, last: int) -> tuple[Ints, Ints]:
        """All full steps, one a row, and the pairs of the last and shorter one (none if ``last`` is 0)."""
        steps = full_steps + (last > 0)
        monolingual = round(self.alpha * steps)
        # The stream of each step: the cross-lingual one comes after the monolingual ones.
        stream_of_step = np.full(steps, len(self._monolingual))
        if monolingual:
            stream_of_step[:monolingual] = self._quota(monolingual, rng)
        rng.shuffle(stream_of_step)

        drawn = np.empty((full_steps, self._step_size), dtype=np.int64)
        short = np.empty(0, dtype=np.int64)
        for number, stream in enumerate([*self._monolingual, self._cross_lingual]):
            mine = np.flatnonzero(stream_of_step == number)
            if stream is None or not len(mine):
                continue
            has_short = last > 0 and mine[-1] == full_steps
            batches, rest = stream.draw(len(mine) - has_short, self._step_size, last if has_short else 0, rng)
            drawn[mine[: len(batches)]] = batches[rng.permutation(len(batches))]
            short = rest if has_short else short
        return drawn, short

    def _quota(self, steps: int, rng: np.random.Generator) -> Ints:
        """The monolingual stream of each of so many steps: equally often, or by size (largest remainder)."""
        sizes = np.array([len(stream.row) for stream in self._monolingual])
        share = sizes if self.language_sampling == "proportional" else np.ones_like(sizes)
        exact = steps * share / share.sum()
        quota = np.floor(exact).astype(np.int64)
        first = np.lexsort((rng.random(len(exact)), np.round(quota - exact, 9)))
        quota[first[: steps - quota.sum()]] += 1
        return np.repeat(np.arange(len(quota)), quota)

    def _monolingual_streams(self, pool: _PairPool) -> list[_Stream]:
        pairs = np.flatnonzero(pool.query_language == pool.passage_language)
        if self.language_sampling == "mixed":
            stream = pool.stream(pairs)
            if stream.largest_batch >= self._step_size:
                return [stream]
            raise ValueError(self._too_few("The monolingual pairs", stream))
        by_language = {
            language: pool.stream(pairs[pool.query_language[pairs] == number])
            for number, language in enumerate(pool.languages)
        }
        streams = {
            language: stream for language, stream in by_language.items() if stream.largest_batch >= self._step_size
        }
        if left_out := [language for language in by_language if language not in streams]:
            reason = (
                f"a batch takes {self._step_size:,} pairs with distinct passage clusters and query texts"
                + (f" ({self.world_size} processes of {self.batch_size:,})" if self.world_size > 1 else "")
                + ", and they have at most "
                + ", ".join(f"{by_language[name].largest_batch:,} ({name})" for name in left_out)
            )
            if not streams:
                raise ValueError(f"No language fills a monolingual batch: {reason}. Take a smaller batch.")
            logger.warning(
                "Monolingual batches leave out %s: %s. A smaller batch would take them in.",
                ", ".join(left_out),
                reason,
            )
        return list(streams.values())

    def _cross_lingual_stream(self, pool: _PairPool) -> _Stream:
        pairs = np.flatnonzero(pool.query_language != pool.passage_language)
        if not len(pairs):
            raise ValueError(
                f"alpha={self.alpha:g} asks for cross-lingual batches, but no group has rows in two languages. "
                "Translations must share an id; for monolingual batches alone set alpha=1."
            )
        stream = pool.stream(pairs)
        if stream.largest_batch < self._step_size:
            raise ValueError(self._too_few("The cross-lingual pairs", stream))
        return stream

    def _too_few(self, which: str, stream: _Stream) -> str:
        return (
            f"{which} give at most {stream.largest_batch:,} with distinct passage clusters and query texts, too few "
            f"for a batch of {self._step_size:,}. Take a smaller batch."
        )


class StepwiseProportionalBatchSampler(ProportionalBatchSampler):
    """Draw a data set of a ``DatasetDict`` for each step instead of each batch.

    sentence-transformers' ``ProportionalBatchSampler`` draws a data set for each batch, so under several processes the
    batches of one step come from different data sets, and are of different kinds. This one draws data sets by size
    as well, but hands a whole step to one of them; with one process a step is a batch.

    Example:
        ::

            args = SentenceTransformerTrainingArguments(
                "out",
                batch_sampler=HybridBatchSampler,
                multi_dataset_batch_sampler=StepwiseProportionalBatchSampler,
            )
    """

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of each step one after the other."""
        world_size = _processes()
        offsets = np.cumsum([0, *(len(part) for part in self.dataset.datasets)])  # type: ignore[arg-type]
        steps = np.repeat(np.arange(len(self.batch_samplers)), [len(s) // world_size for s in self.batch_samplers])
        batches = [iter(sampler) for sampler in self.batch_samplers]
        for number in np.random.default_rng([self.seed or 0, self.epoch]).permutation(steps).tolist():
            for _ in range(world_size):
                # NoDuplicatesBatchSampler, say, may fall short of the length that it gives.
                if (batch := next(batches[number], None)) is not None:
                    yield [row + int(offsets[number]) for row in batch]


@dataclass
class _PairPool:
    """A pairs data set as arrays, one entry a pair."""

    query_row: Ints
    positive_row: Ints
    query_language: Ints
    passage_language: Ints
    cluster: Ints
    query_text: Ints
    languages: list[str]

    @classmethod
    def of(cls, dataset: Dataset) -> _PairPool:
        text = pair_text(dataset)
        pairs = _columns(dataset, "query_row", "positive_row")
        keys = _columns(text.keys, "cluster", "language", "query_text")
        query, positive = pairs["query_row"], pairs["positive_row"]
        return cls(
            query,
            positive,
            keys["language"][query],
            keys["language"][positive],
            keys["cluster"][query],
            keys["query_text"][query],
            text.languages,
        )

    def stream(self, pairs: Ints) -> _Stream:
        """The stream of these pairs, which are all of one kind.

        A query row's pairs are put in the order of their partner's place in the ring of row numbers. Rows of one
        group that take the same place in that order then take different positives.
        """
        query, n_rows = self.query_row[pairs], max(int(self.query_row.max()), int(self.positive_row.max())) + 1
        ring = (self.positive_row[pairs] - query) % n_rows
        pairs = pairs[np.lexsort((ring, query, self.cluster[pairs]))]
        query = self.query_row[pairs]
        first = np.flatnonzero(np.diff(query, prepend=-1))
        cluster = np.unique(self.cluster[pairs[first]], return_inverse=True)[1]
        text = np.unique(self.query_text[pairs[first]], return_inverse=True)[1]
        return _Stream(query[first], cluster, text, pairs, first, np.diff(first, append=len(pairs)))


class _Stream:
    """Query rows to draw batches from; rows stand by passage cluster, and each has one pair or more.

    Attributes:
        row: Row number of each query in the parallel rows.
        cluster, text: Its passage cluster and query text, numbered from 0.
        pairs: The pairs of all rows, row by row; row ``i`` has ``count[i]`` of them from ``first[i]`` on.
    """

    def __init__(self, row: Ints, cluster: Ints, text: Ints, pairs: Ints, first: Ints, count: Ints) -> None:
        self.row, self.cluster, self.text = row, cluster, text
        self.pairs, self.first, self.count = pairs, first, count
        self.cluster_size = np.bincount(cluster)
        self.text_size = np.bincount(text)
        self.n_clusters = len(self.cluster_size)
        # Where a text keeps to one cluster, distinct clusters are distinct texts and need no further look.
        clusters_of_text = np.bincount(np.unique(np.stack([text, cluster]), axis=1)[0]) if len(text) else text
        self.texts_keep_to_a_cluster = bool((clusters_of_text <= 1).all())

    @cached_property
    def largest_batch(self) -> int:
        """The most pairs that a batch can have with distinct clusters and distinct query texts."""
        return self.n_clusters if self.texts_keep_to_a_cluster else len(self._matching)

    @cached_property
    def _matching(self) -> Ints:
        """A largest set of rows with distinct clusters and distinct query texts."""
        graph = coo_array((np.ones(len(self.row), dtype=bool), (self.cluster, self.text))).tocsr()
        text = maximum_bipartite_matching(graph, perm_type="column")
        key = self.cluster * len(self.text_size) + self.text
        wanted = np.flatnonzero(text >= 0) * len(self.text_size) + text[text >= 0]
        keys, row = np.unique(key, return_index=True)
        return row[np.searchsorted(keys, wanted)]

    def draw(self, batches: int, size: int, last: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Draw ``batches`` batches of ``size`` pairs, and one of ``last`` if that is not 0.

        Returns:
            Pair numbers of the full batches, ``(batches, size)``, and of the last one, ``(last,)``.
        """
        uses = self._choose_uses(batches * size + last, max(batches, 1), rng)
        rows = self._deal(uses, batches, size, last, rng) if uses is not None else self._rematch(batches + 1, size, rng)
        full, short = rows[:batches], rows[batches:, :last].reshape(-1)
        pairs = self._pairs_of(np.concatenate([full.reshape(-1), short]), rng)
        return pairs[: full.size].reshape(full.shape), pairs[full.size :]

    def _choose_uses(self, total: int, cap: int, rng: np.random.Generator) -> Ints | None:
        """How often each row is used: ``total`` times in all, and evenly.

        No cluster and no query text is used more than ``cap`` times, once a batch; rows that this stops leave
        their share to the others. None if the rule cannot be kept this way.
        """
        rounds, rest = divmod(total, len(self.row))
        most = max(int(self.cluster_size.max()), int(self.text_size.max()))
        uses = np.full(len(self.row), rounds)
        if (rounds + (rest > 0)) * most <= cap:
            uses[rng.permutation(len(self.row))[:rest]] += 1
            return uses
        uses[:] = 0
        cluster_room, text_room = np.full(self.n_clusters, cap), np.full(len(self.text_size), cap)
        while total:
            before, left = total, rng.permutation(len(self.row))  # a round: each row once more, if there is room
            while len(left) and total:
                left = left[(cluster_room[self.cluster[left]] > 0) & (text_room[self.text[left]] > 0)]
                within = place_in_group(self.cluster[left]) < cluster_room[self.cluster[left]]
                within &= place_in_group(self.text[left]) < text_room[self.text[left]]
                taken = left[within][:total]
                uses[taken] += 1
                cluster_room -= np.bincount(self.cluster[taken], minlength=self.n_clusters)
                text_room -= np.bincount(self.text[taken], minlength=len(self.text_size))
                total -= len(taken)
                left = left[~within]
            if total == before:
                return None
        return uses

    def _deal(self, uses: Ints, batches: int, size: int, last: int, rng: np.random.Generator) -> Ints:
        """Deal the uses to batches like cards, so that no batch gets a cluster twice.

        A cluster's uses lie together and number no more than the batches, so each goes to another batch. The order
        of the clusters, and where a cluster begins, are random. Query texts that clash after that trade places.

        Returns:
            Row places, ``(batches + 1, size)`` if there is a shorter last batch (filled up with -1).
        """
        hand = np.repeat(np.arange(len(uses)), uses)
        lengths = np.bincount(self.cluster[hand], minlength=self.n_clusters)
        if lengths.max() == 1:
            rng.shuffle(hand)
        else:
            starts = np.cumsum(lengths) - lengths
            order = rng.permutation(self.n_clusters)
            turn = rng.integers(np.maximum(lengths, 1))[order]
            lengths, starts = lengths[order], starts[order]
            place = np.arange(len(hand)) - np.repeat(np.cumsum(lengths) - lengths - turn, lengths)
            hand = hand[np.repeat(starts, lengths) + place % np.repeat(lengths, lengths)]

        dealt = np.full((batches + (last > 0), size), -1)
        if last:  # the first `last` rounds serve all batches, the others all but the last
            dealt[:, :last] = hand[: last * len(dealt)].reshape(last, -1).T
            hand = hand[last * len(dealt) :]
        dealt[:batches, last:] = hand.reshape(size - last, -1).T if batches else -1
        if not self.texts_keep_to_a_cluster:
            self._part_texts(dealt, rng)
        return dealt

    def _part_texts(self, dealt: Ints, rng: np.random.Generator) -> None:
        """Trade rows between batches until no batch has a query text twice."""
        flat = dealt.reshape(-1)
        batch = np.repeat(np.arange(len(dealt)), dealt.shape[1])
        real = np.flatnonzero(flat >= 0)

        def held(places: Ints, rows: Ints) -> tuple[Ints, Ints]:
            """What batches hold if these rows stand at these places, as one number for each cluster and text."""
            cluster, text = self.cluster[flat[rows]], self.text[flat[rows]]
            return batch[places] * self.n_clusters + cluster, batch[places] * len(self.text_size) + text

        clusters, texts = held(real, real)
        has_text = np.sort(texts)
        twice = has_text[1:][np.diff(has_text) == 0]
        if not len(twice):
            return
        suspect = _is_in(texts, twice)
        clash = real[suspect][place_in_group(texts[suspect]) > 0]
        has_cluster = np.sort(clusters)
        for _ in range(_REPAIR_ROUNDS):
            # Each clashing row asks one other place to trade. It may, if neither batch then has a cluster or a text
            # twice, by what stood there (what has left since counts too: that is cheaper, and seldom matters) and by
            # what the other trades bring.
            asked = real[rng.integers(len(real), size=len(clash))]
            brought = np.stack([held(asked, clash), held(clash, asked)], axis=1)
            fine = ~np.isin(asked, clash) & (place_in_group(asked) == 0)
            for new, old in zip(brought, (has_cluster, has_text), strict=True):
                fine &= ~_is_in(new, old).any(axis=0)
                fine &= (place_in_group(new.reshape(-1)).reshape(2, -1) == 0).all(axis=0)
            mover, other = clash[fine], asked[fine]
            flat[mover], flat[other] = flat[other], flat[mover]
            clash = clash[~fine]
            if not len(clash):
                return
            has_cluster, has_text = (
                np.sort(np.concatenate([old, new[:, fine].reshape(-1)]))
                for new, old in zip(brought, (has_cluster, has_text), strict=True)
            )
        stuck = np.unique(batch[clash])
        dealt[stuck] = np.where(dealt[stuck] >= 0, self._rematch(len(stuck), dealt.shape[1], rng), -1)

    def _rematch(self, batches: int, size: int, rng: np.random.Generator) -> Ints:
        """Batches out of one largest set of rows that may stand together.

        The way out where rows are so few, and share so much, that use cannot be even.
        """
        return np.stack([rng.permutation(self._matching)[:size] for _ in range(batches)])

    def _pairs_of(self, rows: Ints, rng: np.random.Generator) -> Ints:
        """A pair for each use of a row: another one each time, as long as the row has others.

        Rows of a cluster begin at the same random place of their lists, so that the rows of a group take
        different positives.
        """
        if len(self.pairs) == len(self.row):
            return self.pairs[rows]
        begin = rng.integers(1 << 40, size=self.n_clusters)[self.cluster[rows]]
        if np.bincount(rows, minlength=1).max() > 1:
            begin += place_in_group(rows)
        return self.pairs[self.first[rows] + begin % self.count[rows]]


def _processes() -> int:
    running = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if running else 1


def _columns(dataset: Dataset, *names: str) -> dict[str, Ints]:
    table = dataset.select_columns(list(names)).with_format("arrow")[:]
    return {name: table[name].to_numpy().astype(np.int64) for name in names}


def _is_in(values: Ints, ordered: Ints) -> NDArray[np.bool_]:
    """Whether each value is in a sorted array."""
    at = np.searchsorted(ordered, values)
    return ordered[np.minimum(at, len(ordered) - 1)] == values
