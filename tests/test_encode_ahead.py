"""Encoding ahead of an evaluation: by the real command, found by mteb, and on a real Ray with a worker killed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import psutil
import pytest
import ray
import torch
from rich.console import Console
from safetensors import safe_open
from sentence_transformers import SentenceTransformer

from st_hybrid.benchmark import evaluate_tasks
from st_hybrid.encode_ahead import _ShardEncoder, encode_miracl, print_encoding
from st_hybrid.tasks import MIRACL, ShardedSearch

WriteMiracl = Callable[..., Path]
ROOT = Path(__file__).parents[1]
# Holds 1,005 passages of 32 dimensions at a time; shards are not allowed to be much smaller.
MEMORY_GB = 0.0131


class CountingEncoder(mteb.SentenceTransformerEncoderWrapper):
    """Counts what it encodes."""

    queries = passages = 0

    def encode(self, inputs: Any, *, prompt_type: Any = None, **kwargs: Any) -> Any:
        count = sum(len(batch["text"]) for batch in inputs)
        if prompt_type.value == "query":
            self.queries += count
        else:
            self.passages += count
        return super().encode(inputs, prompt_type=prompt_type, **kwargs)


def command(*arguments: str | float | Path) -> list[str]:
    return [sys.executable, "-m", "st_hybrid.cli", "encode", *map(str, arguments)]


def environment(tmp_path: Path) -> dict[str, str]:
    # One thread, since torch's last bits depend on their number and Ray gives its workers their share.
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "120", "RAY_USAGE_STATS_ENABLED": "0"}
    return {**os.environ, **own, "HF_DATASETS_CACHE": str(tmp_path / "datasets")}


def evaluate(encoder: CountingEncoder, embeddings: Path, data_dir: Path, languages: list[str]) -> list[float]:
    task = mteb.get_task("MIRACL", hf_subsets=languages)
    assert isinstance(task, MIRACL)
    task.data_dir = data_dir
    search = ShardedSearch(encoder, embeddings_dir=embeddings, memory_gb=MEMORY_GB)
    (result,) = mteb.evaluate(
        search, task, cache=None, encode_kwargs={"show_progress_bar": False}, show_progress_bar=False
    ).task_results
    return [of_language["ndcg_at_10"] for of_language in result.scores["dev"]]


def embeddings(folder: Path) -> dict[str, tuple[np.ndarray, dict[str, str]]]:
    """What the shards in a folder hold, by their path in it; fails on anything that is not a shard."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with safe_open(path, framework="numpy") as file:
            assert list(file.keys()) == ["embeddings"]
            found[str(path.relative_to(folder))] = (file.get_tensor("embeddings"), file.metadata())
    return found


@pytest.mark.slow
def test_the_evaluation_finds_what_the_command_encoded(
    write_miracl: WriteMiracl, tiny_model_path: Path, tmp_path: Path
) -> None:
    """Without --language all that are there."""
    folder, output = write_miracl(["fi", "sw"], passages=1100, queries=20), tmp_path / "embeddings"
    options = ["--model", tiny_model_path, "--data-dir", folder, "--output", output, "--memory-gb", MEMORY_GB]
    done = subprocess.run(command(*options), env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"2,200 passages in [\d.,]+ s: [\d,]+ per second, processes: 1", done.stdout)
    assert len(embeddings(output)) == 4

    encoder = CountingEncoder(SentenceTransformer(str(tiny_model_path), device="cpu"))
    scores = evaluate(encoder, output, folder, ["fi", "sw"])
    assert (encoder.queries, encoder.passages) == (40, 0)
    assert scores == pytest.approx(evaluate(encoder, tmp_path / "own", folder, ["fi", "sw"]), abs=1e-3)
    assert encoder.passages == 2200

    written = {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")}
    search = {"embeddings_dir": output, "memory_gb": MEMORY_GB}
    model = SentenceTransformer(str(tiny_model_path), device="cpu")
    results = evaluate_tasks(model, ["MIRACL"], folder, tmp_path / "scores.json", model_name="tiny", **search)
    assert results["MIRACL"].means["all"].ndcg_at_10 == pytest.approx(np.mean(scores), abs=1e-5)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")} == written


@pytest.mark.usefixtures("has_bfloat16")
def test_only_what_is_missing_is_encoded(write_miracl: WriteMiracl, tiny_model_path: Path, tmp_path: Path) -> None:
    folder, output = write_miracl(["sw"], passages=2100, queries=2), tmp_path / "embeddings"

    def encode(printed: str, **settings: Any) -> list[tuple[int, int]]:
        report = encode_miracl(
            str(tiny_model_path), output, data_dir=folder, memory_gb=MEMORY_GB, show_progress_bar=False, **settings
        )
        assert report.shards == {"sw": 3}
        assert report.passages == {"sw": 2100}
        console = Console(file=StringIO(), width=120)
        print_encoding(report, console)
        assert printed in console.file.getvalue()
        return [(shard.number, shard.passages) for shard in report.encoded]

    assert encode("2,100 passages in") == [(0, 1005), (1, 1005), (2, 90)]
    assert encode("sw: 2,100 passages in 3 shards, 0 encoded now") == []
    whole = embeddings(output)
    first, second, _ = sorted(output.rglob("*.safetensors"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:1000])
    assert encode("2,010 passages in") == [(0, 1005), (1, 1005)]
    assert embeddings(output).keys() == whole.keys()
    assert all(np.array_equal(vectors, whole[name][0]) for name, (vectors, _) in embeddings(output).items())
    assert len(encode("2,100 passages in", document_prompt="text: ")) == 3
    assert len(encode("2,100 passages in", dtype="bfloat16")) == 3
    assert encode("0 encoded now", dtype="bfloat16") == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "dask"}, "engine must be 'local' or 'ray', not 'dask'"),
        ({"workers": 2}, "workers must be at least 1 and needs engine='ray', not 2 with engine='local'"),
        ({"engine": "ray", "workers": 0}, "workers must be at least 1 and needs .* not 0"),
        ({"languages": ["el"]}, "MIRACL has no language 'el'"),
        ({"languages": ["sw", "fi"]}, "language fi: not found: .*topics.miracl-v1.0-fi-dev.tsv"),
        ({"memory_gb": 0}, "memory_gb must be positive"),
        ({"memory_gb": 0.001}, "hold only 76 passages of 32 dimensions"),
        ({"data_dir": "nowhere"}, "nowhere holds no miracl-v1.0-<language> folder"),
    ],
)
def test_bad_input_is_refused_before_anything_is_encoded(
    write_miracl: WriteMiracl, tiny_model_path: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    folder, output = write_miracl(["sw"], passages=1010, queries=2), tmp_path / "embeddings"
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        encode_miracl(str(tiny_model_path), output, **{"data_dir": folder, **settings})
    assert embeddings(output) == {}


def test_a_similarity_that_faiss_does_not_have_is_refused(
    write_miracl: WriteMiracl, tiny_model: SentenceTransformer, tmp_path: Path
) -> None:
    tiny_model.similarity_fn_name = "manhattan"
    tiny_model.save_pretrained(str(tmp_path / "model"))
    with pytest.raises(ValueError, match="not by 'manhattan'"):
        encode_miracl(str(tmp_path / "model"), tmp_path / "out", data_dir=write_miracl(["sw"], passages=5, queries=2))


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "st-hybrid\[ray\]"'):
        encode_miracl("no-model", tmp_path / "out", engine="ray")


def test_a_worker_refuses_another_model_or_other_passages(
    write_miracl: WriteMiracl, tiny_model: SentenceTransformer, tiny_model_path: Path, tmp_path: Path
) -> None:
    """The worker of a machine that differs from the one that started the run."""
    folder = write_miracl(["sw"], passages=6, queries=2)

    def worker(model: Path = tiny_model_path, output: Path = tmp_path) -> _ShardEncoder:
        return _ShardEncoder(str(model), str(output), str(folder), batch_size=32, memory_gb=8.0)

    request = ("sw", 0, worker().shards("sw").fingerprints(0))
    next(tiny_model.parameters()).data[5] += 1e-3
    tiny_model.save_pretrained(str(tmp_path / "model"))
    with pytest.raises(
        ValueError, match="weights or settings of the model differ from those of the process that started"
    ):
        worker(model=tmp_path / "model").encode(*request)
    with pytest.raises(FileNotFoundError, match=r"elsewhere\. Every machine needs it"):
        worker(output=tmp_path / "elsewhere").encode(*request)
    folder.rename(tmp_path / "old")
    for passages in (5, 7):
        folder = write_miracl(["sw"], passages=passages, queries=2)
        with pytest.raises(ValueError, match="language sw: the passages differ from those of the process that started"):
            worker().encode(*request)
        folder.rename(tmp_path / f"with-{passages}")
    assert not list(tmp_path.rglob("*.safetensors"))[1:]  # but for the model's weights


@pytest.mark.slow
def test_a_killed_worker_of_ray_is_replaced(write_miracl: WriteMiracl, tiny_model_path: Path, tmp_path: Path) -> None:
    """Of two workers one is killed in the middle of a shard; the embeddings are those of a single process.

    Workers are suspended by turns. So both have finished a shard before, and when the victim dies, the one shard that
    is missing is the one that it had begun.
    """
    folder, total = write_miracl(["sw"], passages=6000, queries=2), 6
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    options = ["--model", tiny_model_path, "--data-dir", folder, "--memory-gb", MEMORY_GB, "--output", spread]
    # Small batches make a shard last.
    driver = subprocess.Popen(
        command(*options, "--batch-size", 4, "--engine", "ray", "--workers", 2),
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process = psutil.Process(driver.pid)
    deadline = time.monotonic() + 300

    def wait(until: Callable[[], bool]) -> None:
        while not until():
            assert driver.poll() is None, driver.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def shards() -> int:
        return len(list(spread.rglob("*.safetensors")))

    def workers() -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return [child for child in process.children(recursive=True) if "ShardEncoder" in "".join(child.cmdline())]
        return []

    def wait_for_a_shard(suspended: psutil.Process) -> None:
        suspended.suspend()
        before = shards()
        wait(lambda: shards() > before)

    try:
        wait(lambda: len(workers()) == 2)
        victim, other = workers()
        wait_for_a_shard(suspended=victim)
        victim.resume()
        wait_for_a_shard(suspended=other)
        spent = victim.cpu_times().user
        wait(lambda: victim.cpu_times().user > spent + 0.2)
        victim.suspend()
        other.resume()
        wait(lambda: shards() == total - 1)
        victim.kill()
        output, errors = driver.communicate(timeout=300)
    finally:
        for child in [*process.children(recursive=True), process] if driver.poll() is None else []:
            child.kill()
    assert driver.returncode == 0, errors
    assert "6,000 passages in" in output
    assert "processes: 3" in output

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    encode_miracl(str(tiny_model_path), alone, data_dir=folder, memory_gb=MEMORY_GB, batch_size=4)
    torch.set_num_threads(threads)
    expected, found = embeddings(alone), embeddings(spread)
    assert len(expected) == total
    assert found.keys() == expected.keys()
    for name, (vectors, metadata) in expected.items():
        np.testing.assert_array_equal(found[name][0], vectors)
        assert found[name][1] == metadata


@pytest.mark.full
def test_a_ray_of_the_caller_is_used_and_stays(
    write_miracl: WriteMiracl,
    tiny_model: SentenceTransformer,
    tiny_model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error in a worker becomes one line; the driver encodes nothing, so it cannot find the fault itself."""
    tiny_model[0].auto_model.embeddings.word_embeddings.weight.data[:] = torch.nan
    tiny_model.save_pretrained(str(tmp_path / "model"))
    folder = write_miracl(["sw"], passages=1010, queries=2)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    try:
        options: dict[str, Any] = {"data_dir": folder, "engine": "ray", "show_progress_bar": False}
        with pytest.raises(ValueError, match=r"Worker on .*: The vector of passage '0#0' is not finite"):
            encode_miracl(str(tmp_path / "model"), tmp_path / "out", **options)
        # Of these two workers the cluster can only start one, which then does all.
        options |= {"workers": 2, "memory_gb": MEMORY_GB}
        report = encode_miracl(str(tiny_model_path), tmp_path / "out", **options)
        assert len(report.encoded) == report.shards["sw"] == 2
        assert len({shard.worker for shard in report.encoded}) == 1
        assert ray.is_initialized()
    finally:
        ray.shutdown()
