"""Parallel rows: open, write, check and mine them."""

from __future__ import annotations

from st_hybrid.data.bitext import read_bitext
from st_hybrid.data.collect import Rows
from st_hybrid.data.mmarco import read_mmarco
from st_hybrid.data.open import open_row_sets, open_rows
from st_hybrid.data.report import Dropped, ReadReport
from st_hybrid.data.squad import read_squad
from st_hybrid.data.write import write_rows

__all__ = [
    "Dropped",
    "ReadReport",
    "Rows",
    "open_row_sets",
    "open_rows",
    "read_bitext",
    "read_mmarco",
    "read_squad",
    "write_rows",
]
