"""Hybrid batch sampling: monolingual and cross-lingual batches in a set ratio.

A batch must not have a passage cluster or a query text twice. These are two relations between rows, and they stay two:
one relation, which links whatever shares a passage or a question, is as good on question answering sets and help
pages, but where many rows share short questions and answers it links most rows into one giant cluster, of which each
batch may take a single row (``benchmarks/results/query-links.json``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from sentence_transformers.base.sampler import DefaultBatchSampler, ProportionalBatchSampler

from st_hybrid.grouping import Ints, counting, place_in_group
from st_hybrid.pairs import pair_text

logger = logging.getLogger(__name__)

LanguageSampling = Literal["uniform", "proportional", "mixed"]

_STEPS_AT_ONCE = 1024  # steps turned into Python lists together: few enough to keep memory flat
_TRADES = 25  # rounds; each resolves most of the clashes that a trade can resolve


class HybridBatchSampler(DefaultBatchSampler):
    """Draw monolingual batches with share ``alpha`` and cross-lingual batches otherwise.

    The method is hybrid batch training (Elmahdy, Lin and Ahmad 2024, `arXiv 2408.10536
    <https://arxiv.org/abs/2408.10536>`_). Its baselines are settings of the same sampler:

    ======================  =======================================  ========================================
    baseline                a batch                                  setting
    ======================  =======================================  ========================================
    X-X-mono                all pairs in one language                ``alpha=1``
    X-Y                     each pair in two languages, all mixed    ``alpha=0``
    X-X (LAReQA)            each pair in one language, all mixed     ``alpha=1, language_sampling="mixed"``
    ======================  =======================================  ========================================

    An epoch has as many pairs as there are parallel rows that can be a query. Of its ``n`` batches,
    ``round(alpha * n)`` are monolingual. No two pairs of a batch share a passage cluster or a query text. Within each
    kind of batch, the numbers of uses of a language's rows differ by at most one, as far as that rule permits. Seed
    and epoch alone decide the batches, so a resumed run sees the same ones.

    With several processes, ``batch_size`` is per process. Every process draws the same sequence, in which the batches
    of a step follow each other, and accelerate hands each process its own. The rules hold for the union of a step's
    batches, which are of one kind and, if monolingual, of one language.

    Args:
        dataset: Pairs from :func:`~st_hybrid.parallel_pairs`, also after ``select``, ``filter`` or ``shuffle``.
        batch_size: Pairs per batch and process.
        drop_last: Leave out the last step of an epoch if it has fewer pairs than the others.
        valid_label_columns: Accepted because the trainer passes it. The pairs' own ``label`` is used.
        generator: Draws the seed if ``seed`` is None, and is unused otherwise.
        seed: Seed of the draw.
        alpha: Share of monolingual batches, from 0 to 1.
        language_sampling: How monolingual batches choose their language: ``"uniform"``, each language equally often
            (the default, and the paper's rule); ``"proportional"``, by number of rows; ``"mixed"``, not at all: each
            pair is in one language and the batch mixes them. It has no effect with ``alpha=0`` and is refused there.
        world_size: Number of processes, by default that of the running process group.

    Raises:
        TypeError: ``alpha`` is not a number, or ``dataset`` is not a ``Dataset``.
        ValueError: ``alpha`` is outside 0 to 1, ``language_sampling`` is unknown or has no effect, ``dataset`` did not
            come from ``parallel_pairs``, no language has enough passage clusters for a batch, or ``alpha < 1`` and no
            group has two languages.

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
        language_sampling: LanguageSampling | None = None,
        world_size: int | None = None,
    ) -> None:
        if not isinstance(alpha, (int, float, np.number)) or isinstance(alpha, bool):
            raise TypeError(f"alpha must be a number between 0 and 1, got {alpha!r}.")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha, the share of monolingual batches, must lie between 0 and 1, got {alpha!r}.")
        if language_sampling not in (None, "uniform", "proportional", "mixed"):
            raise ValueError(
                f'language_sampling must be "uniform", "proportional" or "mixed", got {language_sampling!r}.'
            )
        if language_sampling is not None and alpha == 0:
            raise ValueError(
                f"language_sampling={language_sampling!r} has no effect with alpha=0, which draws no monolingual "
                "batches. Leave it out, or choose a larger alpha."
            )
        if not isinstance(dataset, Dataset):
            raise TypeError(
                f"HybridBatchSampler draws rows by number, which {type(dataset).__name__} does not support. Load the "
                "parallel rows as a datasets.Dataset and pass st_hybrid.parallel_pairs(rows)."
            )
        if seed is None:
            seed = int(torch.randint(2**31, (1,), generator=generator))
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        self.alpha = float(alpha)
        self.language_sampling = language_sampling or "uniform"
        self.world_size = _processes() if world_size is None else world_size
        self._step_size = batch_size * self.world_size

        pairs = _Pairs.of(dataset)
        self._monolingual = self._monolingual_streams(pairs) if alpha > 0 else []
        self._streams = [*self._monolingual, *([self._cross_lingual_stream(pairs)] if alpha < 1 else [])]
        rows = len(np.unique(np.concatenate([stream.row for stream in self._streams])))
        self._full_steps, rest = divmod(rows, self._step_size)
        self._last_batch = 0 if drop_last else rest // self.world_size
        if len(self) == 0:
            raise ValueError(
                f"{rows:,} rows do not fill one step of {self._step_size:,} pairs, and drop_last leaves out the rest. "
                "Choose a smaller batch or drop_last=False."
            )

    def __len__(self) -> int:
        """Number of batches of an epoch, over all processes."""
        return (self._full_steps + (self._last_batch > 0)) * self.world_size

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the epoch's batches, each a list of row numbers of the pairs data set."""
        steps, last = self._draw_epoch(np.random.default_rng([self.seed, self.epoch]))
        for begin in range(0, len(steps), _STEPS_AT_ONCE):
            yield from steps[begin : begin + _STEPS_AT_ONCE].reshape(-1, self.batch_size).tolist()
        if self._last_batch:
            yield from last.reshape(self.world_size, -1).tolist()

    def _draw_epoch(self, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """The pairs of the full steps, ``(full steps, step size)``, and of the last and shorter step, if any."""
        last_size = self._last_batch * self.world_size
        steps = self._full_steps + (last_size > 0)
        monolingual = round(self.alpha * steps)
        stream_of_step = np.full(steps, len(self._monolingual))  # the cross-lingual stream follows the monolingual ones
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
        """The stream of each monolingual step: equally often, or by number of rows (largest remainder)."""
        sizes = np.array([len(stream.row) for stream in self._monolingual])
        share = sizes if self.language_sampling == "proportional" else np.ones_like(sizes)
        exact = steps * share / share.sum()
        quota = np.floor(exact).astype(np.int64)
        first = np.lexsort((rng.random(len(exact)), np.round(quota - exact, 9)))
        quota[first[: steps - quota.sum()]] += 1
        return np.repeat(np.arange(len(quota)), quota)

    def _monolingual_streams(self, pairs: _Pairs) -> list[_Stream]:
        monolingual = np.flatnonzero(pairs.query_language == pairs.passage_language)
        if self.language_sampling == "mixed":
            return [self._checked(_Stream(pairs, monolingual), "The monolingual pairs")]
        language = pairs.query_language[monolingual]
        streams = [_Stream(pairs, monolingual[language == number]) for number in range(len(pairs.languages))]
        sizes = dict(zip(pairs.languages, (stream.largest_batch for stream in streams), strict=True))
        if left_out := [f"{size:,} ({name})" for name, size in sizes.items() if size < self._step_size]:
            reason = (
                f"a batch takes {self._step_size:,} pairs with distinct passage clusters and query texts"
                + (f" ({self.world_size} processes of {self.batch_size:,})" if self.world_size > 1 else "")
                + f", and they have at most {', '.join(left_out)}"
            )
            if len(left_out) == len(streams):
                raise ValueError(f"No language fills a monolingual batch: {reason}. Choose a smaller batch.")
            names = ", ".join(name for name, size in sizes.items() if size < self._step_size)
            logger.warning("Monolingual batches leave out %s: %s. A smaller batch would include them.", names, reason)
        return [stream for stream in streams if stream.largest_batch >= self._step_size]

    def _cross_lingual_stream(self, pairs: _Pairs) -> _Stream:
        cross_lingual = np.flatnonzero(pairs.query_language != pairs.passage_language)
        if not len(cross_lingual):
            raise ValueError(
                f"alpha={self.alpha:g} asks for cross-lingual batches, but no group has rows in two languages. "
                "Give translations the same id, or set alpha=1 for monolingual batches only."
            )
        return self._checked(_Stream(pairs, cross_lingual), "The cross-lingual pairs")

    def _checked(self, stream: _Stream, name: str) -> _Stream:
        if stream.largest_batch < self._step_size:
            raise ValueError(
                f"{name} give at most {stream.largest_batch:,} with distinct passage clusters and query texts, too few "
                f"for a batch of {self._step_size:,}. Choose a smaller batch."
            )
        return stream


class StepwiseProportionalBatchSampler(ProportionalBatchSampler):
    """Draw a data set of a ``DatasetDict`` per step instead of per batch.

    sentence-transformers' ``ProportionalBatchSampler`` draws a data set per batch, so with several processes the
    batches of one step come from different data sets and are of different kinds. This sampler also draws data sets by
    size, but takes all batches of a step from one. With one process a step is a batch.

    Example:
        ::

            from sentence_transformers import SentenceTransformerTrainingArguments
            from st_hybrid import HybridBatchSampler, StepwiseProportionalBatchSampler

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
                # Some samplers, such as NoDuplicatesBatchSampler, may yield fewer batches than their length.
                if (batch := next(batches[number], None)) is not None:
                    yield [row + int(offsets[number]) for row in batch]


class _Pairs(NamedTuple):
    """A pairs data set as arrays, one entry per pair; ``partner`` orders the pairs of a query row."""

    query_row: Ints
    partner: Ints
    query_language: Ints
    passage_language: Ints
    cluster: Ints
    query_text: Ints
    languages: list[str]

    @classmethod
    def of(cls, dataset: Dataset) -> _Pairs:
        text = pair_text(dataset)
        query, positive = _columns(dataset, "query_row", "positive_row")
        cluster, language, query_text = _columns(text.keys, "cluster", "language", "query_text")
        # Pairs of a query row follow the ring of row numbers from that row on: rows of one group that take the same
        # place of their lists then take different positives.
        partner = (positive - query) % len(language)
        return cls(
            query, partner, language[query], language[positive], cluster[query], query_text[query], text.languages
        )


class _Stream:
    """Pairs of one kind, to draw batches from by their query rows.

    Attributes:
        row: Number of each query row in the parallel rows, shape ``(rows,)``.
        keys: Each row's passage cluster and query text, in one numbering, shape ``(2, rows)``. No batch may have a key
            twice.
        stack: For each row, a number for that one of its keys which more rows have. The rows of a stack lie together.
        loose: Which rows share a key with rows of other stacks.
    """

    def __init__(self, pairs: _Pairs, chosen: Ints) -> None:
        chosen = chosen[np.lexsort((pairs.partner[chosen], pairs.query_row[chosen]))]
        first = np.flatnonzero(np.diff(pairs.query_row[chosen], prepend=-1))
        of_row = chosen[first]
        cluster = np.unique(pairs.cluster[of_row], return_inverse=True)[1]
        text = np.unique(pairs.query_text[of_row], return_inverse=True)[1]
        keys = np.stack([cluster, cluster.max(initial=-1) + 1 + text])
        size = np.bincount(keys.reshape(-1))
        stack = np.unique(np.where(size[keys[0]] >= size[keys[1]], *keys), return_inverse=True)[1]

        order = np.argsort(stack, kind="stable")
        self.row, self.keys, self.stack = pairs.query_row[of_row][order], keys[:, order], stack[order]
        # The pairs of row i are the self._count[i] ones of self._pairs from self._first[i] on.
        self._pairs, self._first, self._count = chosen, first[order], np.diff(first, append=len(chosen))[order]
        self._n_keys, self._most, self._n_stacks = len(size), size.max(initial=0), int(stack.max(initial=-1)) + 1
        stacks_of_key = np.bincount(np.unique(self.keys * self._n_stacks + self.stack) // max(self._n_stacks, 1))
        self.loose = (stacks_of_key > 1)[self.keys].any(axis=0)

    @cached_property
    def largest_batch(self) -> int:
        """The most pairs that a batch can have with distinct clusters and distinct query texts."""
        return len(self._matching) if self.loose.any() else self._n_stacks

    @cached_property
    def _matching(self) -> Ints:
        """A largest set of rows with distinct clusters and distinct query texts."""
        row = np.unique(self.keys[0] * self._n_keys + self.keys[1], return_index=True)[1]
        graph = csr_array((row + 1, tuple(self.keys[:, row])))
        text = maximum_bipartite_matching(graph, perm_type="column")
        matched = np.flatnonzero(text >= 0)
        return graph[matched, text[matched]] - 1

    def draw(self, batches: int, size: int, last: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Draw ``batches`` batches of ``size`` pairs, and one of ``last`` if that is not 0.

        Returns:
            Pair numbers of the full batches, ``(batches, size)``, and of the last one, ``(last,)``.
        """
        # Uses are dealt in rounds: the first `last` rounds serve all batches, the others all but the last batch.
        served = batches + (last > 0)
        batch = np.concatenate([np.tile(np.arange(served), last), np.tile(np.arange(batches), size - last)])
        uses = self._uses(len(batch), max(batches, 1), rng)
        if uses is None:
            hand = self._matched(batch, rng)
        else:
            hand = self._stacked(uses, rng)
            self._part(hand, batch, rng)
        pairs = self._pairs_of(hand, rng)
        head = pairs[: served * last].reshape(last, served).T
        tail = pairs[served * last :].reshape(size - last, batches).T
        return np.hstack([head[:batches], tail]), head[batches:].reshape(-1)

    def _uses(self, total: int, cap: int, rng: np.random.Generator) -> Ints | None:
        """How often each row is used: ``total`` times in all, and evenly.

        No key is used more than ``cap`` times, once per batch; rows that this stops leave their share to the others.
        None if rows are so few, and share so much, that no such numbers are found.
        """
        rounds, rest = divmod(total, len(self.row))
        uses = np.full(len(self.row), rounds)
        if (rounds + (rest > 0)) * self._most <= cap:
            uses[rng.permutation(len(self.row))[:rest]] += 1
            return uses
        uses[:] = least = 0
        while total:
            room = cap - np.bincount(self.keys.reshape(-1), weights=np.tile(uses, 2))
            more = rng.permutation(np.flatnonzero((uses == least) & (room[self.keys] > 0).all(axis=0)))
            for key in self.keys:
                more = more[place_in_group(key[more]) < room[key[more]]]
            if len(more):
                uses[more[:total]] += 1
                total -= len(more[:total])
            elif uses.max() > least:
                least += 1  # rows that have no room now will have none later
            else:
                return None
        return uses

    def _stacked(self, uses: Ints, rng: np.random.Generator) -> Ints:
        """The uses in an order that, dealt in rounds, gives no batch two of a stack.

        The uses of a stack lie together and number no more than the batches, so each goes to another batch. The order
        of the stacks, and where a stack begins, are random.
        """
        hand = np.repeat(np.arange(len(uses)), uses)
        length = np.bincount(self.stack, weights=uses).astype(np.int64)
        if length.max() <= 1:
            return rng.permutation(hand)
        start = np.cumsum(length) - length
        order = rng.permutation(len(length))
        length, start = length[order], start[order]
        turned = counting(length) + np.repeat(rng.integers(np.maximum(length, 1)), length)
        return hand[np.repeat(start, length) + turned % np.repeat(length, length)]

    def _part(self, hand: Ints, batch: Ints, rng: np.random.Generator) -> None:
        """Trade uses between batches until no batch has a key twice.

        Each use that clashes asks a random other one to trade. They trade if neither batch then has a key twice, by
        what the batches hold and by what the round's other trades bring. Uses that find no trade give way to a random
        row that fits, and batches without one are matched.
        """
        for attempt in range(2 * _TRADES):
            clash = self._clashing(hand, batch)
            if not len(clash):
                return
            trade = attempt < _TRADES
            asked = rng.integers(len(hand if trade else self.row), size=len(clash))
            new = hand[asked] if trade else asked
            brought = self._held(batch[clash], new)
            involved = np.zeros(batch.max() + 1, dtype=bool)
            involved[batch[clash]] = True
            if trade:
                brought = np.concatenate([brought, self._held(batch[asked], hand[clash])])
                involved[batch[asked]] = True
            there = np.flatnonzero(involved[batch])
            taken = _is_in(brought, np.sort(self._held(batch[there], hand[there]), axis=None))
            fine = ~(taken | (place_in_group(brought.reshape(-1)) > 0).reshape(brought.shape)).any(axis=0)
            if trade:
                fine &= (place_in_group(asked) == 0) & ~np.isin(asked, clash)
                hand[asked[fine]] = hand[clash[fine]]
            hand[clash[fine]] = new[fine]
        stuck = np.flatnonzero(np.isin(batch, batch[self._clashing(hand, batch)]))
        if len(stuck):
            hand[stuck] = self._matched(batch[stuck], rng)

    def _clashing(self, hand: Ints, batch: Ints) -> Ints:
        """The places of uses of which their batch has a key at an earlier place."""
        places = np.flatnonzero(self.loose[hand])
        held = self._held(batch[places], hand[places])
        ordered = np.sort(held, axis=None)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if not len(twice):
            return twice
        suspect = _is_in(held, twice).any(axis=0)
        again = place_in_group(held[:, suspect].reshape(-1)).reshape(2, -1) > 0
        return places[suspect][again.any(axis=0)]

    def _held(self, batch: Ints, rows: Ints) -> Ints:
        """What a batch holds by a use of a row: a number per batch and key, shape ``(2, uses)``."""
        return batch * self._n_keys + self.keys[:, rows]

    def _matched(self, batch: Ints, rng: np.random.Generator) -> Ints:
        """A row for each place of these batches, out of one largest set of rows that fit together.

        This is the last resort, where rows are so few, and share so much, that use cannot be even.
        """
        rows = np.empty_like(batch)
        sizes = np.unique(batch, return_counts=True)[1]
        rows[np.argsort(batch, kind="stable")] = np.concatenate([rng.permutation(self._matching)[:n] for n in sizes])
        return rows

    def _pairs_of(self, rows: Ints, rng: np.random.Generator) -> Ints:
        """A pair for each use of a row: another one each time, as long as the row has others.

        Rows of a cluster begin at the same random place of their lists, so that the rows of a group take different
        positives.
        """
        if len(self._pairs) == len(self.row):
            return self._pairs[self._first[rows]]
        place = rng.integers(1 << 40, size=self._n_keys)[self.keys[0][rows]]
        if np.bincount(rows, minlength=1).max() > 1:
            place += place_in_group(rows)
        return self._pairs[self._first[rows] + place % self._count[rows]]


def _processes() -> int:
    running = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if running else 1


def _columns(dataset: Dataset, *names: str) -> list[Ints]:
    table = dataset.select_columns(list(names)).with_format("arrow")[:]
    return [table[name].to_numpy().astype(np.int64) for name in names]


def _is_in(values: Ints, ordered: Ints) -> NDArray[np.bool_]:
    """Whether each value is in a sorted array."""
    at = np.searchsorted(ordered, values)
    return ordered[np.minimum(at, len(ordered) - 1)] == values
