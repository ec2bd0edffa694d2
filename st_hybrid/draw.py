"""Draw batches of pairs in which no passage cluster and no query text occurs twice.

Equal passages and equal queries stay two relations: one that links rows which share either makes a giant of rows with
short questions and answers, such as "Why?" and "Yes." (``benchmarks/results/query-links.json``).
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from st_hybrid.grouping import Ints, counting, place_in_group
from st_hybrid.pairs import pair_text
from st_hybrid.rows import DOCUMENT

_TRADES = 25  # rounds; each resolves most of the clashes that a trade can resolve


class PairRows(NamedTuple):
    """The two row numbers of each pair, shape ``(pairs,)``, and what is known of each row, shape ``(rows,)``."""

    query_row: Ints
    positive_row: Ints
    language: Ints
    passage_language: Ints
    cluster: Ints
    query_text: Ints
    document: Ints | None
    languages: list[str]

    @classmethod
    def of(cls, dataset: Dataset) -> "PairRows":
        """Read them from a data set of :func:`~st_hybrid.parallel_pairs`."""
        text = pair_text(dataset)
        query, positive = _columns(dataset, "query", "positive")
        keys = ("language", "passage_language", "cluster", "query_text")
        language, passage_language, cluster, query_text = _columns(text.keys, *keys)
        document = _columns(text.keys, DOCUMENT)[0] if DOCUMENT in text.keys.column_names else None
        return cls(query, positive, language, passage_language, cluster, query_text, document, text.languages)

    @property
    def monolingual(self) -> NDArray[np.bool_]:
        """Whether query and positive of each pair are in one language."""
        return self.language[self.query_row] == self.passage_language[self.positive_row]


class Shuffled:
    """The rows of an ordinary data set, to draw random batches from."""

    def __init__(self, rows: int) -> None:
        self.row = np.arange(rows)

    def draw(self, batches: int, size: int, last: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Draw row numbers, as :meth:`Stream.draw` does."""
        order = rng.permutation(self.row)
        return order[: batches * size].reshape(batches, size), order[batches * size :][:last]


class Stream:
    """Pairs of one kind, to draw batches from by their query rows.

    Args:
        pairs: All pairs.
        chosen: Numbers of the pairs to draw from.
        same_document: Put rows of the same document into the same batch.
        monolingual: Draw this share of all uses from the monolingual pairs; a row then counts once per kind.

    Attributes:
        row: Number of each query row in the parallel rows, shape ``(rows,)``.
        keys: Each row's passage cluster and query text, in one numbering, shape ``(2, rows)``.
        stack: For each row, a number for that one of its keys which more rows have. The rows of a stack lie together.
        loose: Which rows share a key with rows of other stacks.
    """

    def __init__(
        self, pairs: PairRows, chosen: Ints, *, same_document: bool = False, monolingual: float | None = None
    ) -> None:
        query = pairs.query_row[chosen]
        # The pairs of a query row follow the ring of row numbers from that row on: rows of one group that take the
        # same place of their lists then take different positives.
        partner = (pairs.positive_row[chosen] - query) % len(pairs.language)
        kind = pairs.monolingual[chosen] if monolingual is not None else np.zeros(len(chosen), dtype=bool)
        order = np.lexsort((partner, kind, query))
        first = np.flatnonzero(np.diff(2 * query[order] + kind[order], prepend=-1))
        row = query[order][first]
        cluster = np.unique(pairs.cluster[row], return_inverse=True)[1]
        text = np.unique(pairs.query_text[row], return_inverse=True)[1]
        keys = np.stack([cluster, cluster.max(initial=-1) + 1 + text])
        size = np.bincount(keys.reshape(-1))
        stack = np.unique(np.where(size[keys[0]] >= size[keys[1]], *keys), return_inverse=True)[1]

        by_stack = np.argsort(stack, kind="stable")
        self.row, self.keys, self.stack = row[by_stack], keys.take(by_stack, axis=1), stack[by_stack]
        # Row i has the self._count[i] pairs of self._pairs from self._first[i] on.
        self._pairs, self._first = chosen[order], first[by_stack]
        self._count = np.diff(first, append=len(chosen))[by_stack]
        self._n_keys, self._most, self._n_stacks = len(size), size.max(initial=0), int(stack.max(initial=-1)) + 1
        stacks_of_key = np.bincount(np.unique(self.keys * self._n_stacks + self.stack) // max(self._n_stacks, 1))
        self.loose = (stacks_of_key > 1)[self.keys].any(axis=0)
        # Parts of all uses, and the rows that serve them.
        self._parts = [(1.0, np.arange(len(row)))]
        if monolingual is not None:
            is_monolingual = kind[order][first][by_stack]
            self._parts = [(monolingual, np.flatnonzero(is_monolingual)), (1.0, np.flatnonzero(~is_monolingual))]
        self._document = None
        if same_document and pairs.document is not None:
            self._document = np.unique(pairs.document[self.row], return_inverse=True)[1]

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
        """Draw pair numbers: ``batches`` full batches, shape ``(batches, size)``, and one of shape ``(last,)``."""
        # Uses are dealt in rounds: the first `last` rounds serve all batches, the others all but the last batch.
        served = batches + (last > 0)
        # A key that several rows have, or a stack that begins after the first rounds, must leave out the last batch.
        uses = self._uses(batches * size + last, served if self._most == 1 else max(batches, 1), rng)
        if uses is not None and uses.any() and self._document is not None:
            batch = np.repeat(np.arange(served), [size] * batches + [last] * (last > 0))
            pairs = self._pairs_of(self._part(self._neighbors(uses, self._document, rng), batch, rng), rng)
            return pairs[: batches * size].reshape(batches, size), pairs[batches * size :]
        hand = self._stacked(uses, rng) if uses is not None else None
        if hand is None or self.loose.any():
            batch = np.concatenate([np.tile(np.arange(served), last), np.tile(np.arange(batches), size - last)])
            hand = self._matched(batch, rng) if hand is None else self._part(hand, batch, rng)
        pairs = self._pairs_of(hand, rng)
        head = pairs[: served * last].reshape(last, served).T
        tail = pairs[served * last :].reshape(size - last, batches).T
        return np.hstack([head[:batches], tail]), head[batches:].reshape(-1)

    def _uses(self, total: int, cap: int, rng: np.random.Generator) -> Ints | None:
        """How often each row is used: ``total`` times in all, evenly, and no key more than ``cap`` times.

        None if rows are so few, and share so much, that no such numbers are found.
        """
        uses, parts = np.zeros(len(self.row), dtype=np.int64), []
        for share, rows in self._parts:
            parts.append((round(share * total), rows))
            total -= parts[-1][0]
        for wanted, rows in parts:
            rounds, rest = divmod(wanted, len(rows))
            uses[rows] = rounds
            uses[self._shuffled(rows, rng)[:rest]] += 1
        if uses.max() * self._most <= cap:
            return uses
        uses[:] = 0
        for wanted, rows in parts:
            least = 0
            while wanted:
                room = cap - np.bincount(self.keys.reshape(-1), weights=np.tile(uses, 2))
                more = rows[(uses[rows] == least) & (room[self.keys[:, rows]] > 0).all(axis=0)]
                more = rng.permutation(more)
                for key in self.keys:
                    more = more[place_in_group(key[more]) < room[key[more]]]
                if len(more):
                    uses[more[:wanted]] += 1
                    wanted -= len(more[:wanted])
                elif uses[rows].max() > least:
                    least += 1  # rows that have no room now will have none later
                else:
                    return None
        return uses

    def _shuffled(self, rows: Ints, rng: np.random.Generator) -> Ints:
        """Rows in a random order; with documents, one row of each cluster of a whole document at a time."""
        rows = rng.permutation(rows)
        if self._document is None:
            return rows
        document = self._document[rows]
        return rows[np.lexsort((rng.permutation(document.max() + 1)[document], place_in_group(self.keys[0][rows])))]

    def _stacked(self, uses: Ints, rng: np.random.Generator) -> Ints:
        """The uses in a random order that, dealt in rounds, gives no batch two of a stack: a stack's lie together."""
        hand = np.repeat(np.arange(len(uses)), uses)
        length = np.bincount(self.stack, weights=uses).astype(np.int64)
        if length.max() <= 1:
            rng.shuffle(hand)
            return hand
        start = np.cumsum(length) - length
        order = rng.permutation(len(length))
        order = order[np.argsort(length[order] < length.max(), kind="stable")]  # one of all batches must begin early
        length, start = length[order], start[order]
        turned = counting(length) + np.repeat(rng.integers(np.maximum(length, 1)), length)
        return hand[np.repeat(start, length) + turned % np.repeat(length, length)]

    def _neighbors(self, uses: Ints, document: Ints, rng: np.random.Generator) -> Ints:
        """The uses in an order in which those of a document lie together, one of each cluster at a time."""
        hand = rng.permutation(np.repeat(np.arange(len(uses)), uses))
        cluster, document = self.keys[0][hand], document[hand]
        visit = place_in_group(cluster)
        visits = np.zeros(document.max() + 1)
        np.maximum.at(visits, document, visit + 1)
        # The visits of a document are spread over the epoch, at least half of their mean distance apart, so that a
        # cluster seldom meets itself in a batch.
        number = np.unique(document * (visit.max() + 1) + visit, return_inverse=True)[1]
        time = (visit + rng.random(number.max() + 1)[number] / 2) / visits[document]
        return hand[np.lexsort((cluster, number, time))]

    def _part(self, hand: Ints, batch: Ints, rng: np.random.Generator) -> Ints:
        """Trade uses that clash for those at random places, if no batch then has a key twice.

        After half of the rounds they ask all rows, each a batch of its own. A batch that still clashes is matched.
        """
        size = len(hand)
        for attempt in range(2 * _TRADES):
            clash = self._clashing(hand[:size], batch[:size])
            if not len(clash):
                return hand[:size]
            if attempt == _TRADES:
                rows = np.arange(len(self.row))
                hand, batch = np.concatenate([hand, rows]), np.concatenate([batch, batch.max() + 1 + rows])
            asked = rng.integers(0 if attempt < _TRADES else size, len(hand), size=len(clash))
            there = np.isin(batch, batch[np.concatenate([clash, asked])])
            held = np.sort(self._held(batch[there], hand[there]), axis=None)
            brought = np.concatenate([self._held(batch[asked], hand[clash]), self._held(batch[clash], hand[asked])])
            fine = ~(_is_in(brought, held) | _repeats(brought)).any(axis=0) & ~_repeats(asked) & ~np.isin(asked, clash)
            clash, asked = clash[fine], asked[fine]
            hand[clash], hand[asked] = hand[asked], hand[clash]
        hand, batch = hand[:size], batch[:size]
        stuck = np.isin(batch, batch[self._clashing(hand, batch)])
        hand[stuck] = self._matched(batch[stuck], rng)
        return hand

    def _clashing(self, hand: Ints, batch: Ints) -> Ints:
        """The places of uses of which their batch has a key at an earlier place."""
        places = np.arange(len(hand)) if self._document is not None else np.flatnonzero(self.loose[hand])
        return places[_repeats(self._held(batch[places], hand[places])).any(axis=0)]

    def _held(self, batch: Ints, rows: Ints) -> Ints:
        """What a batch holds by a use of a row: a number per batch and key, shape ``(2, uses)``."""
        return batch * self._n_keys + self.keys.take(rows, axis=1)

    def _matched(self, batch: Ints, rng: np.random.Generator) -> Ints:
        """A row for each place of these batches, out of one largest set that fits: the last resort, and not even."""
        rows = np.empty_like(batch)
        drawn = [rng.permutation(self._matching)[:size] for size in np.unique(batch, return_counts=True)[1]]
        rows[np.argsort(batch, kind="stable")] = np.concatenate([rows[:0], *drawn])
        return rows

    def _pairs_of(self, rows: Ints, rng: np.random.Generator) -> Ints:
        """A pair for each use of a row: another one each time, as long as the row has others."""
        if len(self._pairs) == len(self.row):
            return self._pairs[self._first[rows]]
        # Rows of a cluster begin at the same random place of their lists: rows of a group then take other positives.
        place = rng.integers(1 << 40, size=self.keys[0].max() + 1)[self.keys[0][rows]]
        if np.bincount(rows, minlength=1).max() > 1:
            place += place_in_group(rows)
        return self._pairs[self._first[rows] + place % self._count[rows]]


def _columns(dataset: Dataset, *names: str) -> list[Ints]:
    table = dataset.select_columns(list(names)).with_format("arrow")[:]
    return [table[name].to_numpy().astype(np.int64) for name in names]


def _is_in(values: Ints, ordered: Ints) -> NDArray[np.bool_]:
    """Whether each value is in a sorted array."""
    if not len(ordered):
        return np.zeros(values.shape, dtype=bool)
    return ordered[np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)] == values


def _repeats(values: Ints) -> NDArray[np.bool_]:
    """Whether an earlier entry has the same value; fast where few have."""
    ordered = np.sort(values, axis=None)
    found = _is_in(values, ordered[1:][ordered[1:] == ordered[:-1]])
    found[found] = place_in_group(values[found]) > 0
    return found
