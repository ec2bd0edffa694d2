from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from sentence_transformers import SentenceTransformer

import st_hybrid.tasks  # noqa: F401 (registers the tasks)
from st_hybrid.benchmark import CorpusSearch, evaluate_tasks
from st_hybrid.evaluation.per_query import per_query_path
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


def test_miracl(tiny_model: SentenceTransformer, write_miracl: Callable[..., Path], tmp_path: Path) -> None:
    """Languages come one after the other into the same files, with the scores that mteb gives."""
    folder, output = write_miracl(["fi", "sw"], passages=150, queries=12), tmp_path / "scores.json"
    run(tiny_model, folder, output, "MIRACL", corpus_search=CorpusSearch(languages=["sw"]))
    kept = CorpusSearch(languages=["fi"], embeddings_dir=tmp_path / "kept", index_factory="IVF2,Flat")
    results = run(tiny_model, folder, output, "MIRACL", corpus_search=kept)
    task = results["tasks"]["MIRACL"]
    assert list(task["per_language"]) == ["sw", "fi"]
    assert "index_recall_at_100" in task["per_language"]["fi"]
    assert task["per_language"]["sw"]["passages"] == 150
    means = [task["per_language"][language]["ndcg_at_10"] for language in ("sw", "fi")]
    assert task["means"]["all"]["ndcg_at_10"] == pytest.approx(np.mean(means))
    assert "paper" not in task["means"]
    assert list((tmp_path / "kept" / "MIRACL").iterdir())

    of_mteb = mteb.get_task("MIRACL", hf_subsets=["sw"])
    of_mteb.data_dir = folder
    (result,) = mteb.evaluate(tiny_model, of_mteb, cache=None, show_progress_bar=False).task_results
    assert result.get_score() == pytest.approx(task["per_language"]["sw"]["ndcg_at_10"], abs=1e-5)

    rows = pq.read_table(per_query_path(output))
    assert rows.num_rows == 24
    for language in ("sw", "fi"):
        mean = pc.mean(rows.filter(pc.field("query_language") == language)["recall_at_100"]).as_py()
        assert mean == pytest.approx(task["per_language"][language]["recall_at_100"])


def test_prompts_given_reach_miracl(
    tiny_model: SentenceTransformer, write_miracl: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_miracl(["sw"], passages=100, queries=20)
    of_prompts = [
        run(tiny_model, folder, tmp_path / f"{number}.json", "MIRACL", **prompts)["tasks"]["MIRACL"]["means"]["all"]
        for number, prompts in enumerate(({}, {"query_prompt": "query: "}, {"query_prompt": "a quite other one: "}))
    ]
    assert of_prompts[0] == of_prompts[1] != of_prompts[2]


@pytest.mark.parametrize(("task", "missing"), [("XQuAD-R", "ar.json"), ("MIRACL", "miracl-v1.0-<language>")])
def test_missing_data_are_named(tiny_model: SentenceTransformer, tmp_path: Path, task: str, missing: str) -> None:
    with pytest.raises(FileNotFoundError, match=missing):
        run(tiny_model, tmp_path, tmp_path / "scores.json", task, published_counts=True)
    with pytest.raises(ValueError, match="must be one of XQuAD-R, MLQA-R, MIRACL, got 'SQuAD'"):
        run(tiny_model, tmp_path, tmp_path / "scores.json", task, "SQuAD")
