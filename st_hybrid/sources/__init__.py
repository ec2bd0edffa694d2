"""Where parallel rows come from."""

from __future__ import annotations

from .bitext import read_bitext
from .collect import Rows
from .files import read_files
from .hub import read_hub
from .load import load_row_sets, load_rows
from .mmarco import read_mmarco
from .report import Dropped, ReadReport
from .squad import read_squad
from .write import write_rows

__all__ = [
    "Dropped",
    "ReadReport",
    "Rows",
    "load_row_sets",
    "load_rows",
    "read_bitext",
    "read_files",
    "read_hub",
    "read_mmarco",
    "read_squad",
    "write_rows",
]
