"""What mteb knows of tasks: their metadata, and its registries, which it keeps private."""

import importlib
from collections.abc import Sequence
from typing import Any

import mteb
from mteb import AbsTask, Benchmark, TaskMetadata


class CountedTaskMetadata(TaskMetadata):
    """Metadata with ``counts``, the numbers of queries and of documents of each split and subset."""

    counts: dict[str, dict[str, tuple[int, int]]]

    @property
    def descriptive_stats(self) -> dict[str, Any]:
        """Numbers of samples, queries and documents of each split and of each of its subsets."""
        return {
            split: {
                **_statistics([sum(column) for column in zip(*subsets.values(), strict=True)]),
                "hf_subset_descriptive_stats": {name: _statistics(counts) for name, counts in subsets.items()},
            }
            for split, subsets in self.counts.items()
        }


def adapted_metadata(original: str, **changes: Any) -> CountedTaskMetadata:
    """Metadata of a task that is made from the data of one of mteb's tasks: those of the original, with changes."""
    kept = mteb.get_task(original).metadata.model_dump()
    return CountedTaskMetadata(**kept | {"adapted_from": [original]} | changes)


def _statistics(counts: Sequence[int]) -> dict[str, int]:
    queries, documents = counts
    return {"num_samples": queries + documents, "num_queries": queries, "num_documents": documents}


def add_to_mteb(tasks: Sequence[type[AbsTask]], benchmark: Benchmark) -> None:
    """Make ``mteb.get_task``, ``get_tasks`` and ``get_benchmark`` find more tasks and a benchmark of them.

    mteb has no public way. It collects its tasks in a dictionary and a tuple when it is imported, and its benchmarks
    from the names in a module when they are first asked for.

    Raises:
        RuntimeError: mteb keeps its registries in another place, or has a task or benchmark of the same name.
    """
    # By importlib, since functions of mteb have the names of these modules.
    task_module = importlib.import_module("mteb.get_tasks")
    finder = importlib.import_module("mteb.benchmarks.get_benchmark")
    try:
        registry, similar, listed = task_module._TASKS_REGISTRY, task_module._SIMILAR_TASKS, task_module.TASK_LIST
        forget_benchmarks = finder._build_registry.cache_clear
    except AttributeError as error:
        raise RuntimeError(
            f"st-hybrid cannot register its tasks in mteb {mteb.__version__}: {error}. Install a version that its "
            f"documentation names."
        ) from error
    for task in tasks:
        if registry.setdefault(task.metadata.name, task) is not task:
            raise RuntimeError(f"mteb {mteb.__version__} already has a task {task.metadata.name!r}.")
        # A model that was trained on the original is not zero-shot on what is made from it.
        for original in task.metadata.adapted_from or ():
            similar[original] = list(dict.fromkeys([*similar[original], task.metadata.name]))
    task_module.__dict__["TASK_LIST"] = (*listed, *(task for task in tasks if task not in listed))
    benchmarks = importlib.import_module("mteb.benchmarks.benchmarks").__dict__
    name = "".join(character if character.isalnum() else "_" for character in benchmark.name)
    if benchmarks.setdefault(name, benchmark).name != benchmark.name:
        raise RuntimeError(f"mteb {mteb.__version__} already has a benchmark {name}.")
    forget_benchmarks()
