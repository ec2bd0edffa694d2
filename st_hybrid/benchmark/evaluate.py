"""Evaluate models on XQuAD-R, MLQA-R, MIRACL and your own data: what ``st-hybrid evaluate`` does."""

# What is slow to import is imported where it is used: the command line reads the options without it.

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from st_hybrid.benchmark.compare import compare_scores
from st_hybrid.benchmark.scores_file import FIRST_10, MIRACL, PER_QUERY, ScoresFile, short_names
from st_hybrid.dtypes import Dtype
from st_hybrid.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

    from st_hybrid.encoders import Encoder
    from st_hybrid.evaluation import RetrievalCollection
    from st_hybrid.evaluation.results import MiraclScores, TaskScores
    from st_hybrid.tasks import ShardedSearch

logger = logging.getLogger(__name__)

Task = Literal["XQuAD-R", "MLQA-R", "MIRACL"]


def evaluate_tasks(
    model: Encoder | str,
    tasks: Sequence[Task],
    data_dir: str | Path | None,
    output: str | Path,
    *,
    data: Sequence[str | Path] = (),
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    language: str | None = None,
    model_name: str | None = None,
    centers: Sequence[str] = (),
    quotas: bool = False,
    verify: bool = True,
    sample: int | None = None,
    seed: int | None = None,
    batch_size: int = 32,
    dtype: Dtype | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    plots: str | Path | None = None,
    languages: Sequence[str] | None = None,
    embeddings_dir: str | Path | None = None,
    memory_gb: float | None = None,
    index_factory: str | None = None,
    index_parameters: str | None = None,
    show_progress_bar: bool = True,
) -> dict[str, TaskScores | MiraclScores]:
    """Evaluate a model on tasks or data; write the scores to a JSON file, and what each query found to files beside.

    The JSON file also tells what may be called ``zero_shot`` (:func:`~st_hybrid.data.zero_shot.zero_shot`).
    ``scores.per-query.parquet`` beside ``scores.json`` has a row per ``task``, ``variant`` (``"plain"``,
    ``"centered: …"`` or ``"quotas"``), query and pool, for :func:`~st_hybrid.evaluation.per_query.compare_queries`.
    ``scores.first-10.parquet`` has the first ten passages of each query in the pool of all languages, and those that
    are relevant, for :func:`write_browse_page`. The files are written after each task and each language of MIRACL, and
    keep the model's other tasks and languages.

    Args:
        model: The model: a folder or hub name. A SparseEncoder or MultiVectorEncoder cannot be centered, nor search
            MIRACL.
        tasks: Tasks to evaluate on.
        data_dir: Folder with ``xquad-r/<lang>.json``, ``mlqa-r/<lang>.json`` and MIRACL's official layout. By default
            the variable ``ST_HYBRID_DATA``; without it the data are downloaded.
        output: JSON file to write. Tasks that it already holds are kept.
        data: Data of your own, each as for :func:`~st_hybrid.data.open_collection`; evaluated under its name.
        columns: Map roles of parallel rows to their columns: ``{"query": "question"}``.
        split: Split of the data: of rows ``train`` by default, of BEIR's judgements ``test``.
        language: Language of the data's texts that have none.
        model_name: Name of the model in the file. By default the folder or hub name in ``model``.
        centers: Report also with language means subtracted: folders with means of ``st-hybrid center``, or
            ``evaluated`` for the means of the evaluated texts. Not for MIRACL.
        quotas: Report also what a quota per language gives in the pool of all languages: the first passage of each
            language, the second of each, and so on. Not for MIRACL.
        verify: Refuse XQuAD-R and MLQA-R files that are not the published ones.
        sample: Number of queries to draw, each in all its languages; the pool shrinks to their paragraphs. Not for
            MIRACL.
        seed: Seed of the sample (0 by default).
        batch_size: Texts per encoding batch.
        dtype: Type to compute in, for a model that is loaded here; by default that of its weights, usually float32. The
            file of scores names it; bfloat16 changes the fourth digit of a score.
        query_prompt: Text before each query; by default the model's own query prompt.
        document_prompt: Text before each passage; by default the model's own document prompt.
        plots: Folder for a figure per task of the languages that rank first. Not for MIRACL.
        languages: Languages to evaluate; by default all that were published, or that MIRACL's folder has.
        embeddings_dir: Folder to keep embeddings of MIRACL's passages in, and to read them from.
        memory_gb: Memory that the search in MIRACL's passages may take besides the model, in gigabytes (8 by default).
        index_factory: Search MIRACL approximately through this index of faiss, such as ``IVF4096,PQ48``.
        index_parameters: Search parameters of the index, such as ``nprobe=32``.
        show_progress_bar: Show the progress of encoding.

    Returns:
        The scores of each task that the JSON file holds.

    Raises:
        ValueError: An option has no effect on a task, data or means are not valid, or the file is of another model.
            Raised before anything is encoded, as is FileNotFoundError.

    Example:
        ::

            from st_hybrid.benchmark import evaluate_tasks

            scores = evaluate_tasks("intfloat/multilingual-e5-small", ["XQuAD-R"], None, "scores.json")
            print(scores["XQuAD-R"].multilingual.map)
    """
    search: dict[str, Any] = {"embeddings_dir": embeddings_dir, "memory_gb": memory_gb}
    search |= {"index_factory": index_factory, "index_parameters": index_parameters}
    search = {name: value for name, value in search.items() if value is not None}
    reading: dict[str, Any] = {"columns": columns or None, "split": split, "language": language}
    others = {"data": data or None, "sample": sample, "seed": seed, "centers": centers or None, "plots": plots}
    others |= {"quotas": quotas or None}
    given = {name for name, value in {**reading, **others}.items() if value is not None}
    _check_options(tasks, search, given | (set() if verify else {"verify=False"}))
    model_name = model_name or (model if isinstance(model, str) else None)
    if model_name is None:
        raise ValueError("Give model_name: the file of scores names the model.")

    from st_hybrid.data import open_collection
    from st_hybrid.encoders import dtype_of, load_encoder, require_dense
    from st_hybrid.evaluation import load_lareqa, score_queries
    from st_hybrid.evaluation.plots import plot_top_languages
    from st_hybrid.evaluation.results import CENTERED, PLAIN, QUOTAS, TaskScores
    from st_hybrid.evaluation.scoring import encode_collection
    from st_hybrid.methods.centering import LanguageCentering

    file = ScoresFile(Path(output), model_name)
    collections: dict[str, RetrievalCollection] = {}
    collections |= {task: load_lareqa(task, data_dir, languages, verify=verify) for task in tasks if task != MIRACL}
    for one in data:
        collection = open_collection(one, **reading, languages=languages, show_progress_bar=show_progress_bar)
        if collection.name in {*collections, *get_args(Task)}:
            raise ValueError(f"{collection.name} is the name of other data, too. Rename {one}.")
        collections[collection.name] = collection
    if sample is not None:
        collections = {task: whole.sample(sample, seed=seed or 0) for task, whole in collections.items()}
    centerings: dict[str, Any] = {
        name: name if name == "evaluated" else LanguageCentering.from_pretrained(name) for name in centers
    }
    for means in (part for part in centerings.values() if isinstance(part, LanguageCentering)):
        for collection in collections.values():  # refuses a language without a mean before anything is encoded
            means.known_as([code for code, number in collection.query_counts.items() if number], "query")
            means.known_as([code for code, number in collection.passage_counts.items() if number], "document")
    if isinstance(model, str):
        model = load_encoder(model, dtype=dtype)
    elif dtype is not None:
        raise ValueError("dtype has no effect on a model that is loaded. Use load_encoder(name, dtype=...).")
    if centers:
        require_dense(model, "Centering")
    file.computed_in(dtype_of(model))
    prompts: dict[str, Any] = {"query_prompt": query_prompt, "document_prompt": document_prompt}
    encoding: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
    of_miracl: Sequence[str] = []
    if MIRACL in tasks:
        from st_hybrid.tasks import ShardedSearch
        from st_hybrid.tasks.miracl_task import available_languages
        from st_hybrid.tasks.mteb_encoder import wrap_model

        available = available_languages(data_dir)
        of_miracl = languages or available
        if missing := [code for code in of_miracl if code not in available]:
            raise ValueError(f"MIRACL: the data have no language {missing[0]!r}, only {', '.join(available)}.")
        sharded = ShardedSearch(wrap_model(model, **prompts), **search)

    for task, collection in collections.items():
        began = time.perf_counter()
        embeddings = encode_collection(model, collection, **prompts, **encoding)
        encoded = time.perf_counter()
        ways: dict[str, dict[str, Any]] = {PLAIN: {}}
        ways |= {CENTERED.format(name): {"centering": centering} for name, centering in centerings.items()}
        ways |= {QUOTAS: {"quotas": True}} if quotas else {}
        variants = {
            name: score_queries(*embeddings, collection, similarity=model.similarity_fn_name, **way)
            for name, way in ways.items()
        }
        summaries = {name: of_queries.summary() for name, of_queries in variants.items()}
        scores = TaskScores(
            **vars(summaries[PLAIN]),
            centered={name: summaries[CENTERED.format(name)] for name in centerings},
            quotas=summaries.get(QUOTAS),
            seconds={"encoding": round(encoded - began, 1), "scoring": round(time.perf_counter() - encoded, 1)},
            sample=None if sample is None else {"queries": sample, "seed": seed or 0},
        )
        tables = {name: part.table() for name, part in variants.items()}
        first = {name: part.first_passages() for name, part in variants.items()}
        file.add(task, scores, {PER_QUERY: tables, FIRST_10: first})
        if plots is not None:
            shares = {name: variant.top_10_languages for name, variant in scores.variants.items()}
            title = f"{task}, {Path(model_name).name}: languages of the first 10 in the pool of all languages"
            path = Path(plots) / f"{task.lower()}-top-10-languages.png"
            plot_top_languages(shares, scores.counts.passages, path, title=title)
    for code in of_miracl:
        of_languages, rows = _score_miracl(sharded, code, data_dir, encoding, file.tasks.get(MIRACL))
        file.add(MIRACL, of_languages, {PER_QUERY: {PLAIN: rows}}, code)
    return file.tasks


def evaluate_models(
    models: Sequence[str], tasks: Sequence[Task], data_dir: str | Path | None, output: str | Path, **options: Any
) -> dict[str, dict[str, TaskScores | MiraclScores]]:
    """Evaluate several models, each into a file of its own, and write a page that puts them side by side.

    A model that fails does not stop the others.

    Args:
        models: Folders or hub names.
        tasks: As for :func:`evaluate_tasks`.
        data_dir: As for :func:`evaluate_tasks`.
        output: Folder for a file ``<model>.json`` per model, and ``comparison.md``.
        **options: Further arguments of :func:`evaluate_tasks`.

    Returns:
        The scores of each model.

    Raises:
        ValueError: A model failed; raised after the others are done. Or a model is given twice.
    """
    if len(set(models)) != len(models):
        raise ValueError("A model is given twice. Name each once.")
    stems = [name.strip("/").replace("/", "-") for name in short_names(models)]
    done: dict[Path, dict[str, Any]] = {}
    failed: dict[str, Exception] = {}
    for model, stem in zip(models, stems, strict=True):
        path = Path(output) / f"{stem}.json"
        try:
            done[path] = evaluate_tasks(model, tasks, data_dir, path, **options)
        except Exception as error:
            logger.error("%s: %s", model, error)
            failed[model] = error
            continue
        with replacing(Path(output) / "comparison.md") as page:
            page.write_text(compare_scores(list(done)), encoding="utf-8")
    if not done and len(set(map(str, failed.values()))) == 1:  # not a fault of the models
        raise next(iter(failed.values()))
    if failed:
        reasons = " ".join(f"{model}: {error}" for model, error in failed.items())
        raise ValueError(
            f"{len(failed)} of {len(models)} models failed, and {output} has the scores of {len(done)}. {reasons}"
        ) from next(iter(failed.values()))
    return dict(zip(models, done.values(), strict=True))


def _check_options(tasks: Sequence[str], search: Mapping[str, Any], given: set[str]) -> None:
    """Refuse options without an effect."""
    if not tasks and "data" not in given:
        raise ValueError("There is nothing to evaluate on. Name a task or data.")
    needs = {"seed": "sample", "columns": "data", "split": "data", "language": "data"}
    if useless := [option for option, needed in needs.items() if option in given and needed not in given]:
        raise ValueError(f"{useless[0]} has no effect without {needs[useless[0]]}. Leave it out, or give both.")
    if MIRACL not in tasks and search:
        raise ValueError(f"{', '.join(search)} can only be used with MIRACL, which is not among the tasks.")
    if "verify=False" in given and not set(tasks) - {MIRACL}:
        raise ValueError("verify=False has no effect without XQuAD-R or MLQA-R. Leave it out.")
    if MIRACL in tasks and (useless := sorted(given & {"sample", "centers", "quotas", "plots"})):
        raise ValueError(f"{useless[0]} has no effect on MIRACL. Leave it out, or evaluate MIRACL on its own.")


def _score_miracl(
    search: ShardedSearch, language: str, data_dir: str | Path | None, encoding: dict[str, Any], before: Any
) -> tuple[MiraclScores, pa.Table]:
    """The scores before with those of a language, and those of its queries."""
    from st_hybrid.evaluation.results import MiraclLanguageScores, MiraclMeans, MiraclScores
    from st_hybrid.tasks.means import mean_scores
    from st_hybrid.tasks.miracl_task import score_language

    began = time.perf_counter()
    measured, rows = score_language(search, language, data_dir, encode_kwargs=encoding)
    scores = MiraclLanguageScores(**measured, seconds=round(time.perf_counter() - began, 1))
    per_language = {**(before.per_language if before else {}), language: scores}
    means = mean_scores(MIRACL, {code: asdict(part) for code, part in per_language.items()}).items()
    return MiraclScores(per_language=per_language, means={name: MiraclMeans(**m) for name, m in means}), rows
