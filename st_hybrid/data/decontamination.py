"""Find the training rows that share text with evaluation sets, and leave them out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.table import Table
from scipy.sparse import csr_array

from st_hybrid.data.evaluation_texts import EvaluationTexts
from st_hybrid.grouping import Ints, counting, numbered
from st_hybrid.normalized import Hashes, NormalizedTexts, normalize
from st_hybrid.progress import progress_bar
from st_hybrid.rows import ParallelRows

_SHOWN = 20  # matches
_CHUNK = 1 << 16  # texts normalized at once; their numbers fit in 16 bits
_PRODUCTS = 1 << 23  # n-grams in common, with repetitions, that are counted at once
_GRAM_BITS = np.uint64(48)  # of an n-gram's hash; the other 16 bits hold the number of its text


@dataclass(frozen=True)
class OverlapSettings:
    """When two texts overlap.

    Args:
        ngram: Letters per n-gram.
        threshold: Share of the shorter text's n-grams that the other text must have, above 0 and at most 1.
        min_letters: Texts with fewer letters are only compared as a whole; they share n-grams by chance.
        min_exact_letters: Texts with fewer letters are not compared.
    """

    ngram: int = 7
    threshold: float = 0.5
    min_letters: int = 25
    min_exact_letters: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be a share above 0 and at most 1, got {self.threshold}.")
        if not 1 <= self.ngram <= self.min_letters:
            got = f"got ngram={self.ngram} and min_letters={self.min_letters}"
            raise ValueError(f"ngram must be 1 to min_letters, so that all texts have n-grams; {got}.")


@dataclass(frozen=True)
class Decontamination:
    """The result of :func:`decontaminate`; print it with rich.

    ``matches`` has one row per text and evaluation set that overlap, with the largest overlap: ``row`` (of the input,
    counted from 1), ``id``, ``language``, ``column``, ``evaluation`` (name of the set), ``evaluation_id`` (of the text
    in it), ``kind`` (``"exact"`` or ``"near"``) and ``overlap`` in (0, 1].
    """

    clean: Dataset  #: The rows that are left.
    matches: pa.Table
    against: Sequence[EvaluationTexts]
    settings: OverlapSettings
    rows: int  #: Rows of the input.
    groups: int  #: Groups of the input.
    clean_groups: int  #: Groups that are left.

    def __rich__(self) -> RenderableType:
        """The largest overlaps."""
        matches = self.matches.sort_by([("overlap", "descending"), ("row", "ascending")])
        title = f"{len(matches):,} texts overlap; removed {self.rows - len(self.clean):,} rows in "
        title += f"{self.groups - self.clean_groups:,} groups"
        if not len(matches):
            return f"{title}."
        table = Table(title=title, title_justify="left")
        for header in ("row", "language", "column", "evaluation text", "kind", "overlap"):
            table.add_column(header, overflow="fold", justify="right" if header in ("row", "overlap") else "left")
        for one in matches.slice(0, _SHOWN).to_pylist():
            cells = one["language"], one["column"], f"{one['evaluation']} {one['evaluation_id']}", one["kind"]
            table.add_row(f"{one['row']:,}", *cells, f"{one['overlap']:.2f}")
        if len(matches) > _SHOWN:
            table.add_row("…", f"{len(matches) - _SHOWN:,} more")
        return table


def decontaminate(
    rows: Dataset,
    against: Sequence[EvaluationTexts],
    settings: OverlapSettings | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    show_progress_bar: bool = False,
) -> Decontamination:
    """Find the rows that share text with evaluation sets, and remove them with their translations.

    Every text is compared with every text of the sets, in any language. It is found if an evaluation text is the same
    but for case, spaces and punctuation, is inside it, or is a cut or lightly edited version of it. Paraphrases and
    translations are not found. But the whole passage cluster of a row is removed with it, in all languages.

    Args:
        rows: Parallel rows.
        against: Evaluation sets, from :func:`~st_hybrid.data.evaluation_texts.read_evaluation_texts`.
        settings: When texts overlap.
        columns: The rows' names of ``id``, ``language``, ``query`` and ``positive`` where they differ.
        show_progress_bar: Show a progress bar.

    Raises:
        ValueError: The rows are not valid parallel rows, or ``against`` is empty.

    Example:
        ::

            from st_hybrid.data import decontaminate, open_rows, read_evaluation_texts

            found = decontaminate(open_rows("rows.jsonl").rows, [read_evaluation_texts("XQuAD-R", "data")])
            print(len(found.clean), found.matches.to_pylist())
    """
    if not against:
        raise ValueError("Name at least one evaluation set to compare with.")
    settings = settings or OverlapSettings()
    parallel = ParallelRows(rows, columns=columns or {})
    names = ["query", "positive", *parallel.negative_columns]
    every = [chunk.cast(pa.large_string()) for name in names for chunk in parallel.table[name].chunks]
    text, texts = numbered(pa.chunked_array(every))

    known = KnownTexts(pa.concat_arrays([one.texts for one in against]), settings)
    with progress_bar(len(texts), "Comparing texts", show=show_progress_bar, unit="texts") as advance:
        found = known.find(texts, advance)
    ends = np.cumsum([len(one.texts) for one in against])
    evaluation = np.searchsorted(ends, found.known, side="right")
    order = np.lexsort((found.overlap, found.exact, evaluation, found.text))  # the last of a text and set is its best
    best = order[np.diff(found.text[order] * len(against) + evaluation[order], append=-1) != 0]

    # Each text of the rows, once for each set that it overlaps with.
    sets = np.bincount(found.text[best], minlength=len(texts))
    place = np.repeat(np.arange(len(text)), sets[text])
    match = best[np.repeat((np.cumsum(sets) - sets)[text], sets[text]) + counting(sets[text])]
    row = place % len(rows)
    matches = pa.table(
        {
            "row": row + 1,
            "id": parallel.table["id"].take(row).cast(pa.string()),
            "language": parallel.table["language"].take(row).cast(pa.string()),
            "column": pa.array(names).take(place // len(rows)),
            "evaluation": pa.array([one.name for one in against]).take(evaluation[match]),
            "evaluation_id": pa.concat_arrays([one.ids for one in against]).take(found.known[match]),
            "kind": pc.if_else(pa.array(found.exact[match]), "exact", "near"),
            "overlap": np.round(found.overlap[match], 4),
        }
    ).sort_by("row")
    kept = np.flatnonzero(~np.isin(parallel.cluster, parallel.cluster[row]))
    groups, clean_groups = int(parallel.group.max()) + 1, len(np.unique(parallel.group[kept]))
    return Decontamination(rows.select(kept), matches, list(against), settings, len(rows), groups, clean_groups)


class Overlaps(NamedTuple):
    """Pairs of texts that overlap, one entry per pair, ordered by text and known text."""

    text: Ints
    known: Ints
    overlap: NDArray[np.float64]  # share of the shorter text's n-grams that the other has; 1 for the same letters
    exact: NDArray[np.bool_]  # both have the same letters


class KnownTexts:
    """Texts to search for in other texts.

    Two texts overlap if they have the same letters, or if one has at least a share ``threshold`` of the other's
    distinct n-grams. The n-grams in common are counted for all pairs, with a product of two sparse matrices.
    """

    def __init__(self, texts: pa.Array, settings: OverlapSettings | None = None) -> None:
        self.settings = settings or OverlapSettings()
        wholes: list[tuple[Hashes, Ints]] = []
        ngrams: list[tuple[Hashes, Ints]] = []
        for start, part in _parts(texts):
            for features, (hashes, text) in ((wholes, self._wholes_of(part)), (ngrams, self._ngrams_of(part))):
                features.append((hashes, text + start))
        self._wholes, self._ngrams = _Index(wholes, len(texts)), _Index(ngrams, len(texts))

    def find(self, texts: pa.Array, advance: Callable[[int], None] = lambda units: None) -> Overlaps:
        """Find all overlaps of texts with the known texts; ``advance`` gets the number of texts just compared."""
        fewest = self.settings.min_letters - self.settings.ngram + 1
        known_sizes = self._ngrams.sizes
        found = []
        for start, part in _parts(texts):
            count = len(part.lengths)
            grams, owner = self._ngrams_of(part)
            sizes = np.bincount(owner, minlength=count)
            same = self._wholes.common(*self._wholes_of(part), count)
            pairs = [(text, known, np.ones(len(text))) for text, known, _ in same]
            exact = sum(len(text) for text, _, _ in pairs)
            for text, known, common in self._ngrams.common(grams, owner, count):
                shorter = np.minimum(sizes[text], known_sizes[known])
                overlap = common / shorter
                near = (shorter >= fewest) & (overlap >= self.settings.threshold)
                pairs.append((text[near], known[near], overlap[near]))
            text, known, overlap = map(np.concatenate, zip(*pairs, strict=True))
            # Texts with the same letters share their n-grams as well; the first entry counts.
            _, first = np.unique(text * len(known_sizes) + known, return_index=True)
            found.append((text[first] + start, known[first], overlap[first], first < exact))
            advance(count)
        return Overlaps(*map(np.concatenate, zip(*found, strict=True)))

    def _wholes_of(self, texts: NormalizedTexts) -> tuple[Hashes, Ints]:
        """The hashes of the texts that are long enough, and their numbers."""
        text = np.flatnonzero(texts.lengths >= self.settings.min_exact_letters)
        return texts.hashes()[text], text

    def _ngrams_of(self, texts: NormalizedTexts) -> tuple[Hashes, Ints]:
        """The distinct n-grams of each of at most 65,536 texts, and the numbers of the texts that have them."""
        grams, text = texts.ngrams(self.settings.ngram)
        shift = np.uint64(64) - _GRAM_BITS
        keys = np.sort((text.astype(np.uint64) << _GRAM_BITS) | (grams >> shift))
        keys = keys[np.diff(keys, prepend=~keys[:1]) != 0]  # np.unique takes ten times as long
        return keys & ((np.uint64(1) << _GRAM_BITS) - np.uint64(1)), (keys >> _GRAM_BITS).astype(np.int64)


class _Index:
    """Which known texts have which features: n-grams, or the hash of the whole text."""

    def __init__(self, features: list[tuple[Hashes, Ints]], texts: int) -> None:
        hashes, text = map(np.concatenate, zip(*features, strict=True))
        column, self._vocabulary = numbered(pa.array(hashes))
        self._texts = csr_array((np.ones(len(text), np.int32), (column, text)), (len(self._vocabulary), texts))
        self.sizes = np.bincount(text, minlength=texts)  # features per text

    def common(self, hashes: Hashes, text: Ints, texts: int) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Pairs of a text and a known text, with their number of common features, part by part."""
        place = pc.index_in(pa.array(hashes), value_set=self._vocabulary)
        column, text = place.drop_null().to_numpy(), text[place.is_valid().to_numpy(zero_copy_only=False)]
        features = csr_array((np.ones(len(text), np.int32), (text, column)), (texts, len(self._vocabulary)))
        work = np.cumsum(features @ np.diff(self._texts.indptr).astype(np.int64))
        for rows in np.split(np.arange(texts), np.flatnonzero(np.diff(work // _PRODUCTS)) + 1):
            product = (features[rows] @ self._texts).tocoo()
            yield rows[product.row], product.col.astype(np.int64), product.data


def _parts(texts: pa.Array) -> Iterator[tuple[int, NormalizedTexts]]:
    """The texts, normalized, in parts of at most 65,536 and at least one part, with the number of each part's first."""
    for start in range(0, max(len(texts), 1), _CHUNK):
        yield start, normalize(texts.slice(start, _CHUNK))
