"""Rows in one language to parallel rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from datasets import Dataset

from st_hybrid.files import temporary_folder
from st_hybrid.translation.checks import REASONS, Checks, Mask, reasons_of
from st_hybrid.translation.detection import LanguageDetector, LinguaDetector
from st_hybrid.translation.journal import Journal
from st_hybrid.translation.monolingual import checked_table, sources_of, target_codes
from st_hybrid.translation.report import LanguageReport, TranslationReport
from st_hybrid.translation.translator import FunctionTranslator, TranslateFunction, Translator
from st_hybrid.translation.work import Work, blocks

logger = logging.getLogger(__name__)

SUSPICIOUS = "suspicious"
"""The column that says why a kept row is suspicious."""

_BLOCK = 10_000  # rows written at once


class Translated(NamedTuple):
    """What :func:`translate_rows` returns.

    Args:
        rows: Parallel rows: those given, and then the translations, language by language. They are memory-mapped from a
            temporary file that goes when the process ends; ``save_to_disk`` or
            :func:`~st_hybrid.data.write_rows` keeps them.
        report: What was translated and left out.
    """

    rows: Dataset
    report: TranslationReport


def translate_rows(
    rows: Dataset,
    languages: Sequence[str],
    translator: Translator | TranslateFunction,
    *,
    language: str | None = None,
    journal: str | Path | None = None,
    checks: Checks | None = None,
    detector: LanguageDetector | Literal["lingua"] | None = "lingua",
    keep_suspicious: bool = False,
    sentences: bool = True,
    max_batch_tokens: int = 4096,
    scratch: str | Path | None = None,
    progress: bool = False,
) -> Translated:
    """Make parallel rows of rows in one language, with a translation model.

    For who has questions and passages in one language: every text of a row is translated into each language, and the
    translations get the row's id. Equal sentences are translated once, whichever rows and columns they stand in. A row
    is left out if the translation of any of its texts is suspicious.

    An id that has rows in several languages already keeps them, and the first of them is translated into the languages
    that it lacks.

    Args:
        rows: Rows with the columns ``id``, ``query``, ``positive``, any ``negative…``, and ``language`` unless that is
            given. Other columns are left out.
        languages: Codes of the languages to translate into; the rows get them as they are written here.
        translator: A model, or any function of texts, source and target language.
        language: The language of all rows, where no column says.
        journal: Folder to keep translations in as they come. A run that was killed goes on there, and one with more
            rows or languages takes what it finds. Without it nothing is kept.
        checks: What makes a translation suspicious.
        detector: Tells whether texts are in the language that they should be in: lingua, if it is installed; or another
            one, or None not to check that.
        keep_suspicious: Keep suspicious rows, and say why they are in a column ``suspicious``: the names of
            :data:`~st_hybrid.translation.REASONS`, with commas between them, or null.
        sentences: Translate sentence by sentence, which is what models were trained for; otherwise text by text.
        max_batch_tokens: Tokens of a batch, padding included.
        scratch: Folder on whose disk the rows are put while the process runs; by default the system's for temporary
            files.
        progress: Show how many tokens are translated.

    Returns:
        The rows and a report.

    Raises:
        ValueError: A column or a text is missing, an id has two rows in one language, a language is none or not one of
            the model's, or there is nothing to translate: all of this before the model is loaded.
        BlockingIOError: Another process is using the journal.

    Example:
        ::

            from st_hybrid.data import open_rows, write_rows
            from st_hybrid.translation import TransformersTranslator, translate_rows

            rows, _ = open_rows("faq.csv", language="en")
            translator = TransformersTranslator("facebook/nllb-200-distilled-600M")
            parallel, report = translate_rows(rows, ["de", "fr"], translator, journal="faq.journal")
            write_rows(parallel, "faq-parallel.jsonl.gz")
    """
    if max_batch_tokens < 1:
        raise ValueError(f"A batch needs at least one token, got {max_batch_tokens}.")
    model = translator if isinstance(translator, Translator) else FunctionTranslator(translator)
    checks = checks or Checks()
    table = checked_table(rows, language)
    targets = target_codes(languages, model)
    sources = sources_of(table, list(targets.values()), model)
    if detector == "lingua":
        detector = _lingua([*targets.values(), *(source.code for source in sources)], checks)

    kept_journal = Journal(journal, model.fingerprint()) if journal else None
    work = Work(model, kept_journal, max_batch_tokens, checks, detector, progress)
    masks: dict[str, list[Mask]] = {target: [] for target in targets}
    schema = table.schema.append(pa.field(SUSPICIOUS, pa.string())) if keep_suspicious else table.schema
    path = temporary_folder(scratch) / "rows.arrow"
    with (
        kept_journal.locked() if kept_journal else nullcontext(),
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as writer,
    ):
        given = table.append_column(SUSPICIOUS, pa.nulls(len(table), pa.string())) if keep_suspicious else table
        writer.write_table(given, max_chunksize=_BLOCK)
        for source in sources:
            texts = work.prepare(table.take(pa.array(source.rows)), source, sentences=sentences)
            for (target, code), lacking in zip(targets.items(), source.lacking.T, strict=True):
                if not lacking.any():
                    continue
                # Which of the wanted texts each row has in each column, shape (columns, rows).
                wanted, numbers = np.unique(texts.places[:, lacking], return_inverse=True)
                translations, suspicious = work.translate(texts, wanted, source, target, code)
                numbers = numbers.reshape(len(texts.columns), -1)
                mask = np.bitwise_or.reduce(suspicious[numbers], axis=0)
                masks[target].append(mask)
                kept = np.arange(len(mask)) if keep_suspicious else np.flatnonzero(mask == 0)
                ids, made = table["id"].take(pa.array(source.rows[lacking])), pa.array(translations, pa.large_string())
                for block in blocks(len(kept), _BLOCK):
                    chosen = kept[block]
                    columns = {"id": ids.take(pa.array(chosen)), "language": pa.repeat(target, len(chosen))}
                    for name, row in zip(texts.columns, numbers, strict=True):
                        columns[name] = made.take(pa.array(row[chosen]))
                    if keep_suspicious:
                        columns[SUSPICIOUS] = _said(mask[chosen])
                    writer.write_table(pa.table(columns).select(schema.names).cast(schema))
    result = Dataset.from_file(str(path))
    identified = {
        target: detector is not None and "language" in checks.reasons and detector.knows(code)
        for target, code in targets.items()
    }
    report = TranslationReport(
        given=len(table),
        groups=len(table["id"].unique()),
        kept=len(result),
        languages={
            target: LanguageReport(sum(map(len, parts)), _counts(parts), identified[target])
            for target, parts in masks.items()
        },
        kept_suspicious=keep_suspicious,
        pieces=work.pieces,
        reused=work.reused,
        tokens=work.tokens,
        seconds=work.seconds,
    )
    return Translated(result, report)


def _lingua(languages: Sequence[str], checks: Checks) -> LanguageDetector | None:
    if "language" not in checks.reasons:
        return None
    try:
        return LinguaDetector(languages)
    except ModuleNotFoundError as error:
        logger.warning("Whether translations are in the right language is not checked. %s", error)
        return None


def _said(mask: Mask) -> pa.Array:
    """The names of each row's reasons, with commas between them, or null."""
    values, numbers = np.unique(mask, return_inverse=True)
    names = pa.array([", ".join(reasons_of(int(value))) or None for value in values], pa.string())
    return names.take(pa.array(numbers))


def _counts(masks: Sequence[Mask]) -> dict[str, int]:
    """How many rows are suspicious, by their first reason."""
    mask = np.concatenate([np.zeros(0, dtype=np.uint8), *masks])
    first = mask & -mask  # the lowest bit
    found = {name: int(np.count_nonzero(first == 1 << place)) for place, name in enumerate(REASONS)}
    return {name: amount for name, amount in found.items() if amount}
