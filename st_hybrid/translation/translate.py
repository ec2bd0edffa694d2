"""Translate rows in one language into parallel rows."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from datasets import Dataset
from numpy.typing import ArrayLike
from rich.table import Table

from st_hybrid.files import temporary_folder, writing
from st_hybrid.grouping import Ints, numbered
from st_hybrid.languages import LanguageDetector, check_language
from st_hybrid.progress import progress_bar
from st_hybrid.rows import ParallelRows
from st_hybrid.translation.checks import REASONS, Checks, Flags, reasons_of
from st_hybrid.translation.journal import Journal
from st_hybrid.translation.models import FunctionTranslator, ModelTranslator, TranslateFunction
from st_hybrid.translation.pieces import Pieces

logger = logging.getLogger(__name__)

_BLOCK = 10_000  # rows written at once


@dataclass
class LanguageReport:
    """What was translated into one language."""

    language_checked: bool  #: Whether the language of the translations was checked.
    rows: int = 0  #: Rows translated.
    suspicious: dict[str, int] = field(default_factory=dict)  #: Rows by the first check that one of their texts fails.


@dataclass
class TranslationReport:
    """What was translated and what was left out; print it with rich."""

    given: int  #: Rows given.
    groups: int  #: Distinct ids.
    kept_suspicious: bool  #: Whether suspicious rows were kept.
    languages: dict[str, LanguageReport]
    kept: int = 0  #: Rows of the result, including those given.
    pieces: int = 0  #: Distinct sentences to translate, summed over the languages.
    reused: int = 0  #: Those of them that the journal contained.
    tokens: int = 0  #: Tokens of the sentences that this run translated.
    seconds: float = 0.0  #: Time that it took to translate them.

    def to_dict(self) -> dict[str, Any]:
        """The report as a dictionary for JSON."""
        return asdict(self)

    def __rich__(self) -> Table:
        table = Table(
            title=f"{self.kept:,} rows in {self.groups:,} groups, {self.given:,} of them given",
            caption=f"{self.pieces:,} sentences, {self.reused:,} of them translated before; "
            f"{self.tokens:,} tokens in {self.seconds:,.0f} s",
        )
        for name in ("", "translated", "marked" if self.kept_suspicious else "left out"):
            table.add_column(name, justify="right" if name else "left")
        table.add_column("why")
        for language, part in self.languages.items():
            reasons = [f"{name} ({REASONS[name]}): {count:,}" for name, count in part.suspicious.items()]
            reasons += [] if part.language_checked else ["language: not checked"]
            table.add_row(language, f"{part.rows:,}", f"{sum(part.suspicious.values()):,}", "\n".join(reasons))
        return table


def translate_rows(
    rows: Dataset,
    languages: Sequence[str],
    translator: ModelTranslator | FunctionTranslator | TranslateFunction,
    *,
    language: str | None = None,
    journal: str | Path | None = None,
    checks: Checks | None = None,
    keep_suspicious: bool = False,
    sentences: bool = True,
    max_batch_tokens: int = 4096,
    show_progress_bar: bool = False,
) -> tuple[Dataset, TranslationReport]:
    """Translate rows in one language into parallel rows.

    The translations of a row get its id. Each distinct sentence is translated once per language. If an id has rows in
    several languages, they are kept, and the first is translated into the languages that it lacks. A row with a
    suspicious translation is left out; the language of translations is checked if lingua is installed.

    Args:
        rows: The columns ``id``, ``query``, ``positive``, any ``negative…``, and ``language`` unless it is given.
        languages: Codes of the target languages. The translated rows get them as given.
        translator: A model, or a function of texts, source language and target language.
        language: The language of all rows, if no column has it.
        journal: File that stores each batch as it is translated. A run with the same translator takes what it contains.
        checks: What makes a translation suspicious.
        keep_suspicious: Keep suspicious rows, and name the failed checks in a column ``suspicious``, else null.
        sentences: Translate sentence by sentence, as models were trained; False translates each text at once.
        max_batch_tokens: Largest number of tokens in a batch, including padding.
        show_progress_bar: Show progress bars.

    Returns:
        The parallel rows, first those given and then the translations, and a report. The rows are memory-mapped from a
        temporary file that is deleted when the process ends; :func:`~st_hybrid.data.write_rows` keeps them.

    Raises:
        ValueError: The rows are not valid, the model lacks a language, or there is nothing to translate.
        BlockingIOError: Another process uses the journal.

    Example:
        ::

            from datasets import Dataset
            from st_hybrid.translation import translate_rows

            words = {"storks": "Störche", "roofs": "Dächer"}
            rows = Dataset.from_dict({"id": [1], "query": ["storks"], "positive": ["roofs"]})
            parallel, report = translate_rows(
                rows, ["de"], lambda texts, source, target: [words[text] for text in texts], language="en"
            )
            print(parallel[1])  # {'id': 1, 'language': 'de', 'query': 'Störche', 'positive': 'Dächer'}
    """
    if max_batch_tokens < 1:
        raise ValueError(f"max_batch_tokens must be positive, got {max_batch_tokens}.")
    model = FunctionTranslator(translator) if callable(translator) else translator
    checks = checks or Checks()
    if keep_suspicious and not set(REASONS) - set(checks.skip):
        raise ValueError("keep_suspicious has no effect: all checks are skipped. Leave one of them out.")
    parallel = _parallel_rows(rows, language)
    tasks = _tasks(parallel, languages, model)
    detector = _detector([code for task in tasks for code in (task.source, task.target)], checks)
    about = {one: LanguageReport(detector is not None and detector.knows(model.code(one))) for one in languages}
    report = TranslationReport(len(parallel), int(parallel.group.max()) + 1, keep_suspicious, about)

    given = parallel.table.replace_schema_metadata()
    if keep_suspicious:
        given = given.append_column("suspicious", pa.nulls(len(given), pa.string()))
    path = temporary_folder() / "rows.arrow"
    with (
        writing(path),
        closing(Journal(journal or ":memory:", model.fingerprint())) as opened,
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_stream(sink, given.schema) as writer,
    ):
        writer.write_table(given, max_chunksize=_BLOCK)
        run = _Run(model, opened, checks, detector, sentences, max_batch_tokens, report, show_progress_bar)
        for task in tasks:
            translated = run.translate_rows(parallel.table.take(pa.array(task.rows)), task)
            writer.write_table(translated.cast(given.schema), max_chunksize=_BLOCK)
    result = Dataset.from_file(str(path))
    report.kept = len(result)
    return result, report


def token_batches(lengths: ArrayLike, max_tokens: int) -> list[Ints]:
    """The numbers of the texts of each batch, of at most ``max_tokens`` with padding unless one text alone has more.

    The longest come first, so that a batch too large for the memory fails early.
    """
    tokens = np.maximum(np.asarray(lengths, dtype=np.int64), 1)
    order = np.argsort(-tokens, kind="stable")
    batches, start = [], 0
    while start < len(order):  # the first text of a batch is its longest
        stop = start + max(1, max_tokens // int(tokens[order[start]]))
        batches.append(order[start:stop])
        start = stop
    return batches


class _Task(NamedTuple):
    """Rows in one language to translate into another."""

    language: str  # of the translations, as the caller writes it
    source: str  # codes of the model
    target: str
    rows: Ints


@dataclass
class _Run:
    """Translates and checks rows, and counts in the report."""

    model: ModelTranslator | FunctionTranslator
    journal: Journal
    checks: Checks
    detector: LanguageDetector | None
    sentences: bool
    max_batch_tokens: int
    report: TranslationReport
    show: bool

    def translate_rows(self, table: pa.Table, task: _Task) -> pa.Table:
        names = [name for name in table.column_names if name not in ("id", "language")]
        chunks = [chunk for name in names for chunk in table[name].cast(pa.large_string()).chunks]
        text_of_row, texts = numbered(pa.chunked_array(chunks))
        translations, failed = self._translate_texts(texts.to_pylist(), task)
        text_of_row = text_of_row.reshape(len(names), -1)
        failed = np.logical_or.reduce(failed[text_of_row])
        suspicious = failed.any(axis=1)
        about = self.report.languages[task.language]
        about.rows += len(table)
        first = np.array([*REASONS])[failed[suspicious].argmax(axis=1)]
        about.suspicious = dict(Counter(about.suspicious) + Counter(first.tolist()))
        kept = np.flatnonzero(~suspicious | self.report.kept_suspicious)
        made = pa.array(translations, pa.large_string())
        columns = {"id": table["id"].take(pa.array(kept)), "language": pa.repeat(task.language, len(kept))}
        columns |= {name: made.take(pa.array(text[kept])) for name, text in zip(names, text_of_row, strict=True)}
        if self.report.kept_suspicious:
            columns["suspicious"] = pa.array([", ".join(reasons_of(one)) or None for one in failed], pa.string())
        return pa.table(columns)

    def _translate_texts(self, texts: list[str], task: _Task) -> tuple[list[str], Flags]:
        """The translations of texts and the checks that they fail."""
        pieces = Pieces(texts, task.source, sentences=self.sentences)
        lengths = self.model.lengths(pieces.distinct, task.source)
        made = self._translate_pieces(pieces.distinct, lengths, task)
        translations = pieces.join(made, task.target)
        emptied = np.array([not translation.strip() for translation in made], dtype=bool)
        truncated = lengths > (self.model.max_source_length or np.inf)
        known = {"emptied": pieces.any(emptied), "truncated": pieces.any(truncated)}
        return translations, self.checks.run(texts, translations, task.target, detector=self.detector, known=known)

    def _translate_pieces(self, pieces: list[str], lengths: Ints, task: _Task) -> list[str]:
        """Translations from the journal and from the model."""
        stored = self.journal.read(pieces, task.source, task.target)
        done = np.array([translation is not None for translation in stored], dtype=bool)
        batches = token_batches(lengths, self.max_batch_tokens)
        # A resumed run makes the same batches as an undisturbed one: padding changes the last digits of sums, and so
        # perhaps a word. With other rows than before, the batches are made of what is left.
        if any(0 < np.count_nonzero(done[batch]) < len(batch) for batch in batches):
            left = np.flatnonzero(~done)
            batches = [left[batch] for batch in token_batches(lengths[left], self.max_batch_tokens)]
        self.report.pieces += len(pieces)
        self.report.reused += int(np.count_nonzero(done))
        total, before, name = int(lengths.sum()), int(lengths[done].sum()), f"{task.source} → {task.language}"
        with progress_bar(total, name, show=self.show, unit="tokens", done=before) as advance:
            for batch in batches:
                if done[batch].all():
                    continue
                texts = [pieces[number] for number in batch.tolist()]
                began = time.perf_counter()
                translations = self.model.translate(texts, task.source, task.target)
                self.report.seconds += time.perf_counter() - began
                if len(translations) != len(texts) or not all(isinstance(text, str) for text in translations):
                    raise ValueError(f"{self.model.name} must give {len(texts)} texts, not {translations!r}.")
                self.journal.write(dict(zip(texts, translations, strict=True)), task.source, task.target)
                self.report.tokens += int(lengths[batch].sum())
                advance(int(lengths[batch].sum()))
        return [translation or "" for translation in self.journal.read(pieces, task.source, task.target)]


def _parallel_rows(rows: Dataset, language: str | None) -> ParallelRows:
    """The rows, with the language that is given for all of them."""
    if (language is None) == ("language" not in rows.column_names):
        has = "no column 'language'. Give the" if language is None else "a column 'language'. Do not give a"
        raise ValueError(f"The rows have {has} language of all rows: language='en'.")
    if language is not None:
        rows = rows.add_column("language", [check_language(language, "language")] * len(rows))
    return ParallelRows(rows)


def _tasks(rows: ParallelRows, languages: Sequence[str], model: ModelTranslator | FunctionTranslator) -> list[_Task]:
    """What to translate: the first row of each id, into each language that the id lacks."""
    if not languages:
        raise ValueError("Name at least one language to translate into.")
    targets = [model.code(language) for language in languages]
    if same := [language for language, code in zip(languages, targets, strict=True) if targets.count(code) > 1]:
        raise ValueError(f"{model.name} has one language for {', '.join(same)}. Name each target language once.")
    sources = np.array([model.code(language) for language in rows.languages])
    first = np.unique(rows.group, return_index=True)[1]
    tasks = []
    for number, source in enumerate(sources.tolist()):
        for language, target in zip(languages, targets, strict=True):
            complete = rows.group[sources[rows.language] == target]
            mine = first[(rows.language[first] == number) & ~np.isin(rows.group[first], complete)]
            tasks += [_Task(language, source, target, mine)] if len(mine) else []
    if not tasks:
        raise ValueError("There is nothing to translate: every id has a row in each target language.")
    return tasks


def _detector(languages: Sequence[str], checks: Checks) -> LanguageDetector | None:
    if "language" in checks.skip:
        return None
    try:
        return LanguageDetector(languages)
    except ModuleNotFoundError as error:
        logger.warning("The language of translations is not checked. %s", error)
        return None
