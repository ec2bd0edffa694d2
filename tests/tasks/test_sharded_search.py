"""ShardedSearch inside mteb: the same results as mteb's own search, in bounded memory and after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from mteb.models.search_wrappers import SearchEncoderWrapper
from sentence_transformers import SentenceTransformer

from st_hybrid.tasks import MIRACL, ShardedSearch
from st_hybrid.tasks.miracl_task import load_miracl

from .conftest import CountingEncoder

WriteMiracl = Callable[..., Path]
CONTEXT: Any = {
    "task_metadata": MIRACL.metadata,
    "hf_split": "dev",
    "hf_subset": "sw",
    "encode_kwargs": {"show_progress_bar": False, "batch_size": 16},
}


def find(model: Any, folder: Path, top_k: int = 20) -> dict[str, dict[str, float]]:
    data = load_miracl("sw", folder)
    model.index(data["corpus"], num_proc=None, **CONTEXT)
    found: dict[str, dict[str, float]] = model.search(data["queries"], top_k=top_k, num_proc=None, **CONTEXT)
    return found


def test_results_are_those_of_mteb_s_search(write_miracl: WriteMiracl, encoder: CountingEncoder):
    folder = write_miracl(["sw"], passages=60, queries=5)
    found, expected = find(ShardedSearch(encoder), folder), find(SearchEncoderWrapper(encoder), folder)
    assert found.keys() == expected.keys()
    for query, scores in found.items():
        assert scores == pytest.approx(expected[query], abs=1e-5)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)


def test_a_pool_smaller_than_top_k_is_ranked_whole(write_miracl: WriteMiracl, encoder: CountingEncoder):
    folder = write_miracl(["sw"], passages=7, queries=2)
    assert {len(scores) for scores in find(ShardedSearch(encoder), folder, top_k=1000).values()} == {7}


def test_kept_embeddings_are_used_again_but_not_by_a_changed_model(
    write_miracl: WriteMiracl, encoder: CountingEncoder, tmp_path: Path
):
    folder, kept = write_miracl(["sw"], passages=40, queries=3), tmp_path / "kept"
    first = find(ShardedSearch(encoder, embeddings_dir=kept), folder)
    passages = {text for kind, text in encoder.encoded if kind == "document"}
    assert len(passages) == 40
    encoder.encoded.clear()
    assert find(ShardedSearch(encoder, embeddings_dir=kept), folder) == first
    assert {kind for kind, _ in encoder.encoded} == {"query"}
    for query, scores in find(ShardedSearch(encoder), folder).items():
        assert scores == pytest.approx(first[query], abs=1e-3)

    encoder.encoded.clear()
    weight = next(encoder.model.parameters())
    weight.data[5] += 1e-3
    find(ShardedSearch(encoder, embeddings_dir=kept), folder)
    assert {text for kind, text in encoder.encoded if kind == "document"} == passages
    encoder.encoded.clear()
    encoder.model_prompts = {"query": "query: ", "document": "text: "}
    find(ShardedSearch(encoder, embeddings_dir=kept), folder)
    assert {text for kind, text in encoder.encoded if kind == "document"} == passages


def test_kept_embeddings_are_found_under_another_name(
    write_miracl: WriteMiracl, encoder: CountingEncoder, tmp_path: Path
):
    """With network mteb names a model after the hub, without it not at all."""
    folder = write_miracl(["sw"], passages=10, queries=2)
    first = find(ShardedSearch(encoder, embeddings_dir=tmp_path / "kept"), folder)
    encoder.encoded.clear()
    encoder.mteb_model_meta = encoder.mteb_model_meta.model_copy(update={"name": "someone/model"})
    assert find(ShardedSearch(encoder, embeddings_dir=tmp_path / "kept"), folder) == first
    assert {kind for kind, _ in encoder.encoded} == {"query"}


def test_an_index_reports_its_recall(write_miracl: WriteMiracl, encoder: CountingEncoder):
    folder = write_miracl(["sw"], passages=300, queries=5)
    exact = find(ShardedSearch(encoder), folder, top_k=100)
    search = ShardedSearch(encoder, index_factory="IVF2,Flat", index_parameters="nprobe=1")
    found = find(search, folder, top_k=100)
    common = np.mean([len(found[query].keys() & exact[query].keys()) / 100 for query in exact])
    assert search.index_recall["sw"] == pytest.approx(common, abs=0.02)
    assert "index_factory" in search.mteb_model_meta.experiment_kwargs
    assert encoder.mteb_model_meta.experiment_kwargs is None


def test_shards_are_encoded_longest_first(write_miracl: WriteMiracl, encoder: CountingEncoder):
    folder, lengths = write_miracl(["sw"], passages=120, queries=2), []

    class Watching(CountingEncoder):
        def encode(self, inputs: Any, **kwargs: Any) -> Any:
            lengths.append([len(text) for batch in inputs for text in batch["text"]])
            return super().encode(inputs, **kwargs)

    find(ShardedSearch(Watching(encoder.model)), folder)
    assert all(of_call == sorted(of_call, reverse=True) for of_call in lengths)
    assert max(map(len, lengths)) == 120


def test_memory_bounds_the_shards(encoder: CountingEncoder):
    from datasets import Dataset

    corpus = Dataset.from_dict({"id": [str(i) for i in range(50_000)], "text": ["word"] * 50_000})
    shards = ShardedSearch(encoder, memory_gb=0.1).shards(corpus, dimensions=384, **CONTEXT)
    assert 3 * 384 * 4 * shards.rows < 0.1e9
    assert len(shards) > 1
    with pytest.raises(ValueError, match=r"hold only .* passages of 4096 dimensions"):
        ShardedSearch(encoder, memory_gb=0.05).shards(corpus, dimensions=4096, **CONTEXT)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"memory_gb": 0}, ValueError, "memory_gb must be positive"),
        ({"index_parameters": "nprobe=2"}, ValueError, "no effect without index_factory"),
        ({}, TypeError, "needs a dense encoder"),
    ],
)
def test_bad_arguments(encoder: CountingEncoder, arguments: dict[str, Any], error: type[Exception], message: str):
    model = encoder if arguments else SearchEncoderWrapper(encoder)
    with pytest.raises(error, match=message):
        ShardedSearch(model, **arguments)


def test_what_faiss_cannot_rank_is_refused(write_miracl: WriteMiracl, tiny_model_path: Path):
    model = SentenceTransformer(str(tiny_model_path), device="cpu", similarity_fn_name="manhattan")
    with pytest.raises(ValueError, match="not by 'manhattan'"):
        find(ShardedSearch(mteb.SentenceTransformerEncoderWrapper(model)), write_miracl(["sw"], passages=5, queries=2))


KILLED = """
import os, sys, mteb
from sentence_transformers import SentenceTransformer
import st_hybrid.tasks.sharded_search as search
from st_hybrid.tasks import MIRACL, ShardedSearch
search._MOST_ROWS = 50
class Slow(mteb.SentenceTransformerEncoderWrapper):
    shards = 0
    def encode(self, inputs, *, prompt_type=None, **kwargs):
        if prompt_type.value == "document":
            Slow.shards += 1
            if Slow.shards == 4 and sys.argv[3] == "die":
                print("ready", flush=True)
                import time; time.sleep(600)
        return super().encode(inputs, prompt_type=prompt_type, **kwargs)
task = mteb.get_task("MIRACL", hf_subsets=["sw"])
model = Slow(SentenceTransformer(sys.argv[1], device="cpu"))
kept = sys.argv[4] if len(sys.argv) > 4 else None
search_model = ShardedSearch(model, embeddings_dir=kept)
(result,) = mteb.evaluate(search_model, task, cache=None, encode_kwargs={"show_progress_bar": False},
                          prediction_folder=sys.argv[2]).task_results
print("encoded", Slow.shards, result.get_score())
"""


@pytest.mark.slow
@pytest.mark.parametrize("kept", [False, True])
def test_a_killed_run_continues(write_miracl: WriteMiracl, tiny_model_path: Path, tmp_path: Path, kept: bool):
    """A real process gets SIGKILL in its fourth shard; the next one encodes what is left, to the same predictions."""
    folder = write_miracl(["sw"], passages=300, queries=5)

    def arguments(name: str, how: str, cache: str) -> tuple[list[str], dict[str, str]]:
        command = [sys.executable, "-c", KILLED, str(tiny_model_path), str(tmp_path / name), how]
        command += [str(tmp_path / f"{cache}-kept")] if kept else []
        variables = {"ST_HYBRID_DATA": str(folder), "ST_HYBRID_CACHE": str(tmp_path / cache), "HF_HUB_OFFLINE": "1"}
        return command, {**os.environ, **variables, "HF_DATASETS_CACHE": str(tmp_path / "datasets")}

    command, environment = arguments("killed", "die", "cache")
    victim = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert victim.stdout is not None
    deadline = time.monotonic() + 120
    while victim.stdout.readline().strip() != "ready":
        assert victim.poll() is None
        assert time.monotonic() < deadline
    victim.send_signal(signal.SIGKILL)
    victim.wait()

    printed = []
    for name, cache in (("resumed", "cache"), ("whole", "other")):
        command, environment = arguments(name, "live", cache)
        printed.append(
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
        )
    assert printed[0][:2] == ["encoded", "3"]
    assert printed[1][:2] == ["encoded", "6"]
    resumed, whole = ((tmp_path / name / "MIRACL_predictions.json").read_bytes() for name in ("resumed", "whole"))
    assert resumed == whole
