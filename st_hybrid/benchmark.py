"""Measure a model on evaluation sets and write the scores: what ``st-hybrid evaluate`` does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from st_hybrid.evaluation import (
    PUBLISHED_COUNTS,
    RetrievalCollection,
    check_counts,
    lareqa_folder,
    read_lareqa,
    score_queries,
)
from st_hybrid.evaluation.per_query import earlier_rows, named_rows, per_query_path
from st_hybrid.evaluation.plots import plot_top_languages
from st_hybrid.evaluation.scoring import TOP_LANGUAGES, encode_collection
from st_hybrid.methods.centering import LanguageCentering
from st_hybrid.provenance import provenance
from st_hybrid.score_tables import AS_IT_IS, variants_of

if TYPE_CHECKING:
    from mteb import EncoderProtocol
    from sentence_transformers import SentenceTransformer

#: The ``center`` that takes the means of the evaluated texts.
EVALUATED: Literal["evaluated"] = "evaluated"
MIRACL = "MIRACL"


@dataclass(frozen=True)
class CorpusSearch:
    """How the passages of MIRACL are searched; see :class:`~st_hybrid.tasks.ShardedSearch`.

    Args:
        languages: Languages to evaluate; by default all of a folder, or all 18.
        embeddings_dir: Folder to keep embeddings in, and to read them from.
        memory_gb: Memory that the search may take beside the model.
        index_factory: Search approximately through this index of faiss.
        index_parameters: Search parameters of the index.
    """

    languages: Sequence[str] = ()
    embeddings_dir: str | Path | None = None
    memory_gb: float = 8.0
    index_factory: str | None = None
    index_parameters: str = ""


def evaluate_tasks(
    model: SentenceTransformer,
    tasks: Sequence[str],
    data_dir: str | Path | None,
    output: str | Path,
    *,
    model_name: str,
    centers: Sequence[str] = (),
    published_counts: bool = True,
    sample: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    plots: str | Path | None = None,
    corpus_search: CorpusSearch | None = None,
    show_progress_bar: bool = True,
) -> dict[str, Any]:
    """Measure a model on tasks and write a JSON file of all scores, and the scores of each query beside it.

    The file holds ``model``, what :func:`~st_hybrid.provenance.provenance` says, and ``tasks``; ``tasks.<name>`` holds
    what :func:`~st_hybrid.evaluation.score_embeddings` gives, the ``seconds`` that encoding and scoring took, and under
    ``centered`` the same scores with language means subtracted. ``tasks.MIRACL`` holds ``ndcg_at_10`` and
    ``recall_at_100`` of each language under ``per_language``, their means over ``all`` of them and over the 15 of the
    ``paper`` (arXiv 2408.10536) under ``means``; it is written after each language, and languages that it held stay.

    Beside ``scores.json`` lies ``scores.per-query.parquet``: for each ``task``, ``variant`` (``"as it is"``, or the
    name of a centring), query and pool a row, with the columns of :meth:`~st_hybrid.evaluation.QueryScores.table`.
    :func:`~st_hybrid.evaluation.per_query.compare_queries` puts two such files side by side. Both are written after each task, and
    other tasks of the same model that they held before stay.

    Args:
        model: The model.
        tasks: ``"XQuAD-R"``, ``"MLQA-R"``, ``"MIRACL"``.
        data_dir: Folder with ``xquad-r/<lang>.json``, ``mlqa-r/<lang>.json`` and MIRACL's official layout; by default
            the variable ``ST_HYBRID_DATA``, or else the data are fetched from their public homes.
        output: The JSON file.
        model_name: What the file calls the model.
        centers: Ways of centring to report besides: ``"evaluated"`` for the means of the evaluated texts themselves, or
            a folder of :meth:`LanguageCentering.save_pretrained`.
        published_counts: Refuse data whose numbers of questions and sentences are not the published ones.
        sample: Only so many questions, see :meth:`RetrievalCollection.sample`.
        seed: Seed of the sample.
        batch_size: Texts encoded at once.
        query_prompt: Put before queries; by default the model's own query prompt.
        document_prompt: Put before candidates; by default the model's own document prompt.
        plots: Folder for a picture of each task, ``<task>-top-10-languages.png``: heat maps of
            :func:`~st_hybrid.evaluation.plots.plot_top_languages`.
        corpus_search: How MIRACL is searched.
        show_progress_bar: Show the progress of encoding.

    Returns:
        What the JSON file holds.

    Raises:
        ValueError: A task is not known, data or means are not valid, or a file that is there
            already holds something else; before any encoding.
        FileNotFoundError: Data of a language, or the means, are not there.

    Example:
        ::

            from sentence_transformers import SentenceTransformer
            from st_hybrid.benchmark import evaluate_tasks

            model = SentenceTransformer("intfloat/multilingual-e5-small")
            evaluate_tasks(model, ["XQuAD-R"], "data", "scores.json", model_name="multilingual-e5-small")
    """
    output = Path(output)
    known = (*PUBLISHED_COUNTS, MIRACL)
    if unknown := [task for task in tasks if task not in known]:
        raise ValueError(f"The task must be one of {', '.join(known)}, got {unknown[0]!r}.")
    collections = {task: _load(task, data_dir, published_counts) for task in tasks if task != MIRACL}
    if sample:
        collections = {task: collection.sample(sample, seed=seed) for task, collection in collections.items()}
    centerings = {name: name if name == EVALUATED else LanguageCentering.from_pretrained(name) for name in centers}
    output.parent.mkdir(parents=True, exist_ok=True)
    if plots is not None:
        Path(plots).mkdir(parents=True, exist_ok=True)
    results = _earlier(output, model_name)
    rows = earlier_rows(output, model_name, list(results["tasks"]))
    for task, collection in collections.items():
        began = time.perf_counter()
        embeddings = encode_collection(
            model,
            collection,
            batch_size=batch_size,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            show_progress_bar=show_progress_bar,
        )
        encoded = time.perf_counter()
        similarity = model.similarity_fn_name
        queries = {
            name: score_queries(*embeddings, collection, similarity=similarity, centering=centering)
            for name, centering in {AS_IT_IS: None, **centerings}.items()
        }
        summaries = {name: part.summary() for name, part in queries.items()}
        scores = summaries.pop(AS_IT_IS)
        scores["centered"] = summaries
        scores["seconds"] = {
            "encoding": round(encoded - began, 1),
            "scoring": round(time.perf_counter() - encoded, 1),
        }
        if sample:
            scores["sample"] = {"questions": sample, "seed": seed}
        results["tasks"][task] = scores
        rows[task] = pa.concat_tables(named_rows(part.table(), task, name) for name, part in queries.items())
        _write(output, results, rows)
        if plots is not None:
            plot_top_languages(
                {name: part[TOP_LANGUAGES] for name, part in variants_of(scores).items()},
                scores["counts"]["candidates"],
                Path(plots) / f"{task.lower()}-top-10-languages.png",
                title=f"{task}, {Path(model_name).name}: languages of the first ten in the pool of all languages",
            )
    if MIRACL in tasks:
        from st_hybrid.tasks.mteb_encoder import wrap_model

        _evaluate_miracl(
            wrap_model(model, query_prompt=query_prompt, document_prompt=document_prompt),
            data_dir,
            corpus_search or CorpusSearch(),
            output,
            results,
            rows,
            encode_kwargs={"batch_size": batch_size, "show_progress_bar": show_progress_bar},
        )
    return results


def _evaluate_miracl(
    model: EncoderProtocol,
    data_dir: str | Path | None,
    how: CorpusSearch,
    output: Path,
    results: dict[str, Any],
    rows: dict[str, pa.Table],
    *,
    encode_kwargs: dict[str, Any],
) -> None:
    """Measure each language and write it; languages that the file held stay."""
    from st_hybrid.tasks.means import mean_scores
    from st_hybrid.tasks.miracl_task import available_languages, score_language
    from st_hybrid.tasks.sharded_search import ShardedSearch

    search = ShardedSearch(
        model,
        embeddings_dir=how.embeddings_dir,
        memory_gb=how.memory_gb,
        index_factory=how.index_factory,
        index_parameters=how.index_parameters,
    )
    task = results["tasks"].setdefault(MIRACL, {"per_language": {}})
    kept = rows.get(MIRACL)
    for language in how.languages or available_languages(data_dir):
        began = time.perf_counter()
        scores, table = score_language(search, language, data_dir, encode_kwargs=encode_kwargs)
        scores["seconds"] = round(time.perf_counter() - began, 1)
        task["per_language"][language] = scores
        task["means"] = mean_scores(task["per_language"])
        parts = [] if kept is None else [kept.filter(pc.field("query_language") != language)]
        kept = pa.concat_tables([*parts, named_rows(table, MIRACL, AS_IT_IS)], promote_options="default")
        rows[MIRACL] = kept
        _write(output, results, rows)


def _load(task: str, data_dir: str | Path | None, published_counts: bool) -> RetrievalCollection:
    folder = lareqa_folder(task, data_dir, verify=published_counts)
    languages = None if published_counts else sorted(path.stem for path in folder.glob("*.json"))
    collection = read_lareqa(folder, languages, name=task)
    if published_counts:
        check_counts(collection)
    return collection


def _write(output: Path, results: dict[str, Any], rows: dict[str, pa.Table]) -> None:
    """Write the scores and those of each query; each file is replaced whole."""
    with _replacing(per_query_path(output)) as file:
        table = pa.concat_tables(rows.values(), promote_options="default")
        pq.write_table(table.replace_schema_metadata({"model": results["model"]}), file, compression="zstd")
    with _replacing(output) as file:
        file.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _earlier(output: Path, model_name: str) -> dict[str, Any]:
    """What the file holds of the same model, or a new beginning."""
    results: dict[str, Any] = {}
    if output.is_file():
        results = json.loads(output.read_text(encoding="utf-8"))
        if results.get("model") != model_name:
            raise ValueError(f"{output} holds the scores of {results.get('model')!r}. Choose another file.")
    return {
        "model": model_name,
        **provenance(),
        "tasks": results.get("tasks", {}),
    }


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of ``path`` only when all is written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
