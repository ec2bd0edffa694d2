"""The texts of evaluation sets, to search for them in training data."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import load_dataset

from st_hybrid.data.blocks import plain_suffix
from st_hybrid.data.tables import Source
from st_hybrid.evaluation import PUBLISHED_COUNTS, lareqa_folder, read_lareqa
from st_hybrid.evaluation.miracl import miracl_languages, read_miracl
from st_hybrid.rows import is_empty
from st_hybrid.search.fingerprint import texts_fingerprint

MIRACL, BELEBELE, MULTIEUP = "MIRACL", "Belebele", "MultiEuP"

_LOADERS = {".txt": "text", ".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
_Texts = Iterator[tuple[str, str]]  # id and text


@dataclass(frozen=True)
class EvaluationTexts:
    """All texts of an evaluation set."""

    name: str  #: Name of the set or of the file.
    ids: pa.LargeStringArray  #: Where each text comes from, such as ``"de question 56be4db0"`` or ``"line 7"``.
    texts: pa.LargeStringArray  #: The texts, without nulls.

    @property
    def sha256(self) -> str:
        """SHA-256 of the texts in their order."""
        return texts_fingerprint(self.texts)


def read_evaluation_texts(name: str, data_dir: str | Path | None = None, *, verify: bool = True) -> EvaluationTexts:
    """Read the texts of an evaluation set.

    Args:
        name: ``"XQuAD-R"`` or ``"MLQA-R"`` for their questions and sentences, ``"MIRACL"`` for its queries and judged
            passages, ``"Belebele"`` for its questions and passages, ``"MultiEuP"`` for its topics and speeches, all in
            every language of ``data_dir``; or a file: one text per line (``.txt``), or JSONL, CSV, TSV or Parquet, of
            which every text column except ``id`` and ``language`` is read.
        data_dir: Folder with ``xquad-r/<language>.json``, ``mlqa-r/<language>.json``, MIRACL's folders, and Belebele
            and MultiEuP as published, in ``belebele`` (``eng_Latn.jsonl`` and so on) and ``multi-eup``
            (``MultiEuP.csv``). By default XQuAD-R and MLQA-R are downloaded.
        verify: Refuse XQuAD-R and MLQA-R files that are not the published ones.

    Raises:
        FileNotFoundError: There is no such set or file.
        ValueError: A file is malformed, has no texts, or is not the published one.

    Example:
        ::

            from st_hybrid.data import read_evaluation_texts

            print(read_evaluation_texts("rows.jsonl").ids[0])  # query 1
    """
    published = {each.lower(): each for each in (*PUBLISHED_COUNTS, MIRACL, BELEBELE, MULTIEUP)}
    found = published.get(name.lower()) or Path(name).name
    if found == MIRACL:
        texts = _miracl(data_dir)
    elif found == BELEBELE:
        texts = _tables(BELEBELE, data_dir, "belebele", "*.jsonl", r"question|flores_passage")
    elif found == MULTIEUP:
        texts = _tables(MULTIEUP, data_dir, "multi-eup", "*.csv", r"TEXT|title_[A-Z]{2}")
    elif found in PUBLISHED_COUNTS:
        texts = _lareqa(found, data_dir, verify)
    elif Path(name).is_file():
        texts = _file(Path(name))
    else:
        sets = ", ".join(published.values())
        raise FileNotFoundError(f"{name} is neither a file nor one of the evaluation sets {sets}.")
    if not (read := list(texts)):
        raise ValueError(f"{name} has no texts to compare with.")
    ids, columns = zip(*read, strict=True)
    return EvaluationTexts(found, pa.array(ids, pa.large_string()), pa.array(columns, pa.large_string()))


def _lareqa(name: str, data_dir: str | Path | None, verify: bool) -> _Texts:
    folder = lareqa_folder(name, data_dir, verify=verify)
    collection = read_lareqa(folder, list(PUBLISHED_COUNTS[name]) if verify else None, name=name)
    codes = [collection.languages[number] for number in collection.query_languages.tolist()]
    questions = zip(codes, collection.query_ids, collection.queries, strict=True)
    yield from ((f"{code} question {identifier}", text) for code, identifier, text in questions)
    sentences = zip(collection.passage_ids, collection.passages, strict=True)
    yield from ((f"sentence {identifier}", text) for identifier, text in sentences)


def _miracl(data_dir: str | Path | None) -> _Texts:
    languages = miracl_languages(data_dir) if data_dir else []
    if not languages:
        raise _missing(MIRACL, data_dir, "folder miracl-v1.0-<language>")
    for code in languages:
        part = read_miracl(str(data_dir), code)
        judged = pa.array(sorted({one for passages in part.judgements.values() for one in passages}), pa.string())
        corpus_ids = part.corpus.select_columns(["id"]).with_format("arrow")[:]["id"]
        passages = part.corpus.select(np.flatnonzero(pc.is_in(corpus_ids, value_set=judged)))
        for kind, rows in (("query", part.queries), ("passage", passages)):
            yield from ((f"{code} {kind} {one['id']}", one["text"]) for one in rows)


def _tables(name: str, data_dir: str | Path | None, folder: str, files: str, columns: str) -> _Texts:
    """The distinct texts in columns of all files of a folder."""
    paths = sorted((Path(data_dir) / folder).rglob(files)) if data_dir else []
    if not paths:
        raise _missing(name, data_dir, f"file {folder}/{files}")
    seen: set[str] = set()
    for path in paths:
        for table, place, _ in Source(str(path)).read(lambda one: pa.string() if re.fullmatch(columns, one) else None):
            for column in table.column_names:
                for row, text in enumerate(table[column].to_pylist()):
                    if text and text not in seen:
                        seen.add(text)
                        yield f"{column} at {place(row).removeprefix(f'{path.parent}/')}", text


def _missing(name: str, data_dir: str | Path | None, what: str) -> FileNotFoundError:
    holds = f"{data_dir or 'no data_dir is given, so there'} holds no {what}"
    return FileNotFoundError(f"{name}: {holds}. Name the folder that does with data_dir (--data-dir).")


def _file(path: Path) -> _Texts:
    suffix = plain_suffix(path)
    if suffix not in _LOADERS:
        raise ValueError(f"{path}: evaluation texts are read from {', '.join(_LOADERS)}. Convert the file.")
    options = {"delimiter": "\t"} if suffix == ".tsv" else {}
    try:
        table = load_dataset(_LOADERS[suffix], data_files=str(path), split="train", **options).with_format("arrow")[:]
        for column in table.columns:
            column.validate(full=True)
    except Exception as error:  # parsers raise what they like
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise ValueError(f"{path} is not a file of {suffix[1:]} in UTF-8: {reason}.") from error
    for name, column in zip(table.column_names, table.columns, strict=True):
        is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        if is_text and name not in ("id", "language"):
            rows = np.flatnonzero(~is_empty(column))
            where = "line" if suffix == ".txt" else name
            yield from ((f"{where} {row + 1}", column[row].as_py()) for row in rows.tolist())
