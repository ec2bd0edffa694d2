from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from st_hybrid.evaluation.per_query import compare_queries


@pytest.fixture
def rows() -> pa.Table:
    """Per-query scores of two variants, three questions in two languages, in three pools."""
    keys = [
        {"task": "T", "variant": variant, "query_id": f"q{q}", "query_language": language, "pool": pool}
        for variant in ("plain", "centered: evaluated")
        for q in range(3)
        for language in ("en", "de")
        for pool in ("en", "de", "multi")
    ]
    rng = np.random.default_rng(0)
    return pa.Table.from_pylist(
        [{**key, "map": rng.random(), "peer_at_20": rng.random() if key["pool"] == "multi" else None} for key in keys]
    )


def test_two_runs_side_by_side(rows: pa.Table, tmp_path: Path) -> None:
    other = rows.take(pa.array(np.random.default_rng(1).permutation(rows.num_rows)))
    other = other.set_column(other.column_names.index("map"), "map", pc.add(other["map"], 1.0))
    pq.write_table(rows, tmp_path / "a.per-query.parquet")
    pq.write_table(other, tmp_path / "b.per-query.parquet")
    for a, b in ((rows, other), (tmp_path / "a.per-query.parquet", str(tmp_path / "b.per-query.parquet"))):
        pairs = compare_queries(a, b)
        assert pairs.column_names == ["task", "variant", "query_id", "query_language", "pool", "a", "b"]
        assert pairs.num_rows == rows.num_rows
        assert pc.subtract(pairs["b"], pairs["a"]).to_pylist() == pytest.approx([1.0] * rows.num_rows)
        by_key = {tuple(row.values())[:5]: row["map"] for row in rows.to_pylist()}
        assert {tuple(row.values())[:5]: row["a"] for row in pairs.to_pylist()} == by_key

    fairness = compare_queries(rows, other, "peer_at_20")
    assert set(fairness["pool"].to_pylist()) == {"multi"}
    assert fairness.num_rows == 12
    assert fairness["a"].equals(fairness["b"])


def test_two_variants_side_by_side(rows: pa.Table) -> None:
    pairs = compare_queries(rows, rows, variants=("plain", "centered: evaluated"))
    assert pairs.column_names == ["task", "query_id", "query_language", "pool", "a", "b"]
    plain, centred = (rows.filter(pc.field("variant") == name) for name in ("plain", "centered: evaluated"))
    keys = [(name, "ascending") for name in pairs.column_names[:4]]
    assert pairs["a"].to_pylist() == plain.sort_by(keys)["map"].to_pylist()
    assert pairs["b"].to_pylist() == centred.sort_by(keys)["map"].to_pylist()


def test_runs_that_cannot_be_compared(rows: pa.Table, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run b lacks 1 rows, such as \(T, plain, q0, en, en\)"):
        compare_queries(rows, rows.slice(1))
    with pytest.raises(ValueError, match=r"run a lacks 18 rows,.* evaluated"):
        compare_queries(rows.filter(pc.field("variant") == "plain"), rows)
    with pytest.raises(ValueError, match="rows are repeated"):
        compare_queries(rows, pa.concat_tables([rows, rows.slice(0, 1)]))
    with pytest.raises(ValueError, match=r"no measure 'mrr'\. It has map, peer_at_20"):
        compare_queries(rows, rows, "mrr")
    with pytest.raises(ValueError, match="Run b has no variant 'centered'"):
        compare_queries(rows, rows, variants=("plain", "centered"))
    with pytest.raises(FileNotFoundError, match="no file"):
        compare_queries(rows, tmp_path / "none.parquet")
    pq.write_table(rows.drop_columns(["pool"]), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="lacks pool"):
        compare_queries(rows, tmp_path / "other.parquet")
