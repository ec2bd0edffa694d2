"""Measure a model on evaluation sets and write the scores: what ``st-hybrid evaluate`` does."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table

from st_hybrid.centering import LanguageCentering
from st_hybrid.provenance import provenance
from st_hybrid.retrieval import (
    PUBLISHED_COUNTS,
    SETTINGS,
    RetrievalCollection,
    check_counts,
    read_lareqa,
    score_embeddings,
)
from st_hybrid.retrieval.evaluation import encode_collection

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

#: The ``center`` that takes the means of the evaluated texts.
EVALUATED: Literal["evaluated"] = "evaluated"


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
    show_progress_bar: bool = True,
) -> dict[str, Any]:
    """Measure a model on tasks and write a JSON file of all scores.

    The file holds ``model``, what :func:`~st_hybrid.provenance.provenance` says, and ``tasks``; ``tasks.<name>`` holds
    what :func:`~st_hybrid.retrieval.score_embeddings` gives, the ``seconds`` that encoding and scoring took, and under
    ``centered`` the same scores with language means subtracted. It is written after each task, and other tasks of the
    same model that it held before stay.

    Args:
        model: The model.
        tasks: ``"XQuAD-R"``, ``"MLQA-R"``.
        data_dir: Folder with ``xquad-r/<lang>.json`` and ``mlqa-r/<lang>.json``.
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
        show_progress_bar: Show the progress of encoding.

    Returns:
        What the file holds.

    Raises:
        ValueError: A task is not known, ``data_dir`` is missing, or data or means are not valid; before any encoding.
        FileNotFoundError: Data of a language, or the means, are not there.

    Example:
        ::

            from sentence_transformers import SentenceTransformer
            from st_hybrid.evaluate import evaluate_tasks

            model = SentenceTransformer("intfloat/multilingual-e5-small")
            evaluate_tasks(model, ["XQuAD-R"], "data", "scores.json", model_name="multilingual-e5-small")
    """
    output = Path(output)
    collections = {task: _load(task, data_dir, published_counts) for task in tasks}
    if sample:
        collections = {task: collection.sample(sample, seed=seed) for task, collection in collections.items()}
    centerings = {name: name if name == EVALUATED else LanguageCentering.from_pretrained(name) for name in centers}
    output.parent.mkdir(parents=True, exist_ok=True)
    results = _earlier(output, model_name)
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
        scores = score_embeddings(*embeddings, collection, similarity=similarity)
        scores["centered"] = {
            name: score_embeddings(*embeddings, collection, similarity=similarity, centering=centering)
            for name, centering in centerings.items()
        }
        scores["seconds"] = {
            "encoding": round(encoded - began, 1),
            "scoring": round(time.perf_counter() - encoded, 1),
        }
        if sample:
            scores["sample"] = {"questions": sample, "seed": seed}
        results["tasks"][task] = scores
        output.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return results


def print_scores(results: dict[str, Any], console: Console) -> None:
    """Print one table a task: mAP and recall of the three settings, and the rank distance.

    Args:
        results: What :func:`evaluate_tasks` gives.
        console: Where to print.
    """
    for task, scores in results["tasks"].items():
        counts = scores["counts"]
        table = Table(
            title=f"{task}: {sum(counts['queries'].values()):,} questions, "
            f"{sum(counts['candidates'].values()):,} candidates, {len(counts['queries'])} languages",
            caption="Mo.: pool in the query's language. Cr.: in one other language. Mul.: in all languages. "
            "Rank distance: language bias, lower is better.",
        )
        table.add_column("", overflow="fold")
        table.add_column("", no_wrap=True)
        for header in ("Mo.", "Cr.", "Mul.", "rank distance"):
            table.add_column(header, justify="right", no_wrap=True)
        centered = {f"centred: {Path(name).name}": part for name, part in scores["centered"].items()}
        variants = {"as it is": scores, **centered}
        for name, part in variants.items():
            distance = f"{part['rank_distance']:,.0f}" if "rank_distance" in part else ""
            for measure, label in (("map", "mAP"), ("recall_at_1", "recall@1"), ("recall_at_10", "recall@10")):
                cells = [f"{part[setting][measure]:.3f}" if setting in part else "" for setting in SETTINGS]
                table.add_row(name, label, *cells, distance, end_section=measure == "recall_at_10")
                name = distance = ""
        console.print(table)


def _load(task: str, data_dir: str | Path | None, published_counts: bool) -> RetrievalCollection:
    if task not in PUBLISHED_COUNTS:
        raise ValueError(f"The task must be one of {', '.join(PUBLISHED_COUNTS)}, got {task!r}.")
    if data_dir is None:
        raise ValueError(
            f"Where is the data of {task}? Name the folder that holds {task.lower()}/<lang>.json with --data-dir or in "
            "the variable ST_HYBRID_DATA. The files are published in the repository google-research-datasets/lareqa."
        )
    folder = Path(data_dir) / task.lower()
    languages = None if published_counts else sorted(path.stem for path in folder.glob("*.json"))
    collection = read_lareqa(folder, languages, name=task)
    if published_counts:
        check_counts(collection)
    return collection


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
