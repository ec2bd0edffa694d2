"""Reader for MIRACL (Zhang et al. 2023, https://doi.org/10.1162/tacl_a_00595) in its official layout."""

import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Features, Value, load_dataset
from datasets.exceptions import DatasetGenerationError
from pyarrow import csv

SPLIT = "dev"

# fmt: off
# Number of dev queries and of passages in each language, as published.
PUBLISHED_COUNTS: dict[str, tuple[int, int]] = {
    "ar": (2896, 2061414), "bn": (411, 297265), "de": (305, 15866222), "en": (799, 32893221), "es": (648, 10373953),
    "fa": (632, 2207172), "fi": (1271, 1883509), "fr": (343, 14636953), "hi": (350, 506264), "id": (960, 1446315),
    "ja": (860, 6953614), "ko": (213, 1486752), "ru": (1252, 9543918), "sw": (482, 131924), "te": (828, 518079),
    "th": (733, 542166), "yo": (119, 49043), "zh": (393, 4934368),
}
# fmt: on

PAPER_LANGUAGES = ("sw", "bn", "hi", "ko", "th", "te", "fi", "ja", "es", "fr", "ru", "zh", "fa", "ar", "id")
"""The 15 languages over which the paper on hybrid batch training (arXiv 2408.10536) averages."""


@dataclass(frozen=True)
class MiraclLanguage:
    """One language of MIRACL."""

    corpus: Dataset  # columns id, title and text; memory-mapped from disk
    queries: Dataset  # those with judgements; columns id and text
    judgements: dict[str, dict[str, int]]  # 1 or 0, by query id and passage id


def miracl_languages(folder: str | Path) -> list[str]:
    """Languages with topics in a folder in MIRACL's official layout, sorted."""
    names = (path.name.removeprefix("miracl-v1.0-") for path in Path(folder).glob("miracl-v1.0-*"))
    return sorted(name for name in names if name.isalpha())


def read_miracl(folder: str | Path, language: str) -> MiraclLanguage:
    """Read one language from a folder in MIRACL's official layout.

    The layout is ``miracl-v1.0-<language>/topics/topics.miracl-v1.0-<language>-dev.tsv``, ``…/qrels/qrels.….tsv`` and
    ``miracl-corpus-v1.0-<language>/docs-<number>.jsonl.gz``. ``datasets`` converts the passages once to Arrow files in
    its cache, so a corpus of any size takes little memory. Errors name the file and the line.
    """
    base, corpus = Path(folder) / f"miracl-v1.0-{language}", Path(folder) / f"miracl-corpus-v1.0-{language}"
    topics, qrels = (base / kind / f"{kind}.{base.name}-{SPLIT}.tsv" for kind in ("topics", "qrels"))
    # docs-10 comes after docs-2, as in the published corpora.
    documents = sorted(corpus.glob("docs-*.jsonl.gz"), key=lambda path: (len(path.name), path.name))
    needed = (topics, qrels, *(documents or [corpus / "docs-0.jsonl.gz"]))
    if missing := [str(path) for path in needed if not path.is_file()]:
        raise FileNotFoundError(
            f"MIRACL, language {language}: not found: {', '.join(missing)}. Topics and qrels are published as "
            f"miracl/miracl and passages as miracl/miracl-corpus on the Hugging Face Hub."
        )

    judgements: dict[str, dict[str, int]] = {}
    for row in _read_tsv(qrels, ["query", "run", "passage", "relevance"]).to_pylist():
        if row["relevance"] not in ("0", "1"):
            raise ValueError(f"{qrels}: the relevance must be 0 or 1, not as in {row}.")
        judgements.setdefault(row["query"], {})[row["passage"]] = int(row["relevance"])

    queries = _read_tsv(topics, ["id", "text"])
    queries = queries.filter(pc.is_in(queries["id"], pa.array(judgements)))
    if not queries.num_rows:
        raise ValueError(f"{topics}: no query has a judgement in {qrels}.")
    return MiraclLanguage(_read_passages(documents), Dataset(queries), judgements)


def _read_tsv(path: Path, columns: list[str]) -> pa.Table:
    """Read a tab-separated file without header and quotes, all columns as text."""
    types = dict.fromkeys(columns, pa.string())
    try:
        return csv.read_csv(
            path,
            csv.ReadOptions(column_names=columns),
            csv.ParseOptions(delimiter="\t", quote_char=False),
            csv.ConvertOptions(column_types=types, strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a table of {len(columns)} tab-separated columns: {error}.") from error


def _read_passages(paths: list[Path]) -> Dataset:
    features = Features({"docid": Value("string"), "title": Value("string"), "text": Value("string")})
    cause: BaseException | str = "a value is missing"
    try:
        corpus = load_dataset("json", data_files=[str(path) for path in paths], split="train", features=features)
        if not any(column.null_count for column in corpus.data.columns):
            return corpus.rename_column("docid", "id")
    except (DatasetGenerationError, ValueError) as error:  # ValueError: there are no passages
        cause = error.__cause__ or error
    for path in paths:  # name the first line that is not a passage
        number = 0
        try:
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):  # noqa: B007 (the error names it)
                    passage = json.loads(line)
                    if not all(isinstance(passage.get(key), str) for key in ("docid", "title", "text")):
                        raise ValueError("docid, title and text must be strings")
        except (ValueError, EOFError, OSError, AttributeError, RecursionError, zlib.error) as error:
            raise ValueError(f"{path}, line {number}: no passage of MIRACL ({error}). Download it again.") from error
    raise ValueError(f"{paths[0].parent}: {cause}")
