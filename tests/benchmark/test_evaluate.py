from __future__ import annotations

import io
import json
import shutil
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
from datasets import Dataset
from rich.console import Console
from sentence_transformers import SentenceTransformer

import st_hybrid.tasks  # noqa: F401 (registers the tasks)
from st_hybrid.benchmark import compare_scores, evaluate_models, evaluate_tasks, print_scores
from st_hybrid.evaluation import RetrievalCollection, evaluate_retrieval
from st_hybrid.evaluation.per_query import first_passages_path, per_query_path
from st_hybrid.evaluation.results import MEASURES, MIXED_MEASURES, MiraclScores, TaskScores
from st_hybrid.methods.centering import LanguageCentering


def run(model: SentenceTransformer, data: Path, output: Path, *tasks: str, name: str = "tiny", **more: Any) -> Any:
    more = {"verify": tuple(tasks) == ("MIRACL",), "show_progress_bar": False, "model_name": name, **more}
    return evaluate_tasks(model, tasks, data, output, **more)


@pytest.mark.usefixtures("has_bfloat16")
def test_types_do_not_meet_in_one_file(tiny_model_path: Path, data: Path, tmp_path: Path) -> None:
    output, model = tmp_path / "scores.json", str(tiny_model_path)
    options: dict[str, Any] = {"verify": False, "show_progress_bar": False}
    half = evaluate_tasks(model, ["XQuAD-R"], data, output, dtype="bfloat16", **options)["XQuAD-R"]
    assert json.loads(output.read_text(encoding="utf-8"))["dtype"] == "bfloat16"
    for kept in (True, False):  # the files beside know it, too
        if not kept:
            output.unlink()
        with pytest.raises(ValueError, match="holds scores in bfloat16, and the model computes in float32"):
            evaluate_tasks(model, ["MLQA-R"], data, output, **options)
    exact = evaluate_tasks(model, ["XQuAD-R"], data, tmp_path / "exact.json", **options)["XQuAD-R"]
    assert isinstance(half, TaskScores)
    assert isinstance(exact, TaskScores)
    assert abs(half.multilingual.map - exact.multilingual.map) < 0.2
    evaluate_tasks(model, ["XQuAD-R"], data, output := tmp_path / "half.json", dtype="bfloat16", **options)
    page = compare_scores([tmp_path / "exact.json", output])
    assert f"| {tiny_model_path.name} |" in page
    assert f"| {tiny_model_path.name}, bfloat16 |" in page
    with pytest.raises(ValueError, match="dtype has no effect on a model that is loaded"):
        run(SentenceTransformer(model), data, tmp_path / "loaded.json", "XQuAD-R", dtype="bfloat16")


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
    assert sorted(path.name for path in output.parent.iterdir()) == [
        "scores.first-10.parquet",
        "scores.json",
        "scores.per-query.parquet",
    ]
    assert sorted(path.name for path in plots.iterdir()) == [
        "mlqa-r-top-10-languages.png",
        "xquad-r-top-10-languages.png",
    ]

    rows = pq.read_table(per_query_path(output))
    assert pq.read_metadata(per_query_path(output)).row_group(0).column(0).compression == "ZSTD"
    assert set(first["variant"].to_pylist()) == {"plain", "centered: evaluated"}
    assert first.filter(pc.field("variant") == "plain").equals(rows.filter(pc.field("task") == "XQuAD-R"))
    assert rows.num_rows == 10 * 3 + 6 * 3 + 2  # MLQA-R's q3 has one language, and so two pools
    measures = [*MEASURES, "contrastive_entropy", *MIXED_MEASURES, "peer_at_20"]
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
    first_passages_path(output).unlink()
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


def test_what_queries_find_is_kept(tiny_model: SentenceTransformer, data: Path, tmp_path: Path) -> None:
    """Of a task done again the new rows, and the texts in a dictionary, once each."""
    output = tmp_path / "scores.json"
    for task, options in (("XQuAD-R", {}), ("MLQA-R", {}), ("XQuAD-R", {"centers": ["evaluated"]})):
        run(tiny_model, data, output, task, **options)
    table = pq.read_table(first_passages_path(output))
    rows = table.filter(pc.field("task") == "XQuAD-R")
    assert set(rows["variant"].to_pylist()) == {"plain", "centered: evaluated"}
    assert rows.num_rows == 2 * 10 * 10  # variants, queries, passages
    plain = rows.filter(pc.field("variant") == "plain").to_pylist()
    assert all(sum(row["relevant"] for row in plain[start : start + 10]) == 2 for start in range(0, 100, 10))
    assert [row["rank"] for row in plain] == list(range(1, 11)) * 10
    assert len(table["passage"].combine_chunks().dictionary) == 10  # those of MLQA-R are among those of XQuAD-R


def test_several_models_side_by_side(
    tiny_model_path: Path, st_hybrid: Callable[..., str], data: Path, tmp_path: Path
) -> None:
    """A model that fails stops neither the others nor the page."""
    models = [tmp_path / "first", tmp_path / "second"]
    for model in models:
        shutil.copytree(tiny_model_path, model)
    given = [part for model in (models[0], "no/such-model", models[1]) for part in ("--model", model)]
    options = ["--data-dir", data, "--no-verify", "--task", "XQuAD-R", "--output", tmp_path / "out"]
    message = st_hybrid("evaluate", *given, *options, status=1)
    assert message.startswith(f"1 of 3 models failed, and {tmp_path / 'out'} has the scores of 2. no/such-model: ")
    assert json.loads((tmp_path / "out" / "second.json").read_text(encoding="utf-8"))["model"] == str(models[1])
    page = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "## XQuAD-R" in page
    assert all(f"| {model.name} |" in page for model in models)

    told = st_hybrid("evaluate", *[part for model in models for part in ("--model", model)], *options)
    assert "rank distance" in told
    assert st_hybrid("evaluate", *given, *options, "--seed", "1", status=1).startswith("seed has no effect without")
    with pytest.raises(ValueError, match="given twice"):
        evaluate_models(["a", "a"], ["XQuAD-R"], data, tmp_path)


def test_ones_own_rows(st_hybrid: Callable[..., str], tiny_model_path: Path, data: Path, tmp_path: Path) -> None:
    """The scores are those of the collection, with all options of the public tasks."""
    rows = [
        {"id": number, "lang": code, "query": f"{code} question {number}?", "positive": f"{number} answers {code}."}
        for number in range(12)
        for code in ("de", "en", "fr")
    ]
    path, output = tmp_path / "faq.jsonl", tmp_path / "scores.json"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    options = ["--model", tiny_model_path, "--data", path, "--column", "language=lang", "--output", output]
    told = st_hybrid("evaluate", *options, "--center", "evaluated", "--languages", "de,fr", "--plots", tmp_path)
    assert "faq in 2 languages: 24 queries, 24 passages" in told
    scores = TaskScores.from_dict(json.loads(output.read_text(encoding="utf-8"))["tasks"]["faq"])
    assert (tmp_path / "faq-top-10-languages.png").is_file()
    dataset = Dataset.from_list(rows).filter(lambda row: row["lang"] != "en")
    collection = RetrievalCollection.from_rows(dataset, columns={"language": "lang"})
    expected = evaluate_retrieval(SentenceTransformer(str(tiny_model_path)), collection)
    assert scores.multilingual.map == pytest.approx(expected.multilingual.map)
    assert scores.counts.settings == {"monolingual": 2, "cross_lingual": 2, "multilingual": 2}
    st_hybrid("evaluate", *options, "--sample", "3", "--task", "XQuAD-R", "--data-dir", data, "--no-verify")
    both = json.loads(output.read_text(encoding="utf-8"))["tasks"]
    assert both["faq"]["counts"]["queries"] == both["XQuAD-R"]["counts"]["queries"] | {"fr": 3}
    with pytest.raises(ValueError, match="faq is the name of other data"):
        evaluate_tasks(
            "model", [], None, tmp_path / "new.json", data=[path, path], columns={"language": "lang"}, model_name="m"
        )


def printed(results: dict[str, TaskScores | MiraclScores]) -> str:
    console = Console(width=100, file=io.StringIO())
    print_scores(results, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_language_without_a_mean_is_refused_before_a_model_is_loaded(data: Path, tmp_path: Path) -> None:
    mean = {"en": np.ones(4, dtype=np.float32)}
    LanguageCentering({"query": mean, "document": mean}).save_pretrained(tmp_path / "means")
    with pytest.raises(ValueError, match="no query mean for the language de, only for en"):
        evaluate_tasks(
            "no such model",
            ["XQuAD-R"],
            data,
            tmp_path / "scores.json",
            verify=False,
            centers=[str(tmp_path / "means")],
        )


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
    shares = [getattr(scores, measure) for measure in MIXED_MEASURES[1:]]
    found = [f"{scores.rank_distance:.0f}", *(f"{share:.3f}" for share in (scores.multilingual.peer_at_20, *shares))]
    assert ["plain", *found] in rows


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
        (["MIRACL"], {"quotas": True}, "quotas has no effect on MIRACL"),
        (["XQuAD-R", "MIRACL"], {"sample": 3}, "sample has no effect on MIRACL"),
        (["MIRACL"], {"plots": "plots"}, "plots has no effect on MIRACL"),
        (["MIRACL"], {"verify": False}, "verify=False has no effect without XQuAD-R or MLQA-R"),
        (["XQuAD-R"], {"memory_gb": 2, "index_factory": "Flat"}, "memory_gb, index_factory can only .* MIRACL"),
        (["XQuAD-R"], {"seed": 1}, "seed has no effect without sample"),
        (["XQuAD-R"], {"columns": {"query": "question"}}, "columns has no effect without data"),
        ([], {}, "nothing to evaluate on"),
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
    with pytest.raises(
        ValueError,
        match=r"scores\.json is of another version, .* \(\d+ validation errors for \w+\)\. Evaluate",
    ):
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
