"""SQuAD's JSON, with or without sentence breaks: the walk that the LAReQA reader and the SQuAD reader share."""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import index
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

Span = tuple[int, int]


class Answer(NamedTuple):
    """The place where an answer starts in its paragraph, in characters, and its text if the file has one."""

    start: int
    text: str | None


class Question(NamedTuple):
    """A question and its answers; without answers, the paragraph does not answer it (SQuAD 2.0)."""

    id: str
    text: str
    answers: list[Answer]


class Paragraph(NamedTuple):
    """A paragraph of a file and the questions on it."""

    where: str  # for messages: file, language, article and paragraph
    article: int  # number in the file, from 0
    number: int  # number in the article, from 0
    text: str
    breaks: list[Span] | None  # start and end of each sentence, if the file has them
    questions: list[Question]


def squad_paragraphs(
    path: str | Path, language: str, rows: Iterable[dict[str, Any]] | None = None
) -> Iterator[Paragraph]:
    """Walk a file of SQuAD's JSON, plain or compressed, paragraph by paragraph.

    The flat form of the hub, a JSON object per question, is read from ``.jsonl``, from the ``data`` list, and from
    ``rows`` in place of a file. The language is for messages, which name file, language, article and paragraph.
    """
    seen = set[str]()
    where = f"{path} (language {language})"
    for article_number, article in enumerate(_articles(Path(path), where) if rows is None else _by_context(rows)):
        if not isinstance(article, dict) or not isinstance(article.get("paragraphs"), list):
            raise ValueError(f"{where}, article {article_number}: it has no 'paragraphs' list.")
        for number, content in enumerate(article["paragraphs"]):
            place = f"{where}, article {article_number}, paragraph {number}"
            try:
                text = _text(content["context"])
                breaks = _breaks(content["sentence_breaks"], text) if "sentence_breaks" in content else None
                questions = [_question(question) for question in content["qas"]]
            except _OutsideError as error:
                raise ValueError(f"{place}: {error}") from None
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                raise ValueError(f"{place}: not in the SQuAD format ({type(error).__name__}: {error}).") from error
            for question in questions:
                if question.id in seen:
                    raise ValueError(f"{place}: the question id {question.id!r} occurs twice in the file.")
                seen.add(question.id)
            yield Paragraph(place, article_number, number, text, breaks, questions)


def sentence_at(breaks: Sequence[Span], position: int) -> int | None:
    """The number of the sentence that holds the character at a position, or None if there is none."""
    sentence = bisect_right(breaks, position, key=lambda span: span[0]) - 1
    return sentence if sentence >= 0 and position < breaks[sentence][1] else None


def _articles(path: Path, where: str) -> list[Any]:
    """The articles of a file; rows of the flat form become articles of one paragraph."""
    try:
        content = pa.input_stream(str(path)).read().decode("utf-8-sig")
        if ".jsonl" in path.suffixes:
            articles = [json.loads(line) for line in content.split("\n") if line.strip()]
        else:
            articles = list(json.loads(content)["data"])
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not UTF-8: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not valid JSON: {error}. Download the file again.") from error
    except (KeyError, TypeError) as error:
        raise ValueError(f"{where} is not in the SQuAD format: it has no 'data' list.") from error
    if not all(isinstance(row, dict) and {"context", "question"} <= row.keys() for row in articles):
        return articles
    return list(_by_context(articles))


def _by_context(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Articles of one paragraph each, from the flat form."""
    for text, questions in groupby(rows, key=lambda row: row["context"]):
        yield {"paragraphs": [{"context": text, "qas": list(questions)}]}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _question(content: dict[str, Any]) -> Question:
    answers = [] if content.get("is_impossible") else content.get("answers") or []
    if isinstance(answers, dict):  # as data sets on the hub have it
        starts = answers["answer_start"]
        texts = answers.get("text") or [None] * len(starts)
    else:
        starts, texts = [one["answer_start"] for one in answers], [one.get("text") for one in answers]
    starts = [int(start) if isinstance(start, str) and start.strip().isdecimal() else index(start) for start in starts]
    identifier = content["id"] if "id" in content else content["question_id"]
    found = [Answer(start, text) for start, text in zip(starts, texts, strict=True) if text is None or text.strip()]
    return Question(str(identifier), _text(content["question"]), found)


class _OutsideError(ValueError):
    """A sentence break that does not fit its text."""


def _breaks(pairs: list[list[int]], text: str) -> list[Span]:
    breaks = [(index(pair[0]), index(pair[1])) for pair in pairs]
    previous = 0
    for start, end in breaks:
        if not 0 <= start < end <= len(text):
            raise _OutsideError(f"the sentence break ({start}, {end}) leaves the text of {len(text)} characters.")
        if start < previous:
            raise _OutsideError(f"the sentence break ({start}, {end}) overlaps the one before it.")
        previous = end
    return breaks
