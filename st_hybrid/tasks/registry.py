"""Registration of tasks and benchmarks in mteb: the only place that uses what mteb keeps private."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import mteb
from mteb import AbsTask, Benchmark


def add_to_mteb(tasks: Sequence[type[AbsTask]], benchmarks: Sequence[Benchmark]) -> None:
    """Make ``mteb.get_task``, ``get_tasks`` and ``get_benchmark`` find more tasks and benchmarks.

    mteb has no public way to add them. It collects its tasks in a dictionary and a tuple when it is imported, and its
    benchmarks from the names in a module when they are first asked for.

    Raises:
        RuntimeError: mteb keeps its registries in another place, or has a task or benchmark of the same name.
    """
    # By importlib, since functions of mteb have the names of these modules.
    task_module = importlib.import_module("mteb.get_tasks")
    finder = importlib.import_module("mteb.benchmarks.get_benchmark")
    benchmark_module = importlib.import_module("mteb.benchmarks.benchmarks")
    try:
        registry, listed, made_from = task_module._TASKS_REGISTRY, task_module.TASK_LIST, task_module._SIMILAR_TASKS
        forget_benchmarks = finder._build_registry.cache_clear
    except AttributeError as error:
        raise RuntimeError(
            f"st-hybrid cannot register its tasks in mteb {mteb.__version__}: {error}. Install a version that the "
            f"documentation names, or use the task classes of st_hybrid.tasks without registration."
        ) from error

    for task in tasks:
        if registry.setdefault(task.metadata.name, task) is not task:
            raise RuntimeError(f"mteb {mteb.__version__} already has a task {task.metadata.name!r}.")
    new = [task for task in tasks if task not in listed]
    task_module.__dict__["TASK_LIST"] = (*listed, *new)
    for task in new:
        for origin in task.metadata.adapted_from or ():  # what a model was trained on is not zero-shot
            made_from[origin].append(task.metadata.name)
    for benchmark in benchmarks:
        name = "".join(character if character.isalnum() else "_" for character in benchmark.name)
        if benchmark_module.__dict__.setdefault(name, benchmark).name != benchmark.name:
            raise RuntimeError(f"mteb {mteb.__version__} already has a benchmark {name}.")
    forget_benchmarks()
