"""The command that measures a corpus without queries."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

from rich.console import Console

from st_hybrid.cli.options import DtypeOption, mapped, options_of
from st_hybrid.data.passages import sample_passages
from st_hybrid.evaluation.probe import probe_corpus
from st_hybrid.files import write_json


@options_of(sample_passages, omit=("columns", "show_progress_bar"))
@options_of(probe_corpus, omit=("passages", "languages", "show_progress_bar"))
def probe(
    *,
    model: str,
    data: list[str],
    output: Path | None = None,
    plot: Path | None = None,
    dtype: DtypeOption = None,
    column: list[str] | None = None,
    seed: int = 0,
    **options: Any,
) -> None:
    """Measure, without queries, whether a mixed-language corpus needs centring or training.

    Shows how much of the vectors is language, and which languages the passages nearest to a passage have: before and
    after subtracting language means. Says what to do: nothing, center, or train.

    Args:
        model: The model that searches the corpus: a folder or hub name.
        data: The corpus: a file (JSON lines, CSV, TSV, Parquet, or .txt with a passage per line), a folder (also in
            BEIR's layout), parallel rows, or a hub name. Repeat the option for more files.
        output: JSON file for the measures.
        plot: Figure of the languages, such as ``probe.png``.
        column: Map a column: ``text=body``, ``language=code``. Repeat the option for more columns.
        seed: Seed of the sample and of the division into halves.
    """
    from st_hybrid.encoders import dtype_of, load_encoder, require_dense
    from st_hybrid.provenance import provenance

    encoder = require_dense(load_encoder(model, dtype=dtype), "A probe")
    reading = {name: options.pop(name) for name in signature(sample_passages).parameters if name in options}
    passages = sample_passages(data, columns=mapped(column, "text=body"), seed=seed, show_progress_bar=True, **reading)
    messages = Console(stderr=True)
    for reason, part in passages.dropped.items():
        messages.print(f"{part.rows:,} passages left out: {reason}, first at {part.first}", markup=False)
    found = probe_corpus(encoder, passages.texts, passages.languages, seed=seed, show_progress_bar=True, **options)
    Console().print(found)
    Console().print(f"[bold]{found.conclusion}[/]")
    if output is not None:
        drawn = {"total": passages.total, "drawn": len(passages.texts), "detected": passages.detected, "seed": seed}
        about = {"model": model, "dtype": dtype_of(encoder), "data": data, **provenance(), "sample": drawn}
        write_json(output, {**about, **found.to_dict()})
    if plot is not None:
        from st_hybrid.evaluation.plots import plot_probe

        plot_probe(found, plot, title=f"{Path(model).name}: {found.conclusion}")
