"""Parallel rows from SQuAD-format question answering in several languages that share question ids."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import pyarrow as pa

from st_hybrid.data.collect import Batch, Rows, collect
from st_hybrid.data.names import language_of_file
from st_hybrid.data.report import ReadReport
from st_hybrid.evaluation.squad import Paragraph, Question, Span, sentence_at, squad_paragraphs
from st_hybrid.languages import check_language
from st_hybrid.sentences import WITHOUT_MARKS, Splitter, sentence_spans

Positive = Literal["sentence", "paragraph"]

_BATCH = 10_000  # questions


def read_squad(
    files: str | Path | Mapping[str, str | Path],
    *,
    positive: Positive = "sentence",
    languages: Sequence[str] | None = None,
    splitter: Splitter = sentence_spans,
    scratch: str | Path | None = None,
    show_progress_bar: bool = False,
) -> Rows:
    """Read questions and the sentences or paragraphs that answer them.

    Questions that share an id are translations of one another. A question's positive is the sentence that an answer
    starts in, or its whole paragraph. The first answer that is where the file says counts. Sentences are those of the
    file's ``sentence_breaks`` where a paragraph has them, otherwise the splitter's.

    Args:
        files: A folder with a file per language, named ``de.json`` or ``anything.de.json``, or the file of each
            language: ``{"de": "squad-de/train.json"}``. SQuAD's JSON, or its flat form on the hub (``context``,
            ``question`` and ``answers`` in each row); ``.json`` or ``.jsonl``, also with ``.gz``.
        positive: ``"sentence"`` or ``"paragraph"``.
        languages: Languages to read; by default all.
        splitter: Finds sentences, given a language and a text; see :func:`~st_hybrid.sentences.sentence_spans`.
            Pass another for Thai, Khmer and Lao.
        scratch: Folder for temporary files, on a disk with room for the rows; by default the system's.
        show_progress_bar: Show the number of questions read.

    Returns:
        The rows, with the question ids as ids, and a report of what was left out and why.

    Raises:
        ValueError: A file is malformed, its language is unknown, or an id occurs twice in it.

    Example:
        ::

            import json
            from st_hybrid.data import read_squad

            paragraph = {"context": "Storks are big. They nest on roofs.", "qas": [
                {"id": "q1", "question": "Where do storks nest?", "answers": [{"answer_start": 29, "text": "roofs"}]},
            ]}
            with open("en.json", "w") as file:
                json.dump({"data": [{"paragraphs": [paragraph]}]}, file)
            rows, report = read_squad({"en": "en.json"})
            print(rows["positive"][0])  # They nest on roofs.

    References:
        SQuAD: Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250. Answer sentences: LAReQA, Roy et al. 2020,
        https://arxiv.org/abs/2004.05484
    """
    if positive not in ("sentence", "paragraph"):
        raise ValueError(f"positive must be 'sentence' or 'paragraph', got {positive!r}.")
    paths = _language_files(files, languages)
    report = ReadReport()

    def batches() -> Iterator[Batch]:
        for language, path in paths.items():
            report.count(f"{path} (questions)", 0)
            found = _questions(path, language, positive, splitter, report)
            while part := list(islice(found, _BATCH)):
                ids, queries, positives, places = zip(*part, strict=True)
                language_column = pa.repeat(language, len(ids))
                table = pa.table({"id": ids, "language": language_column, "query": queries, "positive": positives})
                yield Batch(table, places.__getitem__)

    return collect(batches(), report, scratch=scratch, show_progress_bar=show_progress_bar)


def _language_files(files: str | Path | Mapping[str, str | Path], languages: Sequence[str] | None) -> dict[str, Path]:
    """The file of each language."""
    for code in languages or ():
        check_language(code, "languages")
    found: dict[str, Path] = {}
    if isinstance(files, Mapping):
        found = {check_language(code, f"{code}={path}"): Path(path) for code, path in files.items()}
    else:
        for path in sorted(Path(files).iterdir() if Path(files).is_dir() else ()):
            if not re.search(r"\.jsonl?(\.gz)?$", path.name):
                continue
            code = language_of_file(path, "Rename the file to <language>.json, or name its language: {code}={path}.")
            if code in found:
                raise ValueError(f"{found[code]} and {path} both end in {code!r}. Name the file of each language.")
            found[code] = path
        if not found:
            raise FileNotFoundError(f"There is no <language>.json in {files}.")
    if lacking := [code for code in languages or () if code not in found]:
        raise FileNotFoundError(f"There is no file for {', '.join(lacking)}, only for {', '.join(found)}.")
    if missing := [str(path) for path in found.values() if not path.is_file()]:
        raise FileNotFoundError(f"There is no file {', '.join(missing)}.")
    return {code: found[code] for code in languages or found}


def _questions(
    path: Path, language: str, positive: Positive, splitter: Splitter, report: ReadReport
) -> Iterator[tuple[str, str, str, str]]:
    """The id, text, positive and place of each question that has an answer."""
    coarse = False
    for paragraph in squad_paragraphs(path, language):
        spans = [(0, len(paragraph.text))] if positive == "paragraph" else paragraph.breaks
        if spans is None:
            spans = splitter(language, paragraph.text)
            coarse |= splitter is sentence_spans and re.split("[-_]", language)[0] in WITHOUT_MARKS
        for question in paragraph.questions:
            report.count(f"{path} (questions)", 1)
            place = f"{paragraph.where}, question {question.id!r}"
            text, reason = _answering(paragraph, question, spans, check=positive == "sentence")
            if text is not None:
                yield question.id, question.text, text, place
            else:
                report.read += 1
                report.drop(reason, 1, place.strip)
    if coarse:
        warnings.warn(
            f"{path} has no sentence breaks, and {language} does not mark sentence ends: the positives are pieces of "
            "several sentences. Pass a splitter for it, or positive='paragraph'.",
            stacklevel=2,
        )


def _answering(paragraph: Paragraph, question: Question, spans: list[Span], check: bool) -> tuple[str | None, str]:
    """The sentence that the first usable answer starts in, or why there is none."""
    reasons = []
    for start, answer in question.answers:
        sentence = sentence_at(spans, start) if check else 0
        if sentence is None:
            reasons.append("answer outside every sentence")
        elif check and answer is not None and not paragraph.text.startswith(answer, start):
            reasons.append("answer is not where the file says")
        else:
            return paragraph.text[slice(*spans[sentence])], ""
    return None, (reasons or ["question without an answer"])[0]
