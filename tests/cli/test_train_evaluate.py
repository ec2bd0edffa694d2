"""The commands, through their real entry point in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from st_hybrid.encoders import load_encoder
from st_hybrid.evaluation import encode_collection, evaluate_retrieval, load_lareqa, score_embeddings

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "st_hybrid.cli"]
LANGUAGES = {"en": ("Who lives at {}?", "Mr {} does."), "de": ("Wer wohnt in {}?", "Herr {} tut es.")}
TRAINING = ["--batch-size", "4", "--max-steps", "40", "--save-steps", "5", "--learning-rate", "1e-3"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    with path.open("w", encoding="utf-8") as lines:
        for number in range(24):
            for language, (query, positive) in LANGUAGES.items():
                texts = {"query": query.format(number), "positive": positive.format(number)}
                print(json.dumps({"id": number, "language": language, **texts}), file=lines)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of evaluation data: two languages, one paragraph of three sentences and three questions."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "xquad-r").mkdir()
    for language, (query, positive) in LANGUAGES.items():
        sentences = [positive.format(number) for number in range(3)]
        starts = [sum(len(sentence) + 1 for sentence in sentences[:number]) for number in range(3)]
        paragraph = {
            "context": " ".join(sentences),
            "sentence_breaks": [[start, start + len(text)] for start, text in zip(starts, sentences, strict=True)],
            "qas": [
                {
                    "id": f"q{number}",
                    "question": query.format(number),
                    "answers": [{"answer_start": start, "text": "x"}],
                }
                for number, start in enumerate(starts)
            ],
        }
        content = {"data": [{"title": "door-plates", "paragraphs": [paragraph]}]}
        (folder / "xquad-r" / f"{language}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def environment() -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "COLUMNS": "100",
    }


def run(*arguments: str | Path, fails: bool = False) -> str:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_help_names_every_command_and_option() -> None:
    told = run("--help")
    for command in ("quickstart", "train", "center", "evaluate", "data"):
        assert command in told
    told = run("train", "--help")
    for option in ("--sampler", "--alpha", "--batch-size", "--max-steps", "--seed", "--output", "--resume"):
        assert option in told
    assert "x-x-mono" in told


def test_train_center_evaluate(tiny_model_path: Path, rows: Path, data: Path, tmp_path: Path) -> None:
    """The way of a user: train, take the language means, and measure both ways."""
    model, scores = tmp_path / "model", tmp_path / "scores" / "tiny.json"
    run("train", "--model", tiny_model_path, "--data", rows, "--output", model, "--sampler", "x-y", *TRAINING)
    assert "sampler `x-y`" in (model / "README.md").read_text(encoding="utf-8")

    assert "en" in run("center", "--model", model, "--data", rows, "--per-language", "10")

    options = ["--data-dir", data, "--output", scores, "--no-verify", "--quotas", "--center", "evaluated"]
    options += ["--plots", tmp_path / "plots"]
    told = run("evaluate", "--model", model, "--task", "XQuAD-R", *options, "--center", model)
    assert "rank distance" in told
    assert "centered: evaluated" in told
    assert "XQuAD-R: not known to be zero-shot: the training rows were not checked against XQuAD-R;" in told
    found: dict[str, Any] = json.loads(scores.read_text(encoding="utf-8"))
    assert found["model"] == str(model)
    assert found["command"].startswith("__main__.py evaluate --model")
    task = found["tasks"]["XQuAD-R"]
    assert set(task["per_pair"]) == {"en-en", "en-de", "en-multi", "de-de", "de-en", "de-multi"}
    assert set(task["centered"]) == {"evaluated", str(model)}
    for part in (task, task["quotas"], *task["centered"].values()):
        for setting in ("monolingual", "cross_lingual", "multilingual"):
            measures = {"map", "recall_at_1", "recall_at_10", "ndcg_at_10", "mrr_at_10"}
            measures |= set() if part is task["quotas"] else {"contrastive_entropy"}
            assert set(part[setting]) == measures | ({"peer_at_20"} if setting == "multilingual" else set())
            assert 0 < part[setting]["map"] <= 1
        assert 0 < part["rank_distance"] <= 5
        assert set(part["top_10_languages"]) == {"en", "de"}

    assert "languages of the first 10" in told
    assert max(map(len, told.splitlines())) <= 100
    assert (tmp_path / "plots" / "xquad-r-top-10-languages.png").read_bytes().startswith(b"\x89PNG")
    rows = pq.read_table(scores.with_name("tiny.per-query.parquet"))
    assert set(rows["variant"].to_pylist()) == {"plain", "centered: evaluated", f"centered: {model}", "quotas"}
    assert rows.num_rows == 4 * 6 * 3  # variants, questions, pools
    means = rows.group_by(["variant", "query_language", "pool"]).aggregate([("map", "mean"), ("peer_at_20", "mean")])
    for row in means.to_pylist():
        centered = {f"centered: {name}": scores for name, scores in task["centered"].items()}
        part = {"plain": task, "quotas": task["quotas"], **centered}[row["variant"]]["per_pair"]
        expected = part[f"{row['query_language']}-{row['pool']}"]
        assert row["map_mean"] == pytest.approx(expected["map"], abs=1e-9)
        assert row["peer_at_20_mean"] == pytest.approx(expected.get("peer_at_20"), abs=1e-9)


def test_a_model_that_centers_by_itself(tiny_model_path: Path, rows: Path, data: Path, tmp_path: Path) -> None:
    """``center --output`` writes a model that every command takes as it is."""
    fit = ["center", "--model", tiny_model_path, "--data", rows, "--per-language", "10"]
    settings = ["--method", "shift", "--strength", "0.5", "--source", "de"]
    assert "into" in run(*fit, *settings, "--output", tmp_path / "shifted")
    module = load_encoder(tmp_path / "shifted")[-1]
    assert (module.method, module.strength, module.source) == ("shift", 0.5, "de")
    scores = tmp_path / "scores.json"
    run("evaluate", "--model", tmp_path / "shifted", "--data-dir", data, "--output", scores, "--no-verify")
    found = json.loads(scores.read_text(encoding="utf-8"))["tasks"]["XQuAD-R"]
    collection, plain = load_lareqa("XQuAD-R", data, verify=False), load_encoder(tiny_model_path)
    vectors = [
        module.transform(part, None, role)
        for part, role in zip(encode_collection(plain, collection), ("query", "document"), strict=True)
    ]
    assert found["multilingual"]["map"] == pytest.approx(score_embeddings(*vectors, collection).multilingual.map)

    for wrong, message in (
        ([*fit, "--unseen", "keep", "--output", tmp_path / "other"], "unseen has no effect with --output"),
        ([*fit, "--source", "de", "--output", tmp_path / "other"], "source has no effect on the method 'center'"),
        (["center", "--model", "org/model", "--data", rows], "org/model is not a folder"),
        (["center", "--model", tmp_path / "shifted", "--data", rows], "has language centering already"),
    ):
        told = " ".join(run(*wrong, fails=True).split())
        assert message in told
        assert "Traceback" not in told


def test_train_on_several_data_sets(tiny_model_path: Path, rows: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.jsonl"
    with more.open("w", encoding="utf-8") as lines:
        for number in range(16):
            for language in ("en", "el"):
                texts = {"question": f"{language} {number}?", "positive": f"{number} {language}."}
                print(json.dumps({"id": number, "language": language, **texts}), file=lines)
    renamed = tmp_path / "rows.jsonl"
    renamed.write_text(rows.read_text(encoding="utf-8").replace('"query"', '"question"'), encoding="utf-8")
    data = ["--data", renamed, "--data", more, "--column", "query=question"]
    run("train", "--model", tiny_model_path, *data, "--output", tmp_path / "out", *TRAINING, "--held-out", "6")
    told = json.loads((tmp_path / "out" / "training.json").read_text(encoding="utf-8"))
    assert told["settings"]["data"] == "rows, more"
    assert told["steps"] == 40
    assert any("eval_held-out_multilingual_map" in entry for entry in told["log"])


def test_errors_are_one_line_and_come_first(tiny_model_path: Path, rows: Path, data: Path, tmp_path: Path) -> None:
    model = ["--model", tiny_model_path]
    output = tmp_path / "out"
    for arguments, message in (
        (["train", *model, "--data", tmp_path / "none.jsonl", "--output", output], "There is no file"),
        (["train", *model, "--data", rows, "--output", output, "--column", "query=ask"], "no column 'ask'"),
        (["train", *model, "--data", rows, "--output", output, "--batch-size", "25"], "Choose a smaller batch"),
        (["evaluate", *model, "--data-dir", data, "--output", output], "ar.json"),
        (["evaluate", *model, "--data-dir", data, "--output", output, "--task", "SQuAD"], 'Invalid value "SQuAD"'),
    ):
        told = run(*arguments, fails=True)
        assert "Traceback" not in told
        assert message in " ".join(told.split()), told


@pytest.mark.parametrize("kind", ["sparse", "multi_vector"])
def test_sparse_and_multi_vector_models(
    st_hybrid: Callable[..., str],
    write_miracl: Callable[..., Path],
    kind: str,
    request: pytest.FixtureRequest,
    rows: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    """They are evaluated as what they are, and what needs dense vectors refuses them in one line."""
    folder = request.getfixturevalue(f"{kind}_model_path")
    model, output = ["--model", folder], ["--output", tmp_path / "scores.json"]
    evaluate = ["evaluate", *model, "--data-dir", data, *output, "--no-verify"]
    assert "Mul." in st_hybrid(*evaluate)
    found = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["tasks"]["XQuAD-R"]
    expected = evaluate_retrieval(load_encoder(folder), load_lareqa("XQuAD-R", data, verify=False))
    assert {name: found[name] for name in expected.to_dict()} == expected.to_dict()

    shutil.copytree(folder, tmp_path / "copy")
    negatives = ["--output", tmp_path / "mined.jsonl"]
    for arguments in (
        [*evaluate, "--center", "evaluated"],
        [
            "evaluate",
            *model,
            *output,
            "--task",
            "MIRACL",
            "--languages",
            "sw",
            "--data-dir",
            write_miracl(["sw"], passages=3, queries=2),
        ],
        ["center", "--model", tmp_path / "copy", "--data", rows],
        ["data", "mine", rows, *model, *negatives],
        ["train", *model, "--data", rows, "--output", tmp_path / "out", *TRAINING],
    ):
        told = st_hybrid(*arguments, status=1)
        assert "needs one dense vector per text: a SentenceTransformer, not a " in told
        assert "\n" not in told


def test_a_killed_run_resumes_to_the_same_model(tiny_model_path: Path, rows: Path, tmp_path: Path) -> None:
    """A training process gets SIGKILL; resumed, it ends with the weights of a run that nothing disturbed."""

    def train(output: Path, *options: str) -> list[str]:
        fixed = ["--model", str(tiny_model_path), "--data", str(rows), "--output", str(output)]
        return ["train", *fixed, *TRAINING, "--held-out", "6", *options]

    run(*train(tmp_path / "whole"))
    victim = subprocess.Popen(
        [*COMMAND, *train(tmp_path / "killed")],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    state = "checkpoints/checkpoint-{}/trainer_state.json"
    deadline = time.monotonic() + 180
    while not list((tmp_path / "killed").glob(state.format("*"))) and time.monotonic() < deadline:
        assert victim.poll() is None, "the run ended before its first checkpoint"
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "training.json").exists()

    told = run(*train(tmp_path / "killed"), fails=True)
    assert "--resume" in told
    run(*train(tmp_path / "killed", "--resume"))
    whole, killed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all((whole[name] == killed[name]).all() for name in whole)
    resumed = json.loads((tmp_path / "killed" / "training.json").read_text(encoding="utf-8"))
    assert resumed["resumed_from"].startswith("checkpoint-")


def test_the_installed_command_is_the_same() -> None:
    command = shutil.which("st-hybrid")
    if command is None:
        pytest.skip("st-hybrid is not installed; tests/test_packaging.py installs it")
    told = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    assert told.startswith("st-hybrid ")
