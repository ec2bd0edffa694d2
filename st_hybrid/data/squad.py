"""Parallel rows from SQuAD-format question answering in several languages that share question ids."""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import pyarrow as pa

from st_hybrid.data.blocks import plain_suffix
from st_hybrid.data.collect import Batch, Rows, collect
from st_hybrid.data.names import language_of_file
from st_hybrid.data.report import ReadReport
from st_hybrid.data.tables import TABULAR, Source
from st_hybrid.evaluation.squad import Paragraph, Question, Span, sentence_at, squad_paragraphs
from st_hybrid.languages import check_language
from st_hybrid.sentences import WITHOUT_MARKS, Splitter, sentence_spans

Positive = Literal["sentence", "paragraph"]

_BATCH = 10_000  # questions


def read_squad(
    files: str | Path | Mapping[str, str | Path],
    *,
    positive: Positive = "sentence",
    negatives: int | None = None,
    languages: Sequence[str] | None = None,
    split: str = "train",
    splitter: Splitter = sentence_spans,
    show_progress_bar: bool = False,
) -> Rows:
    """Read questions and the sentences or paragraphs that answer them.

    Questions that share an id are translations of one another. A question's positive is the sentence that an answer
    starts in, or its whole paragraph. The first answer that is where the file says counts, otherwise the first that
    stands once in the paragraph. Sentences are those of the file's ``sentence_breaks`` where a paragraph has them,
    otherwise the splitter's.

    Args:
        files: A folder with a file per language, named ``de.json`` or ``anything.de.json``, or the file, folder or hub
            name of each language: ``{"de": "squad-de/train.json", "en": "squad"}``. SQuAD's JSON, or its flat form
            (``context``, ``question`` and ``answers`` in each row). Files may be compressed.
        positive: ``"sentence"`` or ``"paragraph"``.
        negatives: Number of hard negatives for each sentence: the other sentences of the paragraph that are nearest to
            it, as ``negative_1``, ``negative_2``, … Questions on paragraphs with too few sentences are left out.
        languages: Languages to read; by default all.
        split: Split to read, of a folder or a data set.
        splitter: Finds sentences, given a language and a text; see :func:`~st_hybrid.sentences.sentence_spans`.
            Pass another for Thai, Khmer and Lao.
        show_progress_bar: Show the number of questions read.

    Returns:
        The rows, with the question ids as ids, and a report of what was left out and why.

    Raises:
        ValueError: A file is malformed, its language is unknown, an id occurs twice in it, or negatives are asked for
            paragraphs.

    Example:
        ::

            from st_hybrid.data import read_squad

            rows, report = read_squad({"en": "train-v1.1.json", "de": "train-de.json"})

    References:
        SQuAD: https://arxiv.org/abs/1606.05250. Answer sentences: LAReQA, https://arxiv.org/abs/2004.05484
    """
    if positive not in ("sentence", "paragraph"):
        raise ValueError(f"positive must be 'sentence' or 'paragraph', got {positive!r}.")
    if negatives is not None and (negatives < 1 or positive == "paragraph"):
        raise ValueError(f"negatives must be at least 1, with positive='sentence', got {negatives} and {positive!r}.")
    columns = ["id", "query", "positive", *(f"negative_{number + 1}" for number in range(negatives or 0))]
    paths = _language_files(files, languages)
    report = ReadReport()

    def batches() -> Iterator[Batch]:
        for language, path in paths.items():
            report.count(f"{path} (questions)", 0)
            found = _questions(path, split, language, positive, negatives or 0, splitter, report)
            while part := list(islice(found, _BATCH)):
                places, *texts = zip(*part, strict=True)
                table = pa.table(dict(zip(columns, texts, strict=True)))
                yield Batch(table.add_column(1, "language", pa.repeat(language, len(part))), places.__getitem__)

    return collect(batches(), report, show_progress_bar=show_progress_bar)


def _language_files(files: str | Path | Mapping[str, str | Path], languages: Sequence[str] | None) -> dict[str, Path]:
    """The file of each language."""
    for code in languages or ():
        check_language(code, "languages")
    found: dict[str, Path] = {}
    if isinstance(files, Mapping):
        found = {check_language(code, f"{code}={path}"): Path(path) for code, path in files.items()}
    else:
        for path in sorted(Path(files).iterdir() if Path(files).is_dir() else ()):
            if plain_suffix(path) not in (".json", ".jsonl"):
                continue
            code = language_of_file(path, "Rename the file to <language>.json, or name its language: {code}={path}.")
            if code in found:
                raise ValueError(f"{found[code]} and {path} both end in {code!r}. Name the file of each language.")
            found[code] = path
        if not found:
            raise FileNotFoundError(f"There is no <language>.json in {files}.")
    if lacking := [code for code in languages or () if code not in found]:
        raise FileNotFoundError(f"There is no file for {', '.join(lacking)}, only for {', '.join(found)}.")
    missing = [str(path) for path in found.values() if plain_suffix(path) in TABULAR and not path.is_file()]
    if missing:
        raise FileNotFoundError(f"There is no file {', '.join(missing)}.")
    return {code: found[code] for code in languages or found}


def _questions(
    path: Path, split: str, language: str, positive: Positive, negatives: int, splitter: Splitter, report: ReadReport
) -> Iterator[tuple[str, ...]]:
    """The place, id, text, positive and negatives of each question that has an answer."""
    is_json = path.is_file() and plain_suffix(path) in (".json", ".jsonl")
    rows = None if is_json and split == "train" else Source(str(path), split).load()
    coarse = False
    for paragraph in squad_paragraphs(path, language, rows):
        spans = [(0, len(paragraph.text))] if positive == "paragraph" else paragraph.breaks
        if spans is None:
            spans = splitter(language, paragraph.text)
            coarse |= splitter is sentence_spans and re.split("[-_]", language)[0] in WITHOUT_MARKS
        for question in paragraph.questions:
            report.count(f"{path} (questions)", 1)
            place = f"{paragraph.where}, question {question.id!r}"
            number, remark = _answering(paragraph, question, spans, anywhere=positive == "paragraph")
            if number is not None and len(spans) <= negatives:
                number, remark = None, "too few sentences for the negatives"
            if number is None:
                report.read += 1
                report.drop(remark, 1, place.strip)
            else:
                report.mend(remark, int(remark != ""), place.strip)
                nearest = sorted(range(len(spans)), key=lambda other: abs(other - number))[: negatives + 1]
                texts = (paragraph.text[slice(*spans[sentence])] for sentence in nearest)
                yield place, question.id, question.text, *texts
    if coarse:
        warnings.warn(
            f"{path} has no sentence breaks, and {language} does not mark sentence ends: the positives are pieces of "
            "several sentences. Pass a splitter for it, or positive='paragraph'.",
            stacklevel=2,
        )


def _answering(paragraph: Paragraph, question: Question, spans: list[Span], anywhere: bool) -> tuple[int | None, str]:
    """The sentence that the first usable answer starts in; what is wrong if there is none, or what was mended."""
    if anywhere and question.answers:
        return 0, ""
    text, answers = paragraph.text, question.answers
    right = [start for start, answer in answers if answer is None or text.startswith(answer, start)]
    once = [text.index(answer) for _, answer in answers if answer is not None and text.count(answer) == 1]
    for start in (*right, *once):
        if (sentence := sentence_at(spans, start)) is not None:
            return sentence, "" if start in right else "answer found away from its offset"
    wrong = "answer outside every sentence" if right else "answer is not where the file says"
    return None, wrong if answers else "question without an answer"
