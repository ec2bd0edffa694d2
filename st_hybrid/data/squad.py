"""Parallel rows from SQuAD-format question answering in several languages that share question ids."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa

from st_hybrid.data.collect import Batch, Rows, collect
from st_hybrid.data.report import Tally
from st_hybrid.evaluation.squad import Paragraph, Question, sentence_at, squad_paragraphs
from st_hybrid.languages import check_language, close_languages, is_language
from st_hybrid.sentences import WITHOUT_MARKS, Splitter, sentence_spans

Positive = Literal["sentence", "paragraph"]

Files = str | Path | Mapping[str, str | Path]

_BATCH = 10_000  # questions
_OUTSIDE, _NO_ANSWER = "answer outside every sentence", "question without an answer"


def read_squad(
    files: Files,
    *,
    positive: Positive = "sentence",
    languages: Sequence[str] | None = None,
    splitter: Splitter = sentence_spans,
    scratch: str | Path | None = None,
    progress: bool = False,
) -> Rows:
    """Read questions and the sentences or paragraphs that answer them.

    Questions that share an id are translations of one another. A question's positive is the sentence that its first
    answer starts in, or its whole paragraph. Sentences are those of the file's ``sentence_breaks`` where a paragraph
    has them, and otherwise the splitter's.

    Args:
        files: A folder with one file a language, called ``de.json`` or ``anything.de.json``, or the file of each
            language: ``{"de": "squad-de/train.json"}``.
        positive: ``"sentence"`` or ``"paragraph"``.
        languages: Languages to read; by default all.
        splitter: Finds sentences, given a language and a text; see :func:`~st_hybrid.sentences.sentence_spans`
            for what the default finds. Give another for Thai, Khmer and Lao.
        scratch: Folder on whose disk the rows are put while the process runs; by default the system's for temporary
            files.
        progress: Show how many rows have come.

    Returns:
        The rows, with the question ids as ids, and a report of what was left out and why.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is malformed or its language is not known, or an id comes twice in a file; the message names
            file, article and paragraph.

    Example:
        ::

            from st_hybrid.data import read_squad

            rows, report = read_squad({"en": "train-v1.1.json", "de": "train-de.json"}, positive="paragraph")

    References:
        SQuAD: Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250. Answer sentences: LAReQA, Roy et al. 2020,
        https://arxiv.org/abs/2004.05484
    """
    if positive not in ("sentence", "paragraph"):
        raise ValueError(f"positive must be 'sentence' or 'paragraph', got {positive!r}.")
    paths = language_files(files, languages)
    tally = Tally()

    def batches() -> Iterator[Batch]:
        for language, path in paths.items():
            tally.source(f"{path} (questions)", 0)
            pending = _Pending(language, f"{path} (questions)", tally)
            coarse = False
            for paragraph in squad_paragraphs(path, language):
                spans = None
                if positive == "sentence":
                    spans = paragraph.breaks
                    if spans is None:
                        spans = splitter(language, paragraph.text)
                        coarse |= splitter is sentence_spans and re.split("[-_]", language)[0] in WITHOUT_MARKS
                for question in paragraph.questions:
                    pending.add(paragraph, question, spans)
                if len(pending) >= _BATCH:
                    yield pending.batch()
            if len(pending):
                yield pending.batch()
            if coarse:
                warnings.warn(
                    f"{path} says nothing of sentences, and {language} does not mark their ends: the positives are "
                    "pieces of several sentences. Give a splitter for it, or take positive='paragraph'.",
                    stacklevel=2,
                )

    return collect(batches(), tally, scratch=scratch, progress=progress)


def language_files(files: Files, languages: Sequence[str] | None = None) -> dict[str, Path]:
    """The file of each language.

    Args:
        files: As for :func:`read_squad`.
        languages: Languages to take; by default all.

    Raises:
        FileNotFoundError: A file or the folder is missing, or has no file of a language.
        ValueError: A file's name ends in no language, or in the same as another's.
    """
    for code in languages or ():
        check_language(code, "languages")
    if isinstance(files, Mapping):
        found = {check_language(code, f"{code}={path}"): Path(path) for code, path in files.items()}
    else:
        folder = Path(files)
        found = {}
        for path in sorted(folder.glob("*.json")):
            code = _language_of(path)
            if code in found:
                raise ValueError(f"{found[code]} and {path} are both called {code!r}. Give the file of each language.")
            found[code] = path
        if not found:
            raise FileNotFoundError(f"There is no <language>.json in {folder}.")
    if lacking := [code for code in languages or () if code not in found]:
        raise FileNotFoundError(f"There is no file for {', '.join(lacking)}, only for {', '.join(found)}.")
    if missing := [str(path) for path in found.values() if not path.is_file()]:
        raise FileNotFoundError(f"There is no file {', '.join(missing)}.")
    return {code: found[code] for code in languages or found}


def _language_of(path: Path) -> str:
    candidates = [path.stem, re.split(r"[._]", path.stem)[-1], re.split(r"[._-]", path.stem)[-1]]
    code = next((candidate for candidate in candidates if is_language(candidate)), None)
    if code is None:
        meant = close_languages(candidates[-1])
        raise ValueError(
            f"{path}: its name does not end in a language's code. Call it <language>.json, or say which it is, such as "
            f"{meant[0] if meant else 'de'}={path}."
        )
    return code


class _Pending:
    """Rows of one language that wait to be handed on as a batch."""

    def __init__(self, language: str, source: str, tally: Tally) -> None:
        self.language, self.source, self.tally = language, source, tally
        self.ids: list[str] = []
        self.queries: list[str] = []
        self.positives: list[str] = []
        self.places: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, paragraph: Paragraph, question: Question, spans: list[tuple[int, int]] | None) -> None:
        """Take a question; ``spans`` are its paragraph's sentences, or None for the paragraph as a whole."""
        self.tally.source(self.source, 1)
        text = paragraph.text
        reason = None if question.answers else _NO_ANSWER
        if question.answers and spans is not None:
            start, answer = question.answers[0]
            sentence = sentence_at(spans, start)
            if sentence is None:
                reason = _OUTSIDE
            elif answer is not None and not text.startswith(answer, start):
                reason = "answer is not where the file says"
            else:
                text = text[slice(*spans[sentence])]
        if reason is not None:
            self.tally.read += 1
            self.tally.drop(reason, 1, _place(paragraph.where, question.id))
            return
        self.ids.append(question.id)
        self.queries.append(question.text)
        self.positives.append(text)
        self.places.append((paragraph.where, question.id))

    def batch(self) -> Batch:
        """Hand on what waits."""
        columns = {
            "id": pa.array(self.ids, pa.string()),
            "language": pa.repeat(self.language, len(self)),
            "query": pa.array(self.queries, pa.string()),
            "positive": pa.array(self.positives, pa.string()),
        }
        places = self.places
        batch = Batch(pa.table(columns), lambda row: _place(*places[row]))
        self.ids, self.queries, self.positives, self.places = [], [], [], []
        return batch


def _place(where: str, question: str) -> str:
    return f"{where}, question {question!r}"
