"""Evaluate a model on XQuAD-R, MLQA-R and MIRACL, write the scores and print them: what ``st-hybrid evaluate`` does.

What is slow to import is imported where it is used, so that the command line can read the options without it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from rich.console import Console
from rich.table import Table

from st_hybrid.files import replacing, write_json

if TYPE_CHECKING:
    import pyarrow as pa
    from sentence_transformers import SentenceTransformer

    from st_hybrid.evaluation import RetrievalCollection
    from st_hybrid.evaluation.results import MiraclScores, RetrievalScores, TaskScores

__all__ = ["CorpusSearch", "evaluate_tasks", "print_scores"]

Task = Literal["XQuAD-R", "MLQA-R", "MIRACL"]
MIRACL = "MIRACL"


@dataclass(frozen=True)
class CorpusSearch:
    """How the passages of MIRACL are searched; see :class:`~st_hybrid.tasks.ShardedSearch`.

    Args:
        languages: Languages to evaluate. By default all that the data folder has, or all 18.
        embeddings_dir: Folder to keep embeddings of passages in, and to read them from.
        memory_gb: Memory that the search may take besides the model, in gigabytes (8 by default).
        index_factory: Search approximately through this index of faiss, such as ``IVF4096,PQ48``.
        index_parameters: Search parameters of the index, such as ``nprobe=32``.

    Raises:
        ValueError: ``index_parameters`` without ``index_factory``.
    """

    languages: Sequence[str] | None = None
    embeddings_dir: str | Path | None = None
    memory_gb: float | None = None
    index_factory: str | None = None
    index_parameters: str | None = None

    def __post_init__(self) -> None:
        if self.index_parameters and not self.index_factory:
            raise ValueError("index_parameters has no effect without index_factory. Name an index, or leave it out.")

    @property
    def options(self) -> dict[str, Any]:
        """The options that were given."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def evaluate_tasks(
    model: SentenceTransformer | str,
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
    corpus_search: CorpusSearch | None = None,
    show_progress_bar: bool = True,
) -> dict[str, TaskScores | MiraclScores]:
    """Evaluate a model on tasks and write the scores to a JSON file, and those of each query to a file beside it.

    The JSON file holds the ``model``, the ``command``, ``date``, ``versions`` and ``hardware``, what may be called
    ``zero_shot`` (:func:`~st_hybrid.data.zero_shot.zero_shot`), and the ``tasks``:
    :class:`~st_hybrid.evaluation.results.TaskScores` or :class:`~st_hybrid.evaluation.results.MiraclScores` as
    dictionaries. ``scores.per-query.parquet`` beside ``scores.json`` has a row per ``task``, ``variant`` (``"plain"``
    or ``"centered: …"``), query and pool; :func:`~st_hybrid.evaluation.per_query.compare_queries` compares two such
    files. Both are written after each task and after each language of MIRACL, and keep other tasks and languages of the
    same model.

    Args:
        model: A model, or the folder or Hub name to load it from.
        tasks: Tasks to evaluate on.
        data_dir: Folder with ``xquad-r/<lang>.json``, ``mlqa-r/<lang>.json`` and MIRACL's official layout. By default
            the variable ``ST_HYBRID_DATA``; without it the data are downloaded.
        output: JSON file to write.
        model_name: Name of the model in the file. By default the folder or Hub name in ``model``.
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
        corpus_search: Options of the search in MIRACL's passages.
        show_progress_bar: Show the progress of encoding.

    Returns:
        The scores of each task that the JSON file holds.

    Raises:
        ValueError: A task is unknown, an option has no effect on a task, data or means are not valid, or the file holds
            something else. Raised before anything is encoded.
        FileNotFoundError: Data or means are missing.

    Example:
        ::

            from st_hybrid.benchmark import evaluate_tasks

            scores = evaluate_tasks("intfloat/multilingual-e5-small", ["XQuAD-R"], None, "scores.json")
            print(scores["XQuAD-R"].multilingual.map)
    """
    search = corpus_search or CorpusSearch()
    given = {"sample": sample is not None, "centers": bool(centers), "plots": plots is not None}
    given |= {"seed": seed is not None, "verify=False": not verify}
    _check_options(tasks, search, given)
    model_name = model_name or (model if isinstance(model, str) else None)
    if model_name is None:
        raise ValueError("Give model_name: the file of scores names the model.")

    from sentence_transformers import SentenceTransformer

    from st_hybrid.evaluation import load_lareqa
    from st_hybrid.methods.centering import LanguageCentering

    file = _ScoresFile(Path(output), model_name)
    collections = {task: load_lareqa(task, data_dir, verify=verify) for task in tasks if task != MIRACL}
    if sample is not None:
        collections = {task: whole.sample(sample, seed=seed or 0) for task, whole in collections.items()}
    centerings = {name: name if name == "evaluated" else LanguageCentering.from_pretrained(name) for name in centers}
    languages = _miracl_languages(data_dir, search) if MIRACL in tasks else []
    if isinstance(model, str):
        model = SentenceTransformer(model)

    prompts = {"query_prompt": query_prompt, "document_prompt": document_prompt}
    encoding = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
    for task, collection in collections.items():
        scores, rows = _score_task(model, collection, centerings, {**prompts, **encoding})
        if sample is not None:
            scores = replace(scores, sample={"queries": sample, "seed": seed or 0})
        file.add(task, scores, rows)
        if plots is not None:
            _plot(task, scores, model_name, Path(plots))
    if languages:
        _score_miracl(model, languages, data_dir, search, file, prompts, encoding)
    return file.tasks


def _check_options(tasks: Sequence[str], search: CorpusSearch, given: Mapping[str, bool]) -> None:
    """Refuse unknown tasks, and options without an effect."""
    if unknown := [task for task in tasks if task not in get_args(Task)]:
        raise ValueError(f"The task must be one of {', '.join(get_args(Task))}, got {unknown[0]!r}.")
    if given["seed"] and not given["sample"]:
        raise ValueError("seed has no effect without sample. Leave it out, or give the size of a sample.")
    if MIRACL not in tasks and search.options:
        raise ValueError(f"{', '.join(search.options)} can only be used with MIRACL, which is not among the tasks.")
    for option, is_given in given.items():
        # Other files than the published ones may still be meant for the other tasks.
        if MIRACL in tasks and is_given and (option != "verify=False" or len(tasks) == 1):
            raise ValueError(f"{option} has no effect on MIRACL. Leave it out, or evaluate MIRACL on its own.")


def _miracl_languages(data_dir: str | Path | None, search: CorpusSearch) -> Sequence[str]:
    from st_hybrid.tasks.miracl_task import available_languages

    available = available_languages(data_dir)
    chosen = search.languages or available
    if missing := [language for language in chosen if language not in available]:
        raise ValueError(f"MIRACL: the data have no language {missing[0]!r}, only {', '.join(available)}.")
    return chosen


def _score_task(
    model: SentenceTransformer, collection: RetrievalCollection, centerings: Mapping[str, Any], options: dict[str, Any]
) -> tuple[TaskScores, pa.Table]:
    """Scores of a task, and the rows of its queries with a column ``variant``."""
    import pyarrow as pa

    from st_hybrid.evaluation import score_queries
    from st_hybrid.evaluation.results import CENTERED, PLAIN, TaskScores
    from st_hybrid.evaluation.scoring import encode_collection

    began = time.perf_counter()
    embeddings = encode_collection(model, collection, **options)
    encoded = time.perf_counter()
    similarity = model.similarity_fn_name
    plain = score_queries(*embeddings, collection, similarity=similarity)
    centered = {
        origin: score_queries(*embeddings, collection, similarity=similarity, centering=centering)
        for origin, centering in centerings.items()
    }
    scores = TaskScores(
        **vars(plain.summary()),
        centered={origin: part.summary() for origin, part in centered.items()},
        seconds={
            "encoding": round(encoded - began, 1),
            "scoring": round(time.perf_counter() - encoded, 1),
        },
    )
    variants = {PLAIN: plain, **{CENTERED.format(origin): part for origin, part in centered.items()}}
    return scores, pa.concat_tables(_with_column(part.table(), "variant", name) for name, part in variants.items())


def _score_miracl(
    model: SentenceTransformer,
    languages: Sequence[str],
    data_dir: str | Path | None,
    search: CorpusSearch,
    file: _ScoresFile,
    prompts: dict[str, Any],
    encoding: dict[str, Any],
) -> None:
    """Evaluate each language of MIRACL and write it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from st_hybrid.evaluation.results import PLAIN, MiraclLanguageScores, MiraclMeans, MiraclScores
    from st_hybrid.tasks.means import mean_scores
    from st_hybrid.tasks.miracl_task import score_language
    from st_hybrid.tasks.mteb_encoder import wrap_model
    from st_hybrid.tasks.sharded_search import ShardedSearch

    options = {name: value for name, value in search.options.items() if name != "languages"}
    sharded = ShardedSearch(wrap_model(model, **prompts), **options)
    for language in languages:
        began = time.perf_counter()
        measured, rows = score_language(sharded, language, data_dir, encode_kwargs=encoding)
        seconds = round(time.perf_counter() - began, 1)
        per_language = dict(file.tasks[MIRACL].per_language) if MIRACL in file.tasks else {}
        per_language[language] = MiraclLanguageScores(**measured, seconds=seconds)
        means = mean_scores({code: asdict(scores) for code, scores in per_language.items()})
        rows = _with_column(rows, "variant", PLAIN)
        if MIRACL in file.rows:
            others = file.rows[MIRACL].filter(pc.field("query_language") != language).drop_columns(["task"])
            rows = pa.concat_tables([others, rows], promote_options="default")
        scores = MiraclScores(per_language=per_language, means={name: MiraclMeans(**m) for name, m in means.items()})
        file.add(MIRACL, scores, rows)


def _plot(task: str, scores: TaskScores, model_name: str, folder: Path) -> None:
    from st_hybrid.evaluation.plots import plot_top_languages

    plot_top_languages(
        {name: variant.top_10_languages for name, variant in scores.variants.items()},
        scores.counts.passages,
        folder / f"{task.lower()}-top-10-languages.png",
        title=f"{task}, {Path(model_name).name}: languages of the first 10 in the pool of all languages",
    )


class _ScoresFile:
    """The scores of one model in a JSON file, with those of each query beside it."""

    def __init__(self, output: Path, model_name: str) -> None:
        from st_hybrid.evaluation.per_query import per_query_path, read_per_query
        from st_hybrid.evaluation.results import MiraclScores, TaskScores

        self.output, self.per_query, self.model_name = output, per_query_path(output), model_name
        self.tasks: dict[str, Any] = {}
        self.rows: dict[str, pa.Table] = {}
        if output.is_file():
            content = json.loads(output.read_text(encoding="utf-8"))
            self._check_model(output, content.get("model"))
            try:
                for task, scores in content["tasks"].items():
                    self.tasks[task] = (MiraclScores if task == MIRACL else TaskScores).from_dict(scores)
            except (KeyError, ValueError) as error:
                raise ValueError(f"{output} is of another version. Choose another file. {error}") from error
        if self.per_query.is_file():
            import pyarrow.compute as pc

            rows = read_per_query(self.per_query)
            self._check_model(self.per_query, (rows.schema.metadata or {}).get(b"model", b"").decode())
            self.rows = {task: rows.filter(pc.field("task") == task) for task in self.tasks}

    def _check_model(self, path: Path, found: str | None) -> None:
        if found != self.model_name:
            raise ValueError(f"{path} holds the scores of {found!r}. Choose another file.")

    def add(self, task: str, scores: TaskScores | MiraclScores, rows: pa.Table) -> None:
        """Add the scores of a task in place of earlier ones, and write both files, each whole."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from st_hybrid.data.zero_shot import zero_shot
        from st_hybrid.provenance import provenance

        self.tasks[task] = scores
        self.rows[task] = _with_column(rows, "task", task)
        with replacing(self.per_query) as path:
            table = pa.concat_tables(self.rows.values(), promote_options="default")
            pq.write_table(table.replace_schema_metadata({"model": self.model_name}), path, compression="zstd")
        tasks = {name: part.to_dict() for name, part in self.tasks.items()}
        claims = {name: asdict(zero_shot(self.model_name, name)) for name in self.tasks}
        write_json(self.output, {"model": self.model_name, **provenance(), "zero_shot": claims, "tasks": tasks})


def _with_column(table: pa.Table, name: str, value: str) -> pa.Table:
    """The table with a constant column in front."""
    import pyarrow as pa

    return table.add_column(0, name, pa.repeat(pa.scalar(value), table.num_rows))


def print_scores(tasks: Mapping[str, TaskScores | MiraclScores], console: Console) -> None:
    """Print the scores of each task as tables: the measures of the settings, and the languages of the first 10.

    Args:
        tasks: What :func:`evaluate_tasks` returns.
        console: Where to print.
    """
    from st_hybrid.evaluation.results import MiraclScores

    for task, scores in tasks.items():
        if isinstance(scores, MiraclScores):
            console.print(_miracl_table(task, scores))
            continue
        console.print(_measures_table(task, scores))
        for name, variant in scores.variants.items():
            title = f"{task}, {name}: languages of the first 10 by language of the query, in per cent"
            console.print(title, markup=False, highlight=False)
            console.print(_top_languages_table(variant))


def _measures_table(task: str, scores: TaskScores) -> Table:
    labels = {"map": "mAP", "recall_at_1": "recall@1", "recall_at_10": "recall@10"}
    labels |= {"ndcg_at_10": "nDCG@10", "mrr_at_10": "MRR@10"}
    queries, passages = scores.counts.queries, scores.counts.passages
    table = Table(
        title=f"{task} in {len(queries)} languages: {sum(queries.values()):,} queries, "
        f"{sum(passages.values()):,} passages",
        caption="Mo.: pool in the query's language. Cr.: in one other language. Mul.: in all languages. "
        "Rank distance: language bias, lower is better. PEER: language fairness of the first 20 in all languages, "
        "about .5 where the order does not depend on language.",
    )
    table.add_column("", overflow="fold")
    table.add_column("", no_wrap=True)
    for header in ("Mo.", "Cr.", "Mul.", "rank distance", "PEER"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, variant in scores.variants.items():
        distance = "" if variant.rank_distance is None else f"{variant.rank_distance:,.0f}"
        once = [name, distance, _decimals(variant.multilingual.peer_at_20)]
        for measure, label in labels.items():
            means = (variant.monolingual, variant.cross_lingual, variant.multilingual)
            cells = [_decimals(None if part is None else getattr(part, measure)) for part in means]
            table.add_row(once[0], label, *cells, *once[1:], end_section=label == "MRR@10")
            once = [""] * 3
    return table


def _top_languages_table(scores: RetrievalScores) -> Table:
    pool = scores.counts.passages
    table = Table("")
    for language in pool:
        table.add_column(language, justify="right", no_wrap=True)
    for language, shares in scores.top_10_languages.items():
        table.add_row(language, *(f"{100 * shares[other]:.0f}" for other in pool))
    table.add_section()
    table.add_row("pool", *(f"{100 * count / sum(pool.values()):.0f}" for count in pool.values()))
    return table


def _miracl_table(task: str, scores: MiraclScores) -> Table:
    approximate = any(part.index_recall_at_100 is not None for part in scores.per_language.values())
    table = Table(title=f"{task}: {len(scores.per_language)} languages, split dev")
    table.add_column("")
    for header in ("queries", "passages", "nDCG@10", "recall@100", *["found by the index"] * approximate):
        table.add_column(header, justify="right", no_wrap=True)
    for language, part in scores.per_language.items():
        cells = [f"{part.queries:,}", f"{part.passages:,}", _decimals(part.ndcg_at_10), _decimals(part.recall_at_100)]
        table.add_row(language, *cells, *[_decimals(part.index_recall_at_100)] * approximate)
    table.add_section()
    for name, means in scores.means.items():
        title = "mean" if name == "all" else "mean of the paper's 15"
        table.add_row(title, "", "", _decimals(means.ndcg_at_10), _decimals(means.recall_at_100))
    return table


def _decimals(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
