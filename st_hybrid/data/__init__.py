"""Where parallel rows come from."""

from __future__ import annotations

from st_hybrid.data.bitext import read_bitext
from st_hybrid.data.collect import Rows
from st_hybrid.data.hub import read_hub
from st_hybrid.data.load import load_row_sets, load_rows
from st_hybrid.data.mmarco import read_mmarco
from st_hybrid.data.report import Dropped, ReadReport
from st_hybrid.data.squad import read_squad
from st_hybrid.data.table_files import read_files
from st_hybrid.data.write import write_rows

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
