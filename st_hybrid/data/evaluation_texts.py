"""The texts of evaluation sets, to look for them in training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import load_dataset

from st_hybrid.data.blocks import plain_suffix
from st_hybrid.evaluation import PUBLISHED_COUNTS, lareqa_folder, read_lareqa
from st_hybrid.evaluation.miracl import miracl_languages, read_miracl
from st_hybrid.files import sha256
from st_hybrid.search.fingerprint import texts_fingerprint

MIRACL = "MIRACL"


@dataclass(frozen=True)
class EvaluationTexts:
    """All texts of an evaluation set.

    Args:
        name: Name of the set, or of the file.
        ids: Where each text stands, such as ``"de question 56be4db0"``.
        texts: The texts, null-free.
        files: SHA-256 sum of each file that they were read from; empty where the files are too many to be named.
    """

    name: str
    ids: pa.LargeStringArray
    texts: pa.LargeStringArray
    files: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """Fingerprint of the texts in their order."""
        return texts_fingerprint(self.texts)


def read_evaluation_texts(name: str, data_dir: str | Path | None = None, *, verify: bool = True) -> EvaluationTexts:
    """Read the texts of an evaluation set.

    Args:
        name: ``"XQuAD-R"`` or ``"MLQA-R"``: questions and candidate sentences. ``"MIRACL"``: queries and judged
            passages of every language in ``data_dir``. Or a file: a text a line (``.txt``), or JSONL, CSV, TSV or
            Parquet, of which all columns of text count but ``id`` and ``language``.
        data_dir: Folder with ``xquad-r/<language>.json`` and ``mlqa-r/<language>.json``, and MIRACL's own folders;
            XQuAD-R and MLQA-R are fetched if there is none, see :func:`~st_hybrid.evaluation.lareqa_folder`.
        verify: Refuse files of XQuAD-R and MLQA-R that are not the published ones.

    Returns:
        The texts.

    Raises:
        FileNotFoundError: There is neither such a set nor such a file.
        ValueError: A file is malformed or has no texts, or is not the published one.

    Example:
        ::

            from st_hybrid.data.evaluation_texts import read_evaluation_texts

            print(len(read_evaluation_texts("XQuAD-R", "data").texts))  # 26104
    """
    known = {published.lower(): published for published in (*PUBLISHED_COUNTS, MIRACL)}
    if name.lower() == MIRACL.lower():
        return _miracl(data_dir)
    if name.lower() in known:
        return _lareqa(known[name.lower()], data_dir, verify)
    if Path(name).is_file():
        return _file(Path(name))
    raise FileNotFoundError(f"{name} is neither a file nor one of the evaluation sets {', '.join(known.values())}.")


def _lareqa(name: str, data_dir: str | Path | None, verify: bool) -> EvaluationTexts:
    folder = lareqa_folder(name, data_dir, verify=verify)
    languages = None if verify else sorted(path.stem for path in folder.glob("*.json"))
    collection = read_lareqa(folder, languages, name=name)
    spoken = [collection.languages[number] for number in collection.query_languages.tolist()]
    questions = [f"{code} question {one}" for code, one in zip(spoken, collection.query_ids, strict=True)]
    sentences = [f"sentence {one}" for one in collection.passage_ids]
    return EvaluationTexts(
        name=name,
        ids=pa.array([*questions, *sentences], pa.large_string()),
        texts=pa.array([*collection.queries, *collection.passages], pa.large_string()),
        files={f"{code}.json": sha256(folder / f"{code}.json") for code in collection.languages},
    )


def _miracl(data_dir: str | Path | None) -> EvaluationTexts:
    languages = miracl_languages(data_dir) if data_dir else []
    if not languages:
        raise FileNotFoundError(
            f"{data_dir or 'No folder given: it'} holds no miracl-v1.0-<language>. Name the folder in MIRACL's "
            "official layout with --data-dir."
        )
    ids, texts = [], []
    for code in languages:
        part = read_miracl(str(data_dir), code)
        queries = part.queries.with_format("arrow")[:]
        judged = pa.array(sorted({one for passages in part.judgements.values() for one in passages}), pa.string())
        known = part.corpus.select_columns(["id"]).with_format("arrow")[:]["id"]
        where = pc.indices_nonzero(pc.is_in(known, value_set=judged))
        passages = part.corpus.select(where.to_numpy().astype(np.int64)).with_format("arrow")[:]
        for kind, table in (("query", queries), ("passage", passages)):
            ids += [f"{code} {kind} {one}" for one in table["id"].to_pylist()]
            texts += table["text"].to_pylist()
    return EvaluationTexts(MIRACL, pa.array(ids, pa.large_string()), pa.array(texts, pa.large_string()), {})


def _file(path: Path) -> EvaluationTexts:
    if path.suffix.lower() == ".txt":
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8: {error}.") from error
        columns = {"line": pa.array(lines, pa.large_string())}
    else:
        loader = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv"}.get(plain_suffix(path), "parquet")
        options = {"delimiter": "\t"} if plain_suffix(path) == ".tsv" else {}
        table = load_dataset(loader, data_files=str(path), split="train", **options).with_format("arrow")[:]
        columns = {
            name: table[name].cast(pa.large_string()).combine_chunks()
            for name in table.column_names
            if name not in ("id", "language")
            and (pa.types.is_string(table[name].type) or pa.types.is_large_string(table[name].type))
        }
    ids, texts = [], []
    for name, column in columns.items():
        there = pc.indices_nonzero(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(pc.fill_null(column, ""))), 0))
        ids += [f"{name} {number}" for number in there.to_pylist()]
        texts += column.take(there).to_pylist()
    if not texts:
        raise ValueError(f"{path} has no texts to compare with.")
    return EvaluationTexts(
        path.name, pa.array(ids, pa.large_string()), pa.array(texts, pa.large_string()), {path.name: sha256(path)}
    )
