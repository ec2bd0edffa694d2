"""Parallel rows: open, write, check, clean and mine them."""

from st_hybrid.data.bitext import read_bitext
from st_hybrid.data.check import check_rows
from st_hybrid.data.check_report import Limits, RowsReport
from st_hybrid.data.collect import Rows
from st_hybrid.data.corpus import open_collection
from st_hybrid.data.decontamination import Decontamination, OverlapSettings, decontaminate
from st_hybrid.data.evaluation_texts import EvaluationTexts, read_evaluation_texts
from st_hybrid.data.mining import mine_negatives
from st_hybrid.data.mmarco import read_mmarco
from st_hybrid.data.open import open_row_sets, open_rows
from st_hybrid.data.passages import Passages, sample_passages
from st_hybrid.data.report import Dropped, ReadReport
from st_hybrid.data.squad import read_squad
from st_hybrid.data.write import write_rows

__all__ = [
    "Decontamination",
    "Dropped",
    "EvaluationTexts",
    "Limits",
    "OverlapSettings",
    "Passages",
    "ReadReport",
    "Rows",
    "RowsReport",
    "check_rows",
    "decontaminate",
    "mine_negatives",
    "open_collection",
    "open_row_sets",
    "open_rows",
    "read_bitext",
    "read_evaluation_texts",
    "read_mmarco",
    "read_squad",
    "sample_passages",
    "write_rows",
]
