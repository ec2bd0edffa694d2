"""The command, date, versions and machine that produced a result."""

import os
import platform
import shlex
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def provenance() -> dict[str, Any]:
    """Describe the running program, for a result file: ``command``, ``date`` (UTC), ``versions`` and ``hardware``."""
    packages = ("st-hybrid", "sentence-transformers", "transformers", "torch", "numpy")
    hardware = f"CPU ({platform.machine()}), {torch.get_num_threads()} of {os.cpu_count()} cores"
    if torch.cuda.is_available():
        hardware = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "versions": {name: version(name) for name in packages},
        "hardware": hardware,
    }
