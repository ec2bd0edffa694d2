from __future__ import annotations

import io
import json
import subprocess
import sys
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
from st_hybrid.benchmark import evaluate_tasks, print_scores
from st_hybrid.evaluation.per_query import per_query_path
from st_hybrid.evaluation.results import MEASURES, MiraclScores, TaskScores

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
    more = {"verify": tuple(tasks) == ("MIRACL",), "show_progress_bar": False, "model_name": name, **more}
    return evaluate_tasks(model, tasks, data, output, **more)


def test_files_of_several_runs(tiny_model: SentenceTransformer, data: Path, tmp_path: Path) -> None:
    """Tasks come one after the other into the same files, and a task done again takes the place of its rows."""
    output, plots = tmp_path / "new" / "scores.json", tmp_path / "plots"
    run(tiny_model, data, output, "XQuAD-R", centers=["evaluated"], plots=plots)
    first = pq.read_table(per_query_path(output))
    assert per_query_path(output) == tmp_path / "new" / "scores.per-query.parquet"
    run(tiny_model, data, output, "MLQA-R", plots=plots)
    results = run(tiny_model, data, output, "XQuAD-R", plots=plots)
    content = json.loads(output.read_text(encoding="utf-8"))
    assert content["model"] == "tiny"
    assert content["zero_shot"]["MLQA-R"] == {"claim": None, "reason": "what tiny was trained on is not known"}
    assert {task: TaskScores.from_dict(scores) for task, scores in content["tasks"].items()} == results
    assert sorted(path.name for path in output.parent.iterdir()) == ["scores.json", "scores.per-query.parquet"]
    assert sorted(path.name for path in plots.iterdir()) == [
        "mlqa-r-top-10-languages.png",
        "xquad-r-top-10-languages.png",
    ]

    rows = pq.read_table(per_query_path(output))
    assert pq.read_metadata(per_query_path(output)).row_group(0).column(0).compression == "ZSTD"
    assert set(first["variant"].to_pylist()) == {"plain", "centered: evaluated"}
    assert first.filter(pc.field("variant") == "plain").equals(rows.filter(pc.field("task") == "XQuAD-R"))
    assert rows.num_rows == 10 * 3 + 6 * 3 + 2  # MLQA-R's q3 has one language, and so two pools
    measures = ["map", "recall_at_1", "recall_at_10", "ndcg_at_10", "mrr_at_10", "rank_distance", "peer_at_20"]
    means = rows.group_by(["task", "query_language", "pool"]).aggregate([(measure, "mean") for measure in measures])
    assert means.num_rows == 12
    for row in means.to_pylist():
        expected = results[row["task"]].per_pair[f"{row['query_language']}-{row['pool']}"].to_dict()
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
    assert set(pq.read_table(per_query_path(output))["variant"].to_pylist()) == {"plain", "centered: evaluated"}


def printed(results: dict[str, TaskScores | MiraclScores]) -> str:
    console = Console(width=100, file=io.StringIO())
    print_scores(results, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_what_is_printed(tiny_model: SentenceTransformer, data: Path, tmp_path: Path) -> None:
    results = run(tiny_model, data, tmp_path / "scores.json", "XQuAD-R", centers=["evaluated"])
    told = printed(results)
    for word in ("mAP", "nDCG@10", "MRR@10", "PEER", "XQuAD-R, plain:", "XQuAD-R, centered: evaluated:"):
        assert word in told
    scores = results["XQuAD-R"]
    german = [f"{100 * scores.top_10_languages['de'][language]:.0f}" for language in ("de", "en")]
    rows = [line.replace("│", " ").split() for line in told.splitlines()]
    assert ["de", *german] in rows
    assert ["pool", "50", "50"] in rows


def test_eleven_languages_fit_into_a_hundred_columns() -> None:
    codes = ["ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"]
    scores = TaskScores.from_dict(
        {
            "multilingual": dict.fromkeys(MEASURES, 0.5),
            "per_pair": {},
            "top_10_languages": {query: {code: float(query == code) for code in codes} for query in codes},
            "counts": {"queries": dict.fromkeys(codes, 1190), "passages": dict.fromkeys(codes, 1200), "settings": {}},
            "centered": {},
            "seconds": {},
        }
    )
    told = printed({"XQuAD-R": scores})
    assert max(map(len, told.splitlines())) <= 100
    rows = [line.replace("│", " ").split() for line in told.splitlines()]
    assert ["zh", *["0"] * 10, "100"] in rows
    assert ["pool", *["9"] * 11] in rows


def test_miracl_is_a_table_of_languages() -> None:
    languages = {
        "sw": {"ndcg_at_10": 0.5, "recall_at_100": 0.875, "queries": 482, "passages": 131924, "seconds": 1.0},
        "yo": {"ndcg_at_10": 0.25, "recall_at_100": 0.5, "queries": 119, "passages": 49043, "seconds": 1.0},
    }
    languages["yo"]["index_recall_at_100"] = 0.9
    means = {"all": {"ndcg_at_10": 0.375, "recall_at_100": 0.6875}}
    told = printed({"MIRACL": MiraclScores.from_dict({"per_language": languages, "means": means})})
    rows = [line.replace("│", " ").split() for line in told.splitlines()]
    assert ["sw", "482", "131,924", "0.500", "0.875"] in rows
    assert ["yo", "119", "49,043", "0.250", "0.500", "0.900"] in rows
    assert ["mean", "0.375", "0.688"] in rows


def test_a_sample_and_a_model_by_its_folder(tiny_model_path: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores.json"
    options: dict[str, Any] = {"verify": False, "sample": 3, "show_progress_bar": False}
    scores = evaluate_tasks(str(tiny_model_path), ["XQuAD-R"], data, output, seed=4, **options)["XQuAD-R"]
    assert isinstance(scores, TaskScores)
    assert scores.counts.queries == scores.counts.passages == {"de": 3, "en": 3}
    assert scores.sample == {"queries": 3, "seed": 4}
    assert json.loads(output.read_text(encoding="utf-8"))["model"] == str(tiny_model_path)
    scores = evaluate_tasks(str(tiny_model_path), ["XQuAD-R"], data, output, languages=["de"], **options)["XQuAD-R"]
    assert scores.counts.queries == {"de": 3}


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        (["MIRACL"], {"centers": ["evaluated"]}, "centers has no effect on MIRACL"),
        (["XQuAD-R", "MIRACL"], {"sample": 3}, "sample has no effect on MIRACL"),
        (["MIRACL"], {"plots": "plots"}, "plots has no effect on MIRACL"),
        (["MIRACL"], {"verify": False}, "verify=False has no effect on MIRACL"),
        (["XQuAD-R"], {"memory_gb": 2, "index_factory": "Flat"}, "memory_gb, index_factory can only .* MIRACL"),
        (["XQuAD-R"], {"seed": 1}, "seed has no effect without sample"),
        (["SQuAD", "XQuAD-R"], {}, "must be one of XQuAD-R, MLQA-R, got 'SQuAD'"),
    ],
)
def test_options_without_effect_are_refused_before_anything_is_loaded(
    tasks: list[Any], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_tasks("no such model", tasks, tmp_path, tmp_path / "new" / "scores.json", **options)
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_version_is_refused(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores.json"
    output.write_text(json.dumps({"model": "tiny", "tasks": {"XQuAD-R": {"monolingual": {"map": 0.5}}}}))
    with pytest.raises(ValueError, match=r"scores\.json is of another version"):
        run("no such model", data, output, "MLQA-R")  # type: ignore[arg-type]


def test_import_loads_nothing_heavy() -> None:
    """The command line reads the options from the module."""
    heavy = ("torch", "datasets", "pyarrow", "sentence_transformers", "mteb", "faiss", "matplotlib")
    code = f"import sys, st_hybrid.benchmark; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_miracl(tiny_model: SentenceTransformer, write_miracl: Callable[..., Path], tmp_path: Path) -> None:
    """Languages come one after the other into the same files, with the scores that mteb gives."""
    folder, output = write_miracl(["fi", "sw"], passages=150, queries=12), tmp_path / "scores.json"
    run(tiny_model, folder, output, "MIRACL", languages=["sw"])
    kept = {"languages": ["fi"], "embeddings_dir": tmp_path / "kept", "index_factory": "IVF2,Flat"}
    results = run(tiny_model, folder, output, "MIRACL", **kept)
    with pytest.raises(ValueError, match="has no effect without index_factory"):
        run(tiny_model, folder, output, "MIRACL", index_parameters="nprobe=4")
    with pytest.raises(ValueError, match="MIRACL: the data have no language 'yo', only fi, sw"):
        run(tiny_model, folder, output, "MIRACL", languages=["sw", "yo"])
    task = results["MIRACL"]
    assert list(task.per_language) == ["sw", "fi"]
    assert task.per_language["fi"].index_recall_at_100 is not None
    assert task.per_language["sw"].passages == 150
    means = [task.per_language[language].ndcg_at_10 for language in ("sw", "fi")]
    assert task.means["all"].ndcg_at_10 == pytest.approx(np.mean(means))
    assert "paper" not in task.means
    content = json.loads(output.read_text(encoding="utf-8"))["tasks"]["MIRACL"]
    assert "index_recall_at_100" not in content["per_language"]["sw"]
    assert MiraclScores.from_dict(content) == task
    assert list((tmp_path / "kept" / "MIRACL").iterdir())

    of_mteb = mteb.get_task("MIRACL", hf_subsets=["sw"])
    of_mteb.data_dir = folder
    (result,) = mteb.evaluate(tiny_model, of_mteb, cache=None, show_progress_bar=False).task_results
    assert result.get_score() == pytest.approx(task.per_language["sw"].ndcg_at_10, abs=1e-5)

    rows = pq.read_table(per_query_path(output))
    assert rows.num_rows == 24
    for language in ("sw", "fi"):
        mean = pc.mean(rows.filter(pc.field("query_language") == language)["recall_at_100"]).as_py()
        assert mean == pytest.approx(task.per_language[language].recall_at_100)


def test_prompts_given_reach_miracl(
    tiny_model: SentenceTransformer, write_miracl: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_miracl(["sw"], passages=100, queries=20)
    of_prompts = [
        run(tiny_model, folder, tmp_path / f"{number}.json", "MIRACL", **prompts)["MIRACL"].means["all"]
        for number, prompts in enumerate(({}, {"query_prompt": "query: "}, {"query_prompt": "a quite other one: "}))
    ]
    assert of_prompts[0] == of_prompts[1] != of_prompts[2]


@pytest.mark.parametrize(("task", "missing"), [("XQuAD-R", "ar.json"), ("MIRACL", "miracl-v1.0-<language>")])
def test_missing_data_are_named(tiny_model: SentenceTransformer, tmp_path: Path, task: str, missing: str) -> None:
    with pytest.raises(FileNotFoundError, match=missing):
        run(tiny_model, tmp_path, tmp_path / "scores.json", task, verify=True)
