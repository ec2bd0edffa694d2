"""Reader for the LAReQA format of XQuAD-R and MLQA-R (Roy et al. 2020, https://arxiv.org/abs/2004.05484)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from st_hybrid.evaluation.collection import RetrievalCollection
from st_hybrid.evaluation.squad import Paragraph, sentence_at, squad_paragraphs

PUBLISHED_COUNTS: dict[str, dict[str, tuple[int, int]]] = {
    "XQuAD-R": {
        "ar": (1190, 1222),
        "de": (1190, 1276),
        "el": (1190, 1234),
        "en": (1190, 1180),
        "es": (1190, 1215),
        "hi": (1190, 1244),
        "ru": (1190, 1219),
        "th": (1190, 852),
        "tr": (1190, 1167),
        "vi": (1190, 1209),
        "zh": (1190, 1196),
    },
    "MLQA-R": {
        "ar": (517, 2545),
        "de": (512, 2362),
        "en": (1148, 6264),
        "es": (500, 1787),
        "hi": (507, 2426),
        "vi": (511, 2828),
        "zh": (504, 2322),
    },
}
"""Questions and candidate sentences of each language of the published data sets."""


def read_lareqa(
    folder: str | Path,
    languages: Sequence[str] | None = None,
    name: str | None = None,
    *,
    same_questions: bool | None = None,
) -> RetrievalCollection:
    """Read a folder of ``<language>.json`` files in the LAReQA format.

    A file is SQuAD's JSON with ``sentence_breaks``, a list of (start, end) character offsets, in each paragraph. Every
    sentence occurrence is a candidate. It is relevant to a question, asked in any language, if an answer to the
    question with the same id starts in it.

    Args:
        folder: Folder with the files.
        languages: Language codes to read, in this order. By default those of the published data set called ``name``,
            or every ``.json`` file of the folder where the name is not one of them.
        name: Name of the collection. By default the published data set whose name the folder bears in any case
            (``xquad-r``, ``mlqa-r``), or else the folder's name.
        same_questions: Require the same question ids in all languages. By default only for XQuAD-R; in MLQA-R a
            question exists in two to four languages.

    Raises:
        FileNotFoundError: If a language's file is missing.
        ValueError: If a file is malformed; the message names file, language and paragraph.

    Example:
        ::

            from st_hybrid.evaluation import check_counts, read_lareqa

            collection = read_lareqa("data/xquad-r")
            check_counts(collection)
    """
    folder = Path(folder)
    if name is None:
        name = next((known for known in PUBLISHED_COUNTS if known.lower() == folder.name.lower()), folder.name)
    if languages is None:
        languages = sorted(PUBLISHED_COUNTS.get(name, ())) or sorted(path.stem for path in folder.glob("*.json"))
    if not languages:
        raise FileNotFoundError(f"{name}: no <language>.json file in {folder}.")
    if missing := [language for language in languages if not (folder / f"{language}.json").is_file()]:
        raise FileNotFoundError(
            f"{name}: {folder} lacks {', '.join(f'{language}.json' for language in missing)}. "
            f"Put the file there, or name the languages to read."
        )

    parts = [_LanguagePart(folder / f"{language}.json", language) for language in languages]
    if same_questions if same_questions is not None else name == "XQuAD-R":
        _check_same_questions(parts)

    answers: dict[str, list[int]] = defaultdict(list)
    offset = passage_offset = 0
    passages = []
    for part in parts:
        for question, sentences in part.answers.items():
            answers[question] += [offset + sentence for sentence in sorted(sentences)]
        passages.append(np.asarray(part.passages, dtype=np.int32) + passage_offset)
        offset += len(part.sentences)
        passage_offset += part.passage_count

    query_ids = [question for part in parts for question in part.questions]
    return RetrievalCollection(
        name=name,
        languages=tuple(languages),
        query_ids=query_ids,
        queries=[text for part in parts for text in part.questions.values()],
        query_languages=np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.questions) for part in parts]),
        candidate_ids=[identifier for part in parts for identifier in part.sentence_ids],
        candidates=[text for part in parts for text in part.sentences],
        candidate_languages=np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.sentences) for part in parts]),
        relevant_queries=np.repeat(
            np.arange(len(query_ids), dtype=np.int32), [len(answers[question]) for question in query_ids]
        ),
        relevant_candidates=np.asarray(
            [sentence for question in query_ids for sentence in answers[question]], dtype=np.int32
        ),
        candidate_passages=np.concatenate(passages),
    )


def check_counts(collection: RetrievalCollection) -> None:
    """Compare the numbers of questions and candidates with the published ones (:data:`PUBLISHED_COUNTS`).

    Raises:
        ValueError: If a language's counts differ, or nothing was published under the collection's name.
    """
    published = PUBLISHED_COUNTS.get(collection.name)
    if published is None:
        raise ValueError(f"No counts are published for {collection.name!r}, only for {', '.join(PUBLISHED_COUNTS)}.")
    queries, candidates = collection.query_counts, collection.candidate_counts
    found = {language: (queries[language], candidates[language]) for language in collection.languages}
    if wrong := [
        f"{language} has {counts[0]} questions and {counts[1]} sentences, published are "
        + ("none" if language not in published else "{} and {}".format(*published[language]))
        for language, counts in found.items()
        if counts != published.get(language)
    ]:
        raise ValueError(f"{collection.name} is not the published data: {'; '.join(wrong)}.")


class _LanguagePart:
    """Questions, sentences and answers of one file."""

    def __init__(self, path: Path, language: str) -> None:
        self.path, self.language = path, language
        self.questions: dict[str, str] = {}
        self.answers: dict[str, set[int]] = {}
        self.sentences: list[str] = []
        self.sentence_ids: list[str] = []
        self.passages: list[int] = []
        self.passage_count = 0

        for paragraph in squad_paragraphs(path, language, format_name="LAReQA format"):
            self._add_paragraph(paragraph)

    def _add_paragraph(self, paragraph: Paragraph) -> None:
        breaks = paragraph.breaks
        if breaks is None:
            raise ValueError(f"{paragraph.where}: not in the LAReQA format (it has no 'sentence_breaks').")
        first = len(self.sentences)
        identifier = f"{self.language}-{paragraph.article}-{paragraph.number}"
        self.sentences += [paragraph.text[start:end] for start, end in breaks]
        self.sentence_ids += [f"{identifier}-{number}" for number in range(len(breaks))]
        self.passages += [self.passage_count] * len(breaks)
        self.passage_count += 1

        for question in paragraph.questions:
            found = set()
            for answer in question.answers:
                sentence = sentence_at(breaks, answer.start)
                if sentence is None:
                    raise ValueError(
                        f"{paragraph.where}: the answer to question {question.id!r} starts at character "
                        f"{answer.start}, outside every sentence."
                    )
                found.add(first + sentence)
            if not found:
                raise ValueError(f"{paragraph.where}: question {question.id!r} has no answer.")
            self.questions[question.id] = question.text
            self.answers[question.id] = found


def _check_same_questions(parts: list[_LanguagePart]) -> None:
    expected = parts[0]
    for part in parts[1:]:
        difference = part.questions.keys() ^ expected.questions.keys()
        if difference:
            example = min(difference)
            lacking, having = (part, expected) if example in expected.questions else (expected, part)
            raise ValueError(
                f"The question ids of {expected.path} (language {expected.language}) and {part.path} (language "
                f"{part.language}) differ in {len(difference)} ids: {example!r} is in {having.path.name} but not in "
                f"{lacking.path.name}. Where languages need not share their questions, pass same_questions=False."
            )
