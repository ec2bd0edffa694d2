"""The folder for what is fetched or half done."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """The folder that the variable ``ST_HYBRID_CACHE`` names, or else the user's cache folder for st-hybrid."""
    named = os.environ.get("ST_HYBRID_CACHE")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("st-hybrid", appauthor=False)
