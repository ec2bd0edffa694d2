from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from sentence_transformers import SentenceTransformer

from st_hybrid.evaluate import evaluate_tasks
from st_hybrid.per_query import compare_queries, per_query_path
from st_hybrid.score_tables import print_scores

WORDS = {"en": ("Where is the {}?", "The {} is here."), "de": ("Wo ist {}?", "Hier ist {}.")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks in two languages; the second lacks a question in one of them."""
    folder = tmp_path_factory.mktemp("data")
    for task, questions in (("xquad-r", {"en": 5, "de": 5}), ("mlqa-r", {"en": 4, "de": 3})):
        (folder / task).mkdir()
        for language, (query, answer) in WORDS.items():
            paragraphs = []
            for number in range(questions[language]):
                text = answer.format(f"thing {number}")
                question = query.format(f"thing {number}")
                entry = {"id": f"q{number}", "question": question, "answers": [{"answer_start": 0, "text": "x"}]}
                paragraphs.append({"context": text, "sentence_breaks": [[0, len(text)]], "qas": [entry]})
            content = {"data": [{"title": task, "paragraphs": paragraphs}]}
            (folder / task / f"{language}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def run(model: SentenceTransformer, data: Path, output: Path, *tasks: str, name: str = "tiny", **more: Any) -> Any:
    more = {"published_counts": False, "show_progress_bar": False, "model_name": name, **more}
    return evaluate_tasks(model, tasks, data, output, **more)


def test_files_of_several_runs(tiny_model: SentenceTransformer, data: Path, tmp_path: Path) -> None:
    """Tasks come one after the other into the same files, and a task done again takes the place of its rows."""
    output, plots = tmp_path / "new" / "scores.json", tmp_path / "plots"
    run(tiny_model, data, output, "XQuAD-R", centers=["evaluated"], plots=plots)
    first = pq.read_table(per_query_path(output))
    assert per_query_path(output) == tmp_path / "new" / "scores.per-query.parquet"
    run(tiny_model, data, output, "MLQA-R", plots=plots)
    results = run(tiny_model, data, output, "XQuAD-R", plots=plots)
    assert json.loads(output.read_text(encoding="utf-8")) == results
    assert sorted(path.name for path in output.parent.iterdir()) == ["scores.json", "scores.per-query.parquet"]
    assert sorted(path.name for path in plots.iterdir()) == [
        "mlqa-r-top-10-languages.png",
        "xquad-r-top-10-languages.png",
    ]

    rows = pq.read_table(per_query_path(output))
    assert pq.read_metadata(per_query_path(output)).row_group(0).column(0).compression == "ZSTD"
    assert set(first["variant"].to_pylist()) == {"as it is", "evaluated"}
    assert first.filter(pc.field("variant") == "as it is").equals(rows.filter(pc.field("task") == "XQuAD-R"))
    assert rows.num_rows == 10 * 3 + 6 * 3 + 2  # MLQA-R's q3 has one language, and so two pools
    measures = ["map", "recall_at_1", "recall_at_10", "ndcg_at_10", "mrr_at_10", "rank_distance", "peer_at_20"]
    means = rows.group_by(["task", "query_language", "pool"]).aggregate([(measure, "mean") for measure in measures])
    assert means.num_rows == 12
    for row in means.to_pylist():
        expected = results["tasks"][row["task"]]["per_pair"][f"{row['query_language']}-{row['pool']}"]
        found = {measure: row[f"{measure}_mean"] for measure in measures if row[f"{measure}_mean"] is not None}
        assert found == pytest.approx(expected, abs=1e-9)


def test_files_of_another_model_stay(tiny_model: SentenceTransformer, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores.json"
    run(tiny_model, data, output, "XQuAD-R")
    before = output.read_bytes(), per_query_path(output).read_bytes()
    with pytest.raises(ValueError, match=r"scores\.json holds the scores of 'tiny'"):
        run(tiny_model, data, output, "XQuAD-R", name="other")
    assert before == (output.read_bytes(), per_query_path(output).read_bytes())
    output.unlink()
    with pytest.raises(ValueError, match=r"scores\.per-query\.parquet holds the scores of 'tiny'"):
        run(tiny_model, data, output, "XQuAD-R", name="other")
    per_query_path(output).write_text("not parquet")
    with pytest.raises(ValueError, match="is not a Parquet file"):
        run(tiny_model, data, output, "XQuAD-R")


def test_a_file_is_whole_or_not_there(
    tiny_model: SentenceTransformer, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that dies while it writes leaves the files of the run before."""
    output = tmp_path / "scores.json"
    run(tiny_model, data, output, "XQuAD-R")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def break_off(path: Path, text: str, **more: Any) -> int:
        path.write_bytes(text.encode()[: len(text) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", break_off)
    with pytest.raises(OSError, match="No space"):
        run(tiny_model, data, output, "XQuAD-R", centers=["evaluated"])
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert after["scores.json"] == before["scores.json"]
    assert set(pq.read_table(per_query_path(output))["variant"].to_pylist()) == {"as it is", "evaluated"}


@pytest.fixture
def rows() -> pa.Table:
    """Per-query scores of two variants, three questions in two languages, in three pools."""
    keys = [
        {"task": "T", "variant": variant, "query_id": f"q{q}", "query_language": language, "pool": pool}
        for variant in ("as it is", "evaluated")
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
    pairs = compare_queries(rows, rows, variants=("as it is", "evaluated"))
    assert pairs.column_names == ["task", "query_id", "query_language", "pool", "a", "b"]
    plain, centred = (rows.filter(pc.field("variant") == name) for name in ("as it is", "evaluated"))
    keys = [(name, "ascending") for name in pairs.column_names[:4]]
    assert pairs["a"].to_pylist() == plain.sort_by(keys)["map"].to_pylist()
    assert pairs["b"].to_pylist() == centred.sort_by(keys)["map"].to_pylist()


def test_runs_that_cannot_be_compared(rows: pa.Table, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run b lacks 1 rows of the other, such as \(T, as it is, q0, en, en\)"):
        compare_queries(rows, rows.slice(1))
    with pytest.raises(ValueError, match=r"run a lacks 18 rows .* evaluated"):
        compare_queries(rows.filter(pc.field("variant") == "as it is"), rows)
    with pytest.raises(ValueError, match="rows are repeated"):
        compare_queries(rows, pa.concat_tables([rows, rows.slice(0, 1)]))
    with pytest.raises(ValueError, match=r"no measure 'mrr'\. It has map, peer_at_20"):
        compare_queries(rows, rows, "mrr")
    with pytest.raises(ValueError, match="Run b has no variant 'centred'"):
        compare_queries(rows, rows, variants=("as it is", "centred"))
    with pytest.raises(FileNotFoundError, match="no file"):
        compare_queries(rows, tmp_path / "none.parquet")
    pq.write_table(rows.drop_columns(["pool"]), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="lacks pool"):
        compare_queries(rows, tmp_path / "other.parquet")


def printed(results: dict[str, Any]) -> str:
    console = Console(width=100, file=io.StringIO())
    print_scores(results, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_what_is_printed(tiny_model: SentenceTransformer, data: Path, tmp_path: Path) -> None:
    results = run(tiny_model, data, tmp_path / "scores.json", "XQuAD-R", centers=["evaluated"])
    told = printed(results)
    for word in ("mAP", "nDCG@10", "MRR@10", "PEER", "XQuAD-R, as it is:", "XQuAD-R, centred: evaluated:"):
        assert word in told
    scores = results["tasks"]["XQuAD-R"]
    german = [f"{100 * scores['top_10_languages']['de'][language]:.0f}" for language in ("de", "en")]
    rows = [line.replace("│", " ").split() for line in told.splitlines()]
    assert ["de", *german] in rows
    assert ["pool", "50", "50"] in rows


def test_eleven_languages_fit_into_a_hundred_columns() -> None:
    codes = ["ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"]
    counts = {"queries": dict.fromkeys(codes, 1190), "candidates": dict.fromkeys(codes, 1200)}
    shares = {query: {language: float(query == language) for language in codes} for query in codes}
    scores = {"counts": counts, "top_10_languages": shares, "centered": {}}
    told = printed({"tasks": {"XQuAD-R": scores}})
    assert max(map(len, told.splitlines())) <= 100
    rows = [line.replace("│", " ").split() for line in told.splitlines()]
    assert ["zh", *["0"] * 10, "100"] in rows
    assert ["pool", *["9"] * 11] in rows


def test_files_of_an_older_version_are_printed_too(tiny_model: SentenceTransformer, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores.json"
    results = run(tiny_model, data, output, "XQuAD-R")
    del results["tasks"]["XQuAD-R"]["top_10_languages"]
    for setting in ("monolingual", "cross_lingual", "multilingual"):
        for measure in ("ndcg_at_10", "mrr_at_10", "peer_at_20"):
            results["tasks"]["XQuAD-R"][setting].pop(measure, None)
    output.write_text(json.dumps(results), encoding="utf-8")
    per_query_path(output).unlink()
    told = printed(run(tiny_model, data, output, "MLQA-R"))
    assert "XQuAD-R, as it is:" not in told
    assert "MLQA-R, as it is:" in told
    assert f"{results['tasks']['XQuAD-R']['monolingual']['map']:.3f}" in told
