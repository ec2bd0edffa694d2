"""Find the training rows that share text with evaluation sets, and leave them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from rich.console import RenderableType
from rich.table import Table

from st_hybrid.data.evaluation_texts import EvaluationTexts
from st_hybrid.data.overlap import KnownTexts, OverlapSettings
from st_hybrid.grouping import counting, numbered
from st_hybrid.progress import progress_bar
from st_hybrid.rows import ParallelRows

_SHOWN = 20


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
        title = (
            f"{len(matches):,} texts overlap; removed {self.rows - len(self.clean):,} rows in "
            f"{self.groups - self.clean_groups:,} groups"
        )
        if not len(matches):
            return f"{title}."
        table = Table(title=title, title_justify="left")
        for header in ("row", "language", "column", "evaluation text", "kind", "overlap"):
            table.add_column(header, overflow="fold", justify="right" if header in ("row", "overlap") else "left")
        for match in matches.slice(0, _SHOWN).to_pylist():
            evaluation_text = f"{match['evaluation']} {match['evaluation_id']}"
            cells = (match["language"], match["column"], evaluation_text, match["kind"], f"{match['overlap']:.2f}")
            table.add_row(f"{match['row']:,}", *cells)
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

    Every query, positive and negative is compared with every text of the sets, in any language. A text is found if an
    evaluation text is the same but for case, spaces and punctuation, or if one of the two has most of the other's
    n-grams: an evaluation text inside a longer passage, a cut one and a lightly edited one
    (:class:`~st_hybrid.data.overlap.KnownTexts`). Paraphrases and translations are not found. But the whole passage
    cluster of a row is removed with it, and so are all translations of the row.

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
