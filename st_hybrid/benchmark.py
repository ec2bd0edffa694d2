"""Evaluate a model on XQuAD-R, MLQA-R and MIRACL: what ``st-hybrid evaluate`` does."""

# What is slow to import is imported where it is used: the command line reads the options without it.

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Column, Table

from st_hybrid.files import replacing, write_json

if TYPE_CHECKING:
    import pyarrow as pa

    from st_hybrid.encoders import Encoder
    from st_hybrid.evaluation.results import MiraclScores, RetrievalScores, TaskScores
    from st_hybrid.tasks import ShardedSearch

__all__ = ["evaluate_tasks", "print_scores"]

Task = Literal["XQuAD-R", "MLQA-R", "MIRACL"]
MIRACL = "MIRACL"
_CAPTION = """Mo.: pool in the query's language. Cr.: in one other language. Mul.: in all languages.
Rank distance: language bias, lower is better. PEER: language fairness of the first 20 in all languages,
about .5 where the order does not depend on language."""


def evaluate_tasks(
    model: Encoder | str,
    tasks: Sequence[Task],
    data_dir: str | Path | None,
    output: str | Path,
    *,
    model_name: str | None = None,
    centers: Sequence[str] = (),
    verify: bool = True,
    sample: int | None = None,
    seed: int | None = None,
    batch_size: int = 32,
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
    """Evaluate a model on tasks; write the scores to a JSON file, and those of each query to a file beside it.

    The JSON file also tells what may be called ``zero_shot`` (:func:`~st_hybrid.data.zero_shot.zero_shot`).
    ``scores.per-query.parquet`` beside ``scores.json`` has a row per ``task``, ``variant`` (``"plain"`` or
    ``"centered: …"``), query and pool, for :func:`~st_hybrid.evaluation.per_query.compare_queries`. Both are written
    after each task and each language of MIRACL, and keep the model's other tasks and languages.

    Args:
        model: The model: a folder or hub name. A SparseEncoder or MultiVectorEncoder cannot be centered, nor search
            MIRACL.
        tasks: Tasks to evaluate on.
        data_dir: Folder with ``xquad-r/<lang>.json``, ``mlqa-r/<lang>.json`` and MIRACL's official layout. By default
            the variable ``ST_HYBRID_DATA``; without it the data are downloaded.
        output: JSON file to write. Tasks that it already holds are kept.
        model_name: Name of the model in the file. By default the folder or hub name in ``model``.
        centers: Report also with language means subtracted: folders with means of ``st-hybrid center``, or
            ``evaluated`` for the means of the evaluated texts. Not for MIRACL.
        verify: Refuse XQuAD-R and MLQA-R files that are not the published ones.
        sample: Number of queries to draw, each in all its languages; the pool shrinks to their paragraphs. Not for
            MIRACL.
        seed: Seed of the sample (0 by default).
        batch_size: Texts per encoding batch.
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
    given = {"sample": sample is not None, "centers": bool(centers), "plots": plots is not None}
    _check_options(tasks, search, {**given, "seed": seed is not None, "verify=False": not verify})
    model_name = model_name or (model if isinstance(model, str) else None)
    if model_name is None:
        raise ValueError("Give model_name: the file of scores names the model.")

    from st_hybrid.encoders import load_encoder, require_dense
    from st_hybrid.evaluation import load_lareqa, score_queries
    from st_hybrid.evaluation.plots import plot_top_languages
    from st_hybrid.evaluation.results import TaskScores
    from st_hybrid.evaluation.scoring import encode_collection
    from st_hybrid.methods.centering import LanguageCentering

    file = _ScoresFile(Path(output), model_name)
    collections = {task: load_lareqa(task, data_dir, languages, verify=verify) for task in tasks if task != MIRACL}
    if sample is not None:
        collections = {task: whole.sample(sample, seed=seed or 0) for task, whole in collections.items()}
    centerings: dict[str, Any] = {
        name: name if name == "evaluated" else LanguageCentering.from_pretrained(name) for name in centers
    }
    if isinstance(model, str):
        model = load_encoder(model)
    if centers:
        require_dense(model, "Centering")
    prompts: dict[str, Any] = {"query_prompt": query_prompt, "document_prompt": document_prompt}
    encoding: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
    of_miracl: Sequence[str] = []
    if MIRACL in tasks:
        from st_hybrid.tasks import ShardedSearch
        from st_hybrid.tasks.miracl_task import available_languages
        from st_hybrid.tasks.mteb_encoder import wrap_model

        available = available_languages(data_dir)
        of_miracl = languages or available
        if missing := [language for language in of_miracl if language not in available]:
            raise ValueError(f"MIRACL: the data have no language {missing[0]!r}, only {', '.join(available)}.")
        sharded = ShardedSearch(wrap_model(model, **prompts), **search)

    for task, collection in collections.items():
        began = time.perf_counter()
        embeddings = encode_collection(model, collection, **prompts, **encoding)
        encoded = time.perf_counter()
        plain, *centered = (
            score_queries(*embeddings, collection, similarity=model.similarity_fn_name, centering=centering)
            for centering in (None, *centerings.values())
        )
        scores = TaskScores(
            **vars(plain.summary()),
            centered={name: of_queries.summary() for name, of_queries in zip(centerings, centered, strict=True)},
            seconds={"encoding": round(encoded - began, 1), "scoring": round(time.perf_counter() - encoded, 1)},
            sample=None if sample is None else {"queries": sample, "seed": seed or 0},
        )
        variants = zip(scores.variants, (plain, *centered), strict=True)
        file.add(task, scores, {name: of_queries.table() for name, of_queries in variants})
        if plots is not None:
            shares = {name: variant.top_10_languages for name, variant in scores.variants.items()}
            title = f"{task}, {Path(model_name).name}: languages of the first 10 in the pool of all languages"
            path = Path(plots) / f"{task.lower()}-top-10-languages.png"
            plot_top_languages(shares, scores.counts.passages, path, title=title)
    for language in of_miracl:
        file.add(MIRACL, *_score_miracl(sharded, language, data_dir, encoding, file.tasks.get(MIRACL)), language)
    return file.tasks


def _check_options(tasks: Sequence[str], search: Mapping[str, Any], given: Mapping[str, bool]) -> None:
    """Refuse options without an effect."""
    if given["seed"] and not given["sample"]:
        raise ValueError("seed has no effect without sample. Leave it out, or give the size of a sample.")
    if MIRACL not in tasks and search:
        raise ValueError(f"{', '.join(search)} can only be used with MIRACL, which is not among the tasks.")
    for option, is_given in given.items():
        # Other files than the published ones may still be meant for the other tasks.
        if MIRACL in tasks and is_given and (option != "verify=False" or len(tasks) == 1):
            raise ValueError(f"{option} has no effect on MIRACL. Leave it out, or evaluate MIRACL on its own.")


def _score_miracl(
    search: ShardedSearch, language: str, data_dir: str | Path | None, encoding: dict[str, Any], before: Any
) -> tuple[MiraclScores, dict[str, pa.Table]]:
    """The scores before with those of a language, and those of its queries."""
    from st_hybrid.evaluation.results import PLAIN, MiraclLanguageScores, MiraclMeans, MiraclScores
    from st_hybrid.tasks.means import mean_scores
    from st_hybrid.tasks.miracl_task import score_language

    began = time.perf_counter()
    measured, rows = score_language(search, language, data_dir, encode_kwargs=encoding)
    scores = MiraclLanguageScores(**measured, seconds=round(time.perf_counter() - began, 1))
    per_language = {**(before.per_language if before else {}), language: scores}
    means = mean_scores(MIRACL, {code: asdict(part) for code, part in per_language.items()}).items()
    return MiraclScores(per_language=per_language, means={name: MiraclMeans(**m) for name, m in means}), {PLAIN: rows}


class _ScoresFile:
    """The scores of one model in a JSON file, with those of each query beside it."""

    def __init__(self, output: Path, model_name: str) -> None:
        from st_hybrid.evaluation.per_query import per_query_path, read_per_query
        from st_hybrid.evaluation.results import MiraclScores, TaskScores

        self.output, self.per_query, self.model_name = output, per_query_path(output), model_name
        self.tasks: dict[str, Any] = {}
        self.rows: pa.Table | None = None
        models = {}
        if output.is_file():
            content = json.loads(output.read_text(encoding="utf-8"))
            models[output] = content.get("model")
            try:
                for task, scores in content["tasks"].items():
                    self.tasks[task] = (MiraclScores if task == MIRACL else TaskScores).from_dict(scores)
            except (KeyError, ValueError) as error:
                raise ValueError(f"{output} is of another version. Choose another file. {error}") from error
        if self.per_query.is_file():
            self.rows = read_per_query(self.per_query)
            models[self.per_query] = (self.rows.schema.metadata or {}).get(b"model", b"").decode()
        for path, found in models.items():
            if found != model_name:
                raise ValueError(f"{path} holds the scores of {found!r}. Choose another file.")

    def add(self, task: str, scores: Any, variants: Mapping[str, pa.Table], language: str | None = None) -> None:
        """Write the scores of a task, or of one language of it, in place of earlier ones; each file is whole."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        from st_hybrid.data.zero_shot import zero_shot
        from st_hybrid.provenance import provenance

        self.tasks[task] = scores
        kept = pc.field("task") != task
        if language is not None:
            kept |= pc.field("query_language") != language
        tables = [] if self.rows is None else [self.rows.filter(kept)]
        for variant, table in variants.items():
            table = table.add_column(0, "variant", pa.repeat(variant, table.num_rows))
            tables.append(table.add_column(0, "task", pa.repeat(task, table.num_rows)))
        self.rows = pa.concat_tables(tables, promote_options="default")
        with replacing(self.per_query) as path:
            pq.write_table(self.rows.replace_schema_metadata({"model": self.model_name}), path, compression="zstd")
        tasks = {name: part.to_dict() for name, part in self.tasks.items()}
        claims = {name: asdict(zero_shot(self.model_name, name)) for name in self.tasks}
        write_json(self.output, {"model": self.model_name, **provenance(), "zero_shot": claims, "tasks": tasks})


def print_scores(tasks: Mapping[str, Any], console: Console) -> None:
    """Print what :func:`evaluate_tasks` returns: the measures of the settings, and the languages of the first 10."""
    for task, scores in tasks.items():
        if task == MIRACL:
            console.print(_miracl_table(scores))
        else:
            console.print(_measures_table(task, scores))
            for name, variant in scores.variants.items():
                title = f"{task}, {name}: languages of the first 10 by language of the query, in per cent"
                console.print(title, markup=False, highlight=False)
                console.print(_top_languages_table(variant))


def _measures_table(task: str, scores: TaskScores) -> Table:
    from st_hybrid.evaluation.results import MEASURES

    labels = ("mAP", "recall@1", "recall@10", "nDCG@10", "MRR@10")
    queries, passages = (sum(counts.values()) for counts in (scores.counts.queries, scores.counts.passages))
    table = _table("", "Mo.", "Cr.", "Mul.", "rank distance", "PEER")
    table.title = f"{task} in {len(scores.counts.queries)} languages: {queries:,} queries, {passages:,} passages"
    table.caption = _CAPTION
    for name, variant in scores.variants.items():
        once = [name, _decimals(variant.rank_distance, 0), _decimals(variant.multilingual.peer_at_20)]
        for measure, label in zip(MEASURES, labels, strict=True):
            means = (variant.monolingual, variant.cross_lingual, variant.multilingual)
            table.add_row(once[0], label, *(_decimals(getattr(part, measure, None)) for part in means), *once[1:])
            once = [""] * 3
        table.add_section()
    return table


def _top_languages_table(scores: RetrievalScores) -> Table:
    pool = scores.counts.passages
    table = _table(*pool)
    for language, shares in scores.top_10_languages.items():
        table.add_row(language, *(f"{100 * shares[other]:.0f}" for other in pool))
    table.add_section()
    table.add_row("pool", *(f"{100 * count / sum(pool.values()):.0f}" for count in pool.values()))
    return table


def _miracl_table(scores: MiraclScores) -> Table:
    approximate = any(one.index_recall_at_100 is not None for one in scores.per_language.values())
    table = _table("queries", "passages", "nDCG@10", "recall@100", *["found by the index"] * approximate)
    table.title = f"{MIRACL}: {len(scores.per_language)} languages, split dev"
    for language, one in scores.per_language.items():
        cells = [f"{one.queries:,}", f"{one.passages:,}", _decimals(one.ndcg_at_10), _decimals(one.recall_at_100)]
        table.add_row(language, *cells, *[_decimals(one.index_recall_at_100)] * approximate)
    table.add_section()
    for name, means in scores.means.items():
        title = "mean" if name == "all" else "mean of the paper's 15"
        table.add_row(title, "", "", _decimals(means.ndcg_at_10), _decimals(means.recall_at_100))
    return table


def _table(*headers: str) -> Table:
    """A table with a column of names and columns of numbers."""
    columns = [Column(header, justify="right" if header else "left", no_wrap=True) for header in headers]
    return Table(Column("", overflow="fold"), *columns)


def _decimals(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
