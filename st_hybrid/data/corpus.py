"""Open a retrieval collection of your own: parallel rows, or a folder of passages, queries and judgements."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from st_hybrid.data.blocks import plain_suffix, read_blocks
from st_hybrid.data.open import open_rows
from st_hybrid.data.tables import json_records
from st_hybrid.evaluation import RetrievalCollection
from st_hybrid.languages import check_language, detect_languages, language_tag

logger = logging.getLogger(__name__)

_DUTCH = {"dt": "nl"}  # as mlir-benchmarks writes it
_LIKELY, _LIKELY_ELSE = 0.01, 0.1  # least share of a language among passages; among queries, if no passage has it


def open_collection(
    data: str | Path,
    *,
    name: str | None = None,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    language: str | None = None,
    languages: Sequence[str] | None = None,
    show_progress_bar: bool = False,
) -> RetrievalCollection:
    """Open a retrieval collection, to measure models on your own passages and queries.

    ``data`` is one of:

    - parallel rows in any form that :func:`~st_hybrid.data.open_rows` reads. The positives of a group are the passages
      that answer its queries, in all languages.
    - a folder in BEIR's layout: ``corpus.jsonl`` (``_id``, ``text`` and perhaps ``title``), ``queries.jsonl`` (``_id``,
      ``text``) and ``qrels/<split>.tsv`` (``query-id``, ``corpus-id``, ``score``).
    - a folder in the layout of ``yjoonjang/mlir-benchmarks`` on the hub: ``corpus.jsonl`` (``{id: {"text", "lang"}}``),
      ``queries.jsonl`` and ``qrels.jsonl`` (``{query id: {passage id: score}}``). In its folder ``MLIR-en`` queries
      are in English.

    In a folder, a text's language is its field ``language`` or ``lang``, also within ``metadata``. Where no text of a
    file has one, it is detected, which needs the extra ``check`` and is often wrong for queries of a few words. A score
    above 0 means relevant, and nDCG takes it as the gain. Queries without a relevant passage are left out with a
    warning.

    Args:
        data: A file, a folder or a hub name.
        name: Name of the collection; by default that of the file or folder.
        columns: Map roles of parallel rows to their columns: ``{"query": "question"}``.
        split: Split of the rows (``train`` by default) or of the judgements (``test`` by default).
        language: Language of the texts that have none.
        languages: Languages to read; by default all.
        show_progress_bar: Show the number of rows read.

    Raises:
        FileNotFoundError: There are no such data.
        ValueError: A line is malformed, an id or a language is unknown, an id is repeated, or an option has no effect.
            The message names file and line.

    Example:
        ::

            from st_hybrid.data import open_collection

            collection = open_collection("rows.jsonl")
            print(collection.name, collection.query_counts)  # rows {'de': 120, 'en': 120, 'fr': 120}
    """
    if language is not None:
        check_language(language, "language")
    folder = Path(data)
    files = {stem: sorted(folder.glob(f"{stem}.jsonl*")) for stem in ("corpus", "queries", "qrels")}
    if not files["corpus"] and not files["queries"]:
        options: dict[str, Any] = {"language": language, "languages": languages, "show_progress_bar": show_progress_bar}
        rows, report = open_rows(data, columns=columns, split=split or "train", **options)
        if report.dropped:
            logger.warning("%s: %s", data, report)
        return RetrievalCollection.from_rows(rows, name=name or folder.name.partition(".")[0])

    if columns:
        raise ValueError(f"{folder} holds passages and queries, not rows, so columns has no effect. Leave it out.")
    if missing := [f"{stem}.jsonl" for stem in ("corpus", "queries") if not files[stem]]:
        raise FileNotFoundError(f"{folder} has no {missing[0]}. It needs corpus.jsonl, queries.jsonl and judgements.")
    passages, queries = _Texts(files["corpus"][0]), _Texts(files["queries"][0])
    if language is not None and not passages.lacking and not queries.lacking:
        raise ValueError(f"{folder}: each text has a language, so language={language!r} has no effect. Leave it out.")
    relevant = _read_judgements(_judgement_file(folder, files["qrels"], split), queries, passages)
    asked = len(queries.text)
    queries.keep(relevant)
    passages.complete(language)
    of_folder = folder.resolve().parent.name.partition("MLIR-")[2]
    queries.complete(language or _DUTCH.get(of_folder, of_folder) or None, set(passages.language.values()))
    codes = {*passages.language.values(), *queries.language.values()}
    code_of = {language_tag(code): code for code in sorted(codes, key=lambda code: (-len(code), code))}
    for part in (queries, passages):
        part.language = {key: code_of[language_tag(code)] for key, code in part.language.items()}
        part.keep(key for key, code in part.language.items() if languages is None or code in languages)
    if unknown := set(languages or ()) - set(code_of.values()):
        raise ValueError(f"{folder} has no text in {min(unknown)}, only in {', '.join(sorted(code_of.values()))}.")
    judged = {
        query: {key: relevant[query][key] for key in relevant[query] if key in passages.text} for query in queries.text
    }
    queries.keep(query for query, found in judged.items() if found)
    if left_out := asked - len(queries.text):
        logger.warning("%s: %s queries without a relevant passage are left out.", folder, f"{left_out:,}")
    texts, answers = queries.text, {query: judged[query] for query in queries.text}
    name = name or folder.resolve().name
    return RetrievalCollection.from_dicts(texts, passages.text, answers, queries.language, passages.language, name=name)


class _Texts:
    """The texts of a file by id, and their languages.

    Attributes:
        lacking: Place of the first text without a language; empty if all have one.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lacking = path, ""
        self.text: dict[str, str] = {}
        self.language: dict[str, str] = {}
        codes = set()
        for place, record in _read_json(path):
            for key, entry in _entries(record):
                if key in self.text:
                    raise ValueError(f"{place}: the id {key!r} occurs twice. Give each text an id of its own.")
                title, text = entry.get("title") or "", entry.get("text")
                if not isinstance(text, str) or not isinstance(title, str):
                    raise ValueError(f"{place}: {key!r} has no text. Put it into the field 'text'.")
                self.text[key] = _checked(f"{title} {text}".strip(), place)
                about = entry.get("metadata")
                fields = {**(about if isinstance(about, dict) else {}), **entry}
                if code := fields.get("language") or fields.get("lang"):
                    if not isinstance(code, str):
                        raise ValueError(f"{place}: the language of {key!r} is {code!r}, not a code such as 'en'.")
                    code = _DUTCH.get(code, code)
                    if code not in codes:
                        codes.add(check_language(code, place))
                    self.language[key] = code
                self.lacking = self.lacking or ("" if code else place)

    def keep(self, keys: Iterable[str]) -> None:
        """Keep only the texts of these ids."""
        kept = frozenset(keys)
        self.text = {key: text for key, text in self.text.items() if key in kept}

    def complete(self, language: str | None, known: Collection[str] = ()) -> None:
        """Give the texts without a language the one given, or detect it if no text has one.

        Queries are short, and so they are taken to be in the languages ``known`` of the passages unless many are not.
        """
        without = [key for key in self.text if key not in self.language]
        if without and language is None and self.language:
            raise ValueError(f"{self.lacking}: no language, though others in {self.path.name} have one. Add it.")
        if without and language is None:
            found, _ = detect_languages([self.text[key] for key in without], _LIKELY_ELSE if known else _LIKELY, known)
            counts = ", ".join(f"{code} {count:,}" for code, count in Counter(found).most_common())
            logger.warning("%s has no field 'language'. Detected: %s.", self.path, counts)
        else:
            found = [language or ""] * len(without)
        self.language.update(zip(without, found, strict=True))


def _entries(record: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The ids and texts of a line: BEIR's ``{"_id", "text"}``, or ``{id: text}`` and ``{id: {"text"}}``."""
    if "text" in record and (key := record.get("_id", record.get("id"))) is not None:
        yield str(key), record
    else:
        for key, value in record.items():
            yield key, value if isinstance(value, dict) else {"text": value}


def _judgement_file(folder: Path, files: Sequence[Path], split: str | None) -> Path:
    splits = {path.name.partition(".")[0]: path for path in sorted(folder.glob("qrels/*.*"))}
    if files:
        if split is not None:
            raise ValueError(f"{files[0]} has no splits, so split={split!r} has no effect. Leave it out.")
        return files[0]
    if not splits:
        raise FileNotFoundError(f"{folder} has no judgements. Put them into qrels/test.tsv or qrels.jsonl.")
    chosen = split or ("test" if "test" in splits else next(iter(splits)) if len(splits) == 1 else "test")
    if chosen not in splits:
        raise ValueError(f"{folder / 'qrels'} has the splits {', '.join(splits)}, not {chosen!r}. Choose one of them.")
    return splits[chosen]


def _read_judgements(path: Path, queries: _Texts, passages: _Texts) -> dict[str, dict[str, float]]:
    """The scores above 0 by query and passage."""
    scores: dict[str, dict[str, float]] = {}
    judged: dict[tuple[str, str], float] = {}
    for place, query, passage, given in _judgements(path):
        try:
            score = float(given)
        except (TypeError, ValueError):
            raise ValueError(f"{place}: the score {given!r} is not a number.") from None
        if judged.setdefault((query, passage), score) != score:
            raise ValueError(f"{place}: another score for query {query!r} and passage {passage!r}. Keep one of them.")
        if score > 0:
            for key, texts in ((query, queries), (passage, passages)):
                if key not in texts.text:
                    raise ValueError(f"{place}: {texts.path.name} has no id {key!r}. Add it, or remove the judgement.")
            scores.setdefault(query, {})[passage] = score
    if not scores:
        raise ValueError(f"{path}: no judgement is above 0, so no passage is relevant to a query.")
    return scores


def _judgements(path: Path) -> Iterator[tuple[str, str, str, Any]]:
    """The place, the query, the passage and the score of each judgement."""
    if plain_suffix(path) == ".jsonl":
        for place, record in _read_json(path):
            if "query-id" in record:
                record = {record["query-id"]: {record.get("corpus-id"): record.get("score")}}
            for query, passages in record.items():
                if not isinstance(passages, dict):
                    raise ValueError(f"{place}: not {{query id: {{passage id: score}}}}.")
                for passage, score in passages.items():
                    yield place, str(query), str(passage), score
        return
    for block in read_blocks(path):
        for number, line in block.numbered_lines():
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) != 3:
                raise ValueError(f"{path}:{number}: {len(fields)} columns, not query-id, corpus-id and score in tabs.")
            if number > 1 or fields[2] != "score":
                yield f"{path}:{number}", fields[0], fields[1], fields[2]


def _read_json(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place and the content of each line."""
    for block in read_blocks(path):
        for number, record in json_records(path, block):
            yield f"{path}:{number}", record


def _checked(text: str, place: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{place}: half of a surrogate pair is no text.") from error
    return text
