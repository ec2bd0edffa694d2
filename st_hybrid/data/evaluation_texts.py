"""The texts of evaluation sets, to search for them in training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import load_dataset
from datasets.exceptions import DatasetGenerationError

from st_hybrid.data.blocks import plain_suffix
from st_hybrid.evaluation import PUBLISHED_COUNTS, lareqa_folder, read_lareqa
from st_hybrid.evaluation.miracl import miracl_languages, read_miracl
from st_hybrid.files import sha256
from st_hybrid.rows import is_empty
from st_hybrid.search.fingerprint import texts_fingerprint

MIRACL = "MIRACL"

_LOADERS = {".txt": "text", ".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}


@dataclass(frozen=True)
class EvaluationTexts:
    """All texts of an evaluation set.

    Args:
        name: Name of the set or of the file.
        ids: Where each text comes from, such as ``"de question 56be4db0"`` or ``"line 7"``.
        texts: The texts, without nulls.
        files: SHA-256 of each file that was read, by its name; empty for MIRACL, which has too many files.
    """

    name: str
    ids: pa.LargeStringArray
    texts: pa.LargeStringArray
    files: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """SHA-256 of the texts in their order."""
        return texts_fingerprint(self.texts)


def read_evaluation_texts(name: str, data_dir: str | Path | None = None, *, verify: bool = True) -> EvaluationTexts:
    """Read the texts of an evaluation set.

    Args:
        name: ``"XQuAD-R"`` or ``"MLQA-R"`` for their questions and sentences, ``"MIRACL"`` for its queries and judged
            passages in every language of ``data_dir``, or a file: one text per line (``.txt``), or JSONL, CSV, TSV or
            Parquet, of which every text column except ``id`` and ``language`` is read.
        data_dir: Folder with ``xquad-r/<language>.json``, ``mlqa-r/<language>.json`` and MIRACL's folders. By default
            XQuAD-R and MLQA-R are downloaded (:func:`~st_hybrid.evaluation.lareqa_folder`).
        verify: Refuse XQuAD-R and MLQA-R files that are not the published ones.

    Returns:
        The texts.

    Raises:
        FileNotFoundError: There is no such set or file.
        ValueError: A file is malformed, has no texts, or is not the published one.

    Example:
        ::

            from pathlib import Path
            from st_hybrid.data.evaluation_texts import read_evaluation_texts

            Path("held-out.txt").write_text("Where do storks nest?", encoding="utf-8")
            print(read_evaluation_texts("held-out.txt").texts.to_pylist())  # ['Where do storks nest?']
    """
    published = {each.lower(): each for each in (*PUBLISHED_COUNTS, MIRACL)}
    if published.get(name.lower()) == MIRACL:
        return _miracl(data_dir)
    if name.lower() in published:
        return _lareqa(published[name.lower()], data_dir, verify)
    if Path(name).is_file():
        return _file(Path(name))
    raise FileNotFoundError(f"{name} is neither a file nor one of the evaluation sets {', '.join(published.values())}.")


def _lareqa(name: str, data_dir: str | Path | None, verify: bool) -> EvaluationTexts:
    folder = lareqa_folder(name, data_dir, verify=verify)
    collection = read_lareqa(folder, list(PUBLISHED_COUNTS[name]) if verify else None, name=name)
    codes = [collection.languages[number] for number in collection.query_languages.tolist()]
    questions = [f"{code} question {identifier}" for code, identifier in zip(codes, collection.query_ids, strict=True)]
    sentences = [f"sentence {identifier}" for identifier in collection.passage_ids]
    files = {f"{code}.json": sha256(folder / f"{code}.json") for code in collection.languages}
    return _evaluation_texts(name, questions + sentences, [*collection.queries, *collection.passages], files)


def _miracl(data_dir: str | Path | None) -> EvaluationTexts:
    languages = miracl_languages(data_dir) if data_dir else []
    if not languages:
        raise FileNotFoundError(
            f"MIRACL: {data_dir or 'no data_dir is given, so there'} holds no folder miracl-v1.0-<language>. Name the "
            "folder in MIRACL's official layout with data_dir (--data-dir)."
        )
    ids, texts = [], []
    for code in languages:
        part = read_miracl(str(data_dir), code)
        judged = pa.array(sorted({one for passages in part.judgements.values() for one in passages}), pa.string())
        corpus_ids = part.corpus.select_columns(["id"]).with_format("arrow")[:]["id"]
        passages = part.corpus.select(np.flatnonzero(pc.is_in(corpus_ids, value_set=judged)))
        for kind, rows in (("query", part.queries), ("passage", passages)):
            ids += [f"{code} {kind} {identifier}" for identifier in rows["id"]]
            texts += rows["text"]
    return _evaluation_texts(MIRACL, ids, texts, {})


def _file(path: Path) -> EvaluationTexts:
    suffix = plain_suffix(path)
    if suffix not in _LOADERS:
        raise ValueError(
            f"{path}: evaluation texts are read from {', '.join(_LOADERS)}. Convert the file to one of them."
        )
    options = {"delimiter": "\t"} if suffix == ".tsv" else {}
    try:
        table = load_dataset(_LOADERS[suffix], data_files=str(path), split="train", **options).with_format("arrow")[:]
    except DatasetGenerationError as error:
        raise ValueError(f"{path} is not a file of {suffix[1:]} in UTF-8: {error.__cause__ or error}.") from error
    ids, texts = [], []
    for name, column in zip(table.column_names, table.columns, strict=True):
        is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        if is_text and name not in ("id", "language"):
            rows = np.flatnonzero(~is_empty(column))
            ids += [f"{'line' if suffix == '.txt' else name} {row}" for row in (rows + 1).tolist()]
            texts += column.take(rows).to_pylist()
    if not texts:
        raise ValueError(f"{path} has no texts to compare with.")
    return _evaluation_texts(path.name, ids, texts, {path.name: sha256(path)})


def _evaluation_texts(name: str, ids: Sequence[str], texts: Sequence[str], files: Mapping[str, str]) -> EvaluationTexts:
    return EvaluationTexts(name, pa.array(ids, pa.large_string()), pa.array(texts, pa.large_string()), files)
