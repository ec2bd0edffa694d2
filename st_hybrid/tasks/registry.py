"""Put tasks and benchmarks into mteb's registries. The one place that touches what mteb keeps private."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import mteb
from mteb import AbsTask, Benchmark


def add_to_mteb(tasks: Sequence[type[AbsTask]], benchmarks: Sequence[Benchmark]) -> None:
    """Make ``mteb.get_task``, ``get_tasks`` and ``get_benchmark`` find tasks and benchmarks of ours.

    mteb has no public way for this. It collects its tasks in a dictionary and a tuple when it is imported, and its
    benchmarks from the names in a module when they are first asked for.

    Args:
        tasks: The task classes.
        benchmarks: The benchmarks.

    Raises:
        RuntimeError: If mteb keeps its registries in another place, or has a task or benchmark of the same name.
    """
    # By importlib, since mteb's packages shadow these modules with functions of the same name.
    task_module = importlib.import_module("mteb.get_tasks")
    finder = importlib.import_module("mteb.benchmarks.get_benchmark")
    benchmark_module = importlib.import_module("mteb.benchmarks.benchmarks")
    try:
        registry, listed = task_module._TASKS_REGISTRY, task_module.TASK_LIST
        forget_benchmarks = finder._build_registry.cache_clear
    except AttributeError as error:
        raise RuntimeError(
            f"st-hybrid cannot register its tasks in mteb {mteb.__version__}: {error}. Its tested versions are named "
            "in README. The task classes of st_hybrid.tasks work without registration."
        ) from error

    for task in tasks:
        if registry.setdefault(task.metadata.name, task) is not task:
            raise RuntimeError(f"mteb {mteb.__version__} has a task {task.metadata.name!r} of its own.")
    task_module.__dict__["TASK_LIST"] = (*listed, *(task for task in tasks if task not in listed))
    for benchmark in benchmarks:
        name = "".join(character if character.isalnum() else "_" for character in benchmark.name)
        present = benchmark_module.__dict__.setdefault(name, benchmark)
        if present.name != benchmark.name:
            raise RuntimeError(f"mteb {mteb.__version__} has a benchmark {name} of its own.")
    forget_benchmarks()
