"""The files beside a file of scores: the scores of each query, and the passages that it finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

KEYS = ("task", "variant", "query_id", "query_language", "pool")  # the columns that identify a row
FIRST_PASSAGES_KEYS = (*KEYS[:-1], "rank", "passage_id")


def per_query_path(output: str | Path) -> Path:
    """Path of the scores of each query: ``scores.per-query.parquet`` beside ``scores.json``."""
    return Path(output).with_name(f"{Path(output).stem}.per-query.parquet")


def first_passages_path(output: str | Path) -> Path:
    """Path of the passages that queries find in the pool of all languages: ``scores.first-10.parquet``."""
    return Path(output).with_name(f"{Path(output).stem}.first-10.parquet")


def read_per_query(path: str | Path, keys: Sequence[str] = KEYS) -> pa.Table:
    """Read a file of per-query scores: a row per task, variant, query and pool, with :data:`KEYS` and the measures.

    ``keys`` are the columns that the file must have.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        table = pq.read_table(path)
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(f"{path} is not a Parquet file: {reason}. Remove it, or choose another file.") from error
    if lacking := [key for key in keys if key not in table.column_names]:
        raise ValueError(f"{path} does not hold what queries scored or found: it lacks {', '.join(lacking)}.")
    return table


def compare_queries(
    a: str | Path | pa.Table, b: str | Path | pa.Table, measure: str = "map", *, variants: tuple[str, str] | None = None
) -> pa.Table:
    """Put the scores of two runs side by side, query by query, for paired tests and to read what changed.

    Args:
        a: A file of per-query scores that :func:`~st_hybrid.benchmark.evaluate_tasks` wrote, or its table.
        b: Another one, with the same queries and pools.
        measure: Column to compare. Rows without a value are left out.
        variants: The variants of ``a`` and of ``b`` to compare; by default each with the one of the same name.

    Returns:
        The columns :data:`KEYS` (without ``variant`` if ``variants`` are given), sorted by these, and ``a`` and ``b``.

    Example:
        ::

            from st_hybrid.evaluation.per_query import compare_queries

            pairs = compare_queries("plain.per-query.parquet", "hybrid.per-query.parquet").to_pandas()
            print((pairs["b"] - pairs["a"]).groupby(pairs["pool"]).mean())
    """
    keys = [key for key in KEYS if variants is None or key != "variant"]
    sides = []
    for number, (name, given) in enumerate((("a", a), ("b", b))):
        table = given if isinstance(given, pa.Table) else read_per_query(given)
        if measure not in table.column_names or measure in KEYS:
            measures = [column for column in table.column_names if column not in KEYS]
            raise ValueError(f"Run {name} has no measure {measure!r}. It has {', '.join(measures)}.")
        if variants is not None:
            table = table.filter(pc.field("variant") == variants[number])
            if not table.num_rows:
                raise ValueError(f"Run {name} has no variant {variants[number]!r}.")
        side = table.select([*keys, measure]).rename_columns([*keys, name])
        sides.append(side.filter(pc.field(name).is_valid()).sort_by([(key, "ascending") for key in keys]))
    first, second = sides
    if not first.select(keys).equals(second.select(keys)):
        rows = [set(zip(*side.select(keys).to_pydict().values(), strict=True)) for side in sides]
        missing = {"a": rows[1] - rows[0], "b": rows[0] - rows[1]}.items()
        lacks = [f"run {name} lacks {len(of)} rows, such as ({', '.join(min(of))})" for name, of in missing if of]
        raise ValueError(f"The runs do not hold the same queries: {'; '.join(lacks) or 'rows are repeated'}.")
    return first.append_column("b", second["b"])
