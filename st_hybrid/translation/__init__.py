"""Translate rows in one language into parallel rows."""

from st_hybrid.translation.checks import REASONS, Checks, reasons_of
from st_hybrid.translation.models import FunctionTranslator, ModelOptions, ModelTranslator, TranslateFunction
from st_hybrid.translation.translate import LanguageReport, TranslationReport, translate_rows

__all__ = [
    "REASONS",
    "Checks",
    "FunctionTranslator",
    "LanguageReport",
    "ModelOptions",
    "ModelTranslator",
    "TranslateFunction",
    "TranslationReport",
    "reasons_of",
    "translate_rows",
]
