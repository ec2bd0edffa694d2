"""Workers of a study on a cluster: each runs what ``st-hybrid study run`` does on one machine."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from st_hybrid.ray_cluster import ray_cluster
from st_hybrid.study.cells import run_study
from st_hybrid.study.grid import read_grid

__all__ = ["Engine", "run_workers"]

Engine = Literal["ray", "slurm"]


def run_workers(
    grid: str | Path,
    output: str | Path,
    engine: Engine,
    workers: int = 1,
    *,
    slurm: Mapping[str, Any] = MappingProxyType({}),
    **options: Any,
) -> list[str]:
    """Start workers that fill one grid, through Ray or Slurm. They share the folders, which need the same paths.

    Ray's workers are waited for; with GPUs each has its share of them. Slurm's are one array of jobs, which is
    submitted and goes on alone. On a machine without Slurm, submitit runs its jobs as processes there.

    Args:
        grid: As for :func:`~st_hybrid.study.cells.run_study`.
        output: Folder of the study; jobs of Slurm keep their logs in its folder ``slurm``.
        engine: "ray" for the cluster of ``RAY_ADDRESS`` or workers on this machine, "slurm" for jobs.
        workers: Number of workers.
        slurm: Parameters of ``submitit.AutoExecutor``, such as ``slurm_partition``, ``timeout_min`` and
            ``gpus_per_node``.
        **options: Further arguments of :func:`~st_hybrid.study.cells.run_study`.

    Returns:
        The ids of Slurm's jobs; none with Ray.

    Raises:
        ModuleNotFoundError: Ray or submitit is not installed.
        ValueError: The grid is not valid, or an option has no effect.

    Example:
        ::

            from st_hybrid.study.engines import run_workers

            run_workers("grid.yaml", "study", "slurm", 8, slurm={"slurm_partition": "gpu", "gpus_per_node": 1})
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}.")
    if slurm and engine != "slurm":
        raise ValueError("Parameters of Slurm have no effect with another engine. Leave them out.")
    read_grid(grid)  # an error comes before the first worker
    paths = os.path.abspath(grid), os.path.abspath(output)
    options |= {"data_dir": options.get("data_dir") and os.path.abspath(options["data_dir"])}
    if engine == "slurm":
        executor = _submitit().AutoExecutor(folder=Path(output) / "slurm")
        executor.update_parameters(name="st-hybrid", **slurm)
        with executor.batch():
            jobs = [executor.submit(run_study, *paths, **options) for _ in range(workers)]
        return [str(job.job_id) for job in jobs]
    with ray_cluster(workers) as (ray, own):
        share = min(ray.cluster_resources().get("GPU", 0) / workers, 1)
        cores = max((os.cpu_count() or 1) // workers, 1) if own and not share else 1
        work = ray.remote(num_cpus=cores, num_gpus=share, max_retries=-1)(run_study)  # a lost worker starts again
        try:
            ray.get([work.remote(*paths, **options) for _ in range(workers)])
        except (ValueError, TypeError, OSError) as error:
            # Ray's error has the class of its cause, and a page of Ray's own frames as its message.
            raise ValueError(f"A worker failed: {getattr(error, 'cause', error)}") from None
    return []


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        message = 'engine="slurm" needs submitit. Install it: pip install "st-hybrid[slurm]"'
        raise ModuleNotFoundError(message) from error
    return submitit
