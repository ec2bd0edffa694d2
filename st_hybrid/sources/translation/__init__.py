"""Parallel rows from rows in one language, with a translation model."""

from __future__ import annotations

from .checks import REASONS, Checks, reasons_of
from .codes import LANGUAGES, LanguageCodes, language_codes, model_code
from .ct2 import COMPUTE_TYPES, CTranslate2Translator
from .detection import LanguageDetector, LinguaDetector
from .huggingface import TransformersTranslator
from .report import LanguageReport, TranslationReport
from .rows import Translated, translate_rows
from .translator import Decoding, FunctionTranslator, TranslateFunction, Translator

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
