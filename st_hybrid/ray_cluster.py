"""A cluster of Ray: that of ``RAY_ADDRESS`` or of the caller, or one on this machine for as long as it is needed."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def ray_cluster(workers: int | None) -> Iterator[tuple[Any, bool]]:
    """Connect to Ray; gives the module, and whether the cluster was started here and ends with the block."""
    ray = import_ray()
    own = not ray.is_initialized() and "RAY_ADDRESS" not in os.environ
    settings: dict[str, Any] = {}
    if own:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        cores = max(os.cpu_count() or 1, workers or 1)
        settings = {"address": "local", "num_cpus": cores, "include_dashboard": False}
        settings |= {"log_to_driver": False, "object_store_memory": 100 << 20}  # what workers are sent is small
    ray.init(logging_level=logging.WARNING, ignore_reinit_error=True, **settings)
    try:
        yield ray, own
    finally:
        if own:
            ray.shutdown()


def import_ray() -> Any:
    """The module ``ray``; the error of a machine without it names the extra."""
    try:
        import ray
    except ImportError as error:
        raise ModuleNotFoundError('engine="ray" needs Ray. Install it: pip install "st-hybrid[ray]"') from error
    return ray
