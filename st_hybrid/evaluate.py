"""Measure a model on evaluation sets and write the scores: what ``st-hybrid evaluate`` does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from st_hybrid.centering import LanguageCentering
from st_hybrid.plots import plot_top_languages
from st_hybrid.provenance import provenance
from st_hybrid.retrieval import (
    PUBLISHED_COUNTS,
    SETTINGS,
    RetrievalCollection,
    check_counts,
    read_lareqa,
    score_queries,
)
from st_hybrid.retrieval.evaluation import PEER, TOP_LANGUAGES, encode_collection

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

#: The ``center`` that takes the means of the evaluated texts.
EVALUATED: Literal["evaluated"] = "evaluated"
#: The variant of a model that nothing was subtracted from.
AS_IT_IS = "as it is"
#: What tells apart the rows of a file of per-query scores.
KEYS = ("task", "variant", "query_id", "query_language", "pool")


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
    show_progress_bar: bool = True,
) -> dict[str, Any]:
    """Measure a model on tasks and write a JSON file of all scores, and the scores of each query beside it.

    The file holds ``model``, what :func:`~st_hybrid.provenance.provenance` says, and ``tasks``; ``tasks.<name>`` holds
    what :func:`~st_hybrid.retrieval.score_embeddings` gives, the ``seconds`` that encoding and scoring took, and under
    ``centered`` the same scores with language means subtracted.

    Beside ``scores.json`` lies ``scores.per-query.parquet``: for each ``task``, ``variant`` (``"as it is"``, or the
    name of a centring), query and pool a row, with the columns of :meth:`~st_hybrid.retrieval.QueryScores.table`.
    :func:`compare_queries` puts two such files side by side. Both are written after each task, and other tasks of the
    same model that they held before stay.

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
        plots: Folder for a picture of each task, ``<task>-top-10-languages.png``: heat maps of
            :func:`~st_hybrid.plots.plot_top_languages`.
        show_progress_bar: Show the progress of encoding.

    Returns:
        What the JSON file holds.

    Raises:
        ValueError: A task is not known, ``data_dir`` is missing, data or means are not valid, or a file that is there
            already holds something else; before any encoding.
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
    if plots is not None:
        Path(plots).mkdir(parents=True, exist_ok=True)
    results = _earlier(output, model_name)
    rows = _earlier_rows(output, model_name, list(results["tasks"]))
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
        rows[task] = pa.concat_tables(_named(part.table(), task, name) for name, part in queries.items())
        with _replacing(per_query_path(output)) as file:
            table = pa.concat_tables(rows.values(), promote_options="default")
            pq.write_table(table.replace_schema_metadata({"model": model_name}), file, compression="zstd")
        with _replacing(output) as file:
            file.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if plots is not None:
            plot_top_languages(
                {name: part[TOP_LANGUAGES] for name, part in _variants(scores).items()},
                scores["counts"]["candidates"],
                Path(plots) / f"{task.lower()}-top-10-languages.png",
                title=f"{task}, {Path(model_name).name}: languages of the first ten in the pool of all languages",
            )
    return results


def per_query_path(output: str | Path) -> Path:
    """Where the scores of each query go: ``scores.per-query.parquet`` beside ``scores.json``."""
    return Path(output).with_name(f"{Path(output).stem}.per-query.parquet")


def compare_queries(
    a: str | Path | pa.Table,
    b: str | Path | pa.Table,
    measure: str = "map",
    *,
    variants: tuple[str, str] | None = None,
) -> pa.Table:
    """Put the scores of two runs side by side, query by query: for paired tests, and to read what changed.

    Args:
        a: A file of per-query scores that :func:`evaluate_tasks` wrote, or such a table; it may be filtered.
        b: Another one, with the same queries and pools.
        measure: Column to compare; rows without a value are left out, so ``"rank_distance"`` and ``"peer_at_20"`` give
            those of the pool of all languages.
        variants: Compare this variant of ``a`` with that variant of ``b``. By default each variant with the one of the
            same name, and both must have the same ones.

    Returns:
        A table with ``task``, ``variant`` (unless ``variants`` are given), ``query_id``, ``query_language`` and
        ``pool``, in this order of sorting, and the values ``a`` and ``b``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The measure is not there, or the two do not hold the same queries.

    Example:
        ::

            import pyarrow.compute as pc
            from st_hybrid.evaluate import compare_queries

            pairs = compare_queries("plain.per-query.parquet", "hybrid.per-query.parquet")
            pairs = pairs.filter((pc.field("pool") == "multi") & (pc.field("query_language") == "de"))
            print(pc.mean(pc.subtract(pairs["b"], pairs["a"])))
    """
    keys = [key for key in KEYS if variants is None or key != "variant"]
    sides = []
    for number, (name, given) in enumerate((("a", a), ("b", b))):
        table = given if isinstance(given, pa.Table) else _read_rows(Path(given))
        if measure not in table.column_names or measure in KEYS:
            measures = [column for column in table.column_names if column not in KEYS]
            raise ValueError(f"Run {name} has no measure {measure!r}. It has {', '.join(measures)}.")
        if variants is not None:
            table = table.filter(pc.field("variant") == variants[number])
            if not table.num_rows:
                raise ValueError(f"Run {name} has no variant {variants[number]!r}.")
        side = table.select([*keys, measure]).rename_columns([*keys, name])
        sides.append(side.filter(pc.field(name).is_valid()).sort_by([(key, "ascending") for key in keys]))
    first, second = sides
    if not first.select(keys).equals(second.select(keys)):
        lacks = []
        for name, side, other in (("a", first, second), ("b", second, first)):
            missing = other.select(keys).join(side.select(keys), keys=keys, join_type="left anti")
            if missing.num_rows:
                example = missing.sort_by([(key, "ascending") for key in keys]).slice(0, 1).to_pylist()[0]
                row = ", ".join(map(str, example.values()))
                lacks.append(f"run {name} lacks {missing.num_rows:,} rows of the other, such as ({row})")
        raise ValueError(f"The runs do not hold the same queries: {'; '.join(lacks) or 'rows are repeated'}.")
    return first.append_column("b", second["b"])


def print_scores(results: dict[str, Any], console: Console) -> None:
    """Print the tables of a task: the measures of the three settings, and the languages of the first ten.

    Args:
        results: What :func:`evaluate_tasks` gives.
        console: Where to print.
    """
    labels = {
        "map": "mAP",
        "recall_at_1": "recall@1",
        "recall_at_10": "recall@10",
        "ndcg_at_10": "nDCG@10",
        "mrr_at_10": "MRR@10",
    }
    for task, scores in results["tasks"].items():
        counts = scores["counts"]
        table = Table(
            title=f"{task}: {sum(counts['queries'].values()):,} questions, "
            f"{sum(counts['candidates'].values()):,} candidates, {len(counts['queries'])} languages",
            caption="Mo.: pool in the query's language. Cr.: in one other language. Mul.: in all languages. "
            "Rank distance: language bias, lower is better. PEER: language fairness of the first 20 in all languages, "
            "about .5 where the order has nothing to do with language.",
        )
        table.add_column("", overflow="fold")
        table.add_column("", no_wrap=True)
        for header in ("Mo.", "Cr.", "Mul.", "rank distance", "PEER"):
            table.add_column(header, justify="right", no_wrap=True)
        for name, part in _variants(scores).items():
            once = [
                f"{part['rank_distance']:,.0f}" if "rank_distance" in part else "",
                _decimals(part.get("multilingual", {}).get(PEER)),
            ]
            for measure, label in labels.items():
                cells = [_decimals(part.get(setting, {}).get(measure)) for setting in SETTINGS]
                table.add_row(name, label, *cells, *once, end_section=label == "MRR@10")
                name, once = "", ["", ""]
        console.print(table)
        for name, part in _variants(scores).items():
            if part.get(TOP_LANGUAGES):
                title = f"{task}, {name}: languages of the first ten by language of the question, in per cent"
                console.print(title, markup=False, highlight=False)
                console.print(_top_languages_table(part))


def _decimals(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _top_languages_table(scores: dict[str, Any]) -> Table:
    pool = scores["counts"]["candidates"]
    table = Table("")
    for language in pool:
        table.add_column(language, justify="right", no_wrap=True)
    for language, shares in scores[TOP_LANGUAGES].items():
        table.add_row(language, *(f"{100 * shares[other]:.0f}" for other in pool))
    table.add_section()
    table.add_row("pool", *(f"{100 * count / sum(pool.values()):.0f}" for count in pool.values()))
    return table


def _variants(scores: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The scores of a task, and those with language means subtracted, under names for people."""
    names = list(scores["centered"])
    short = [Path(name).name for name in names]
    labels = short if len(set(short)) == len(short) else names
    centred = {f"centred: {label}": scores["centered"][name] for label, name in zip(labels, names, strict=True)}
    return {AS_IT_IS: scores, **centred}


def _named(table: pa.Table, task: str, variant: str) -> pa.Table:
    for place, (column, value) in enumerate((("task", task), ("variant", variant))):
        table = table.add_column(place, column, pa.repeat(pa.scalar(value), table.num_rows))
    return table


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


def _earlier_rows(output: Path, model_name: str, tasks: Sequence[str]) -> dict[str, pa.Table]:
    """What the file of per-query scores holds of tasks of the same model."""
    path = per_query_path(output)
    if not path.is_file():
        return {}
    table = _read_rows(path)
    found = (table.schema.metadata or {}).get(b"model", b"").decode()
    if found != model_name:
        raise ValueError(f"{path} holds the scores of {found!r}. Choose another file.")
    return {task: table.filter(pc.field("task") == task) for task in tasks}


def _read_rows(path: Path) -> pa.Table:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a Parquet file: {error}. Remove it, or choose another file.") from error
    if lacking := [key for key in KEYS if key not in table.column_names]:
        raise ValueError(f"{path} does not hold per-query scores: it lacks {', '.join(lacking)}.")
    return table


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of ``path`` only when all is written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
