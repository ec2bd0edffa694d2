"""The tasks are found by mteb, with metadata that is complete; this fails where a new mteb moves its registries."""

from __future__ import annotations

import importlib
import subprocess
import sys

import mteb
import pytest
from mteb import Benchmark

import st_hybrid.tasks
from st_hybrid.tasks import MIRACL, MLQAR, XQuADR
from st_hybrid.tasks.registry import add_to_mteb

TASKS = {"XQuAD-R": XQuADR, "MLQA-R": MLQAR, "MIRACL": MIRACL}


def test_mteb_finds_the_tasks_and_the_benchmark():
    for name, task in TASKS.items():
        assert type(mteb.get_task(name)) is task, f"mteb {mteb.__version__} keeps its task registry elsewhere"
    assert [type(task) for task in mteb.get_tasks(tasks=list(TASKS))] == list(TASKS.values())
    found = {task.metadata.name for task in mteb.get_tasks(languages=["swa"], task_types=["Retrieval"])}
    assert "MIRACL" in found, f"mteb {mteb.__version__} keeps its list of tasks elsewhere"
    benchmark = mteb.get_benchmark("st-hybrid")
    assert [task.metadata.name for task in benchmark.tasks] == list(TASKS)
    assert "st-hybrid" in {benchmark.name for benchmark in mteb.get_benchmarks()}


def test_mteb_knows_what_the_tasks_were_made_from():
    trained = mteb.get_model_meta("intfloat/multilingual-e5-small")
    assert [trained.is_zero_shot_on([name]) for name in TASKS] == [False, True, False]
    assert mteb.get_model_meta("sentence-transformers/LaBSE").is_zero_shot_on(list(TASKS)) is True


def test_registering_twice_changes_nothing():
    before = len(mteb.get_tasks()), mteb.get_benchmark("st-hybrid")
    importlib.reload(st_hybrid.tasks)
    assert (len(mteb.get_tasks()), mteb.get_benchmark("st-hybrid")) == before


def test_names_of_mteb_are_not_taken():
    class Impostor(MIRACL):
        metadata = MIRACL.metadata.model_copy(update={"name": "MIRACLRetrieval"})

    with pytest.raises(RuntimeError, match="already has a task 'MIRACLRetrieval'"):
        add_to_mteb([Impostor], Benchmark(name="new", tasks=[]))
    with pytest.raises(RuntimeError, match="already has a benchmark"):
        add_to_mteb([], Benchmark(name="st hybrid", tasks=[]))


def test_registries_that_moved_are_a_clear_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(importlib.import_module("mteb.get_tasks"), "_TASKS_REGISTRY")
    with pytest.raises(RuntimeError, match=f"in mteb {mteb.__version__}.*_TASKS_REGISTRY"):
        importlib.reload(st_hybrid.tasks)


@pytest.mark.parametrize("name", TASKS)
def test_metadata_is_complete(name: str):
    task = mteb.get_task(name)
    metadata = task.metadata
    assert metadata.is_filled()
    assert metadata.bibtex_citation
    assert metadata.license
    assert metadata.date
    assert all(len(code.split("-")) == 2 for code in metadata.bcp47_codes)
    splits = metadata.n_samples
    assert splits is not None
    assert list(splits) == list(metadata.eval_splits)


def test_a_model_trained_on_the_original_is_not_zero_shot():
    """By the account of mteb, multilingual-e5 was trained on MIRACL and on SQuAD, which XQuAD belongs to."""
    model = mteb.get_model_meta("intfloat/multilingual-e5-small")
    assert {name: model.is_zero_shot_on([name]) for name in TASKS} == {
        "XQuAD-R": False,
        "MLQA-R": True,
        "MIRACL": False,
    }


def test_sample_counts_are_the_published_ones():
    statistics = mteb.get_task("XQuAD-R").metadata.descriptive_stats
    assert statistics is not None
    of_subsets = statistics["test"]["hf_subset_descriptive_stats"]
    assert of_subsets["en-de"] == {"num_samples": 2466, "num_queries": 1190, "num_documents": 1276}
    assert of_subsets["th-multi"]["num_documents"] == 13_014
    # What the plain way encodes: every subset's questions and sentences.
    assert statistics["test"]["num_samples"] == 443_388
    swahili = mteb.get_task("MIRACL").metadata.descriptive_stats["dev"]["hf_subset_descriptive_stats"]["sw"]
    assert swahili == {"num_samples": 482 + 131_924, "num_queries": 482, "num_documents": 131_924}


def test_subsets_and_settings():
    subsets = mteb.get_task("XQuAD-R").hf_subsets
    assert len(subsets) == 132
    assert {"en-de", "en-en", "en-multi"} <= set(subsets)
    assert len(mteb.get_task("MLQA-R").hf_subsets) == 56
    assert len(mteb.get_task("MIRACL").hf_subsets) == 18
    german = mteb.get_task("XQuAD-R", languages=["deu"]).hf_subsets
    assert {"de-de", "de-en", "en-de", "en-multi"} <= set(german)
    assert "en-el" not in german


def test_importing_the_package_loads_neither_mteb_nor_faiss_nor_matplotlib():
    code = (
        "import sys, st_hybrid, st_hybrid.evaluation; from st_hybrid import HybridBatchSampler; "
        "print([name for name in ('mteb', 'faiss', 'matplotlib', 'ray', 'ir_measures') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
