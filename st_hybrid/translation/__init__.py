"""Parallel rows from rows in one language, with a translation model."""

from __future__ import annotations

from st_hybrid.translation.checks import REASONS, Checks, reasons_of
from st_hybrid.translation.codes import LANGUAGES, LanguageCodes, language_codes, model_code
from st_hybrid.translation.ct2 import COMPUTE_TYPES, CTranslate2Translator
from st_hybrid.translation.detection import LanguageDetector, LinguaDetector
from st_hybrid.translation.huggingface import TransformersTranslator
from st_hybrid.translation.report import LanguageReport, TranslationReport
from st_hybrid.translation.rows import Translated, translate_rows
from st_hybrid.translation.translator import Decoding, FunctionTranslator, TranslateFunction, Translator

__all__ = [
    "COMPUTE_TYPES",
    "LANGUAGES",
    "REASONS",
    "CTranslate2Translator",
    "Checks",
    "Decoding",
    "FunctionTranslator",
    "LanguageCodes",
    "LanguageDetector",
    "LanguageReport",
    "LinguaDetector",
    "TransformersTranslator",
    "TranslateFunction",
    "Translated",
    "TranslationReport",
    "Translator",
    "language_codes",
    "model_code",
    "reasons_of",
    "translate_rows",
]
