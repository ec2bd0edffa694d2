"""Encode corpora ahead of their evaluation, on one machine or on many: what ``st-hybrid encode`` does."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer
from tqdm.auto import tqdm

from st_hybrid.evaluation.miracl import SPLIT
from st_hybrid.search.nearest import SIMILARITIES
from st_hybrid.search.shards import EmbeddingShards, Encode
from st_hybrid.tasks import MIRACL, ShardedSearch, load_miracl
from st_hybrid.tasks.miracl_task import available_languages
from st_hybrid.tasks.sharded_search import wrap_model

ENGINES = ("local", "ray")
# A ray that this module starts carries only the numbers of shards, so it need not take its share of the memory.
_RAY_STORE_BYTES = 100 << 20


@dataclass(frozen=True)
class EncodedShard:
    """A shard that a run has encoded.

    Args:
        language: Language of the corpus.
        number: Number of the shard.
        passages: Passages in it.
        worker: Machine and process that encoded it.
        seconds: How long that took.
    """

    language: str
    number: int
    passages: int
    worker: str
    seconds: float


@dataclass(frozen=True)
class EncodingReport:
    """What a run of :func:`encode_miracl` found and did.

    Args:
        passages: Passages of each corpus, by language.
        shards: Shards of each corpus, by language.
        encoded: The shards that were missing and have been encoded, in the order of their completion.
        seconds: What encoding them took, the start of workers included.
    """

    passages: dict[str, int]
    shards: dict[str, int]
    encoded: list[EncodedShard]
    seconds: float


def encode_miracl(
    model: str,
    output: str | Path,
    languages: Sequence[str] | None = None,
    *,
    data_dir: str | Path | None = None,
    engine: Literal["local", "ray"] = "local",
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    batch_size: int = 32,
    memory_gb: float = 8.0,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    show_progress_bar: bool = True,
) -> EncodingReport:
    """Encode the passages of MIRACL, so that a later evaluation has only to encode queries and to search.

    Use it where one process would take too long: the engine ``"ray"`` spreads the shards over the workers of a
    `Ray <https://docs.ray.io>`_ cluster, or of this machine. A worker that is lost, alone or with its machine, is
    replaced, and its shard is encoded again. What ``output`` holds already is not encoded again, so a run that was
    killed goes on where it stopped. Whatever the engine, the embeddings are the same, to the last bit on equal
    hardware with an equal number of threads.

    The evaluation finds them if it has the same model, prompts, passages and ``memory_gb``, which bounds the size of
    shards: ``st-hybrid evaluate --embeddings``, or :class:`~st_hybrid.tasks.ShardedSearch` around the model as
    :func:`~st_hybrid.tasks.sharded_search.wrap_model` gives it.

    Every worker reads model and passages for itself and writes into ``output``. On several machines all three must be
    there under the same path or hub name, ``output`` in a folder that they share; a worker that finds another model or
    other passages than this process says so and stops the run. With the variable ``HF_DATASETS_CACHE`` in a shared
    folder, too, the passages are prepared once and not by every machine.

    Args:
        model: SentenceTransformer: a folder or a hub name.
        output: Folder to keep embeddings in; one folder may serve many models and tasks.
        languages: Language codes; by default those in ``data_dir``, or all 18.
        data_dir: Folder in MIRACL's official layout; by default the variable ``ST_HYBRID_DATA``, or else mteb's copy on
            the Hugging Face Hub.
        engine: ``"local"`` for this process, ``"ray"`` for the cluster that this process is connected to or that the
            variable ``RAY_ADDRESS`` names, or else for workers on this machine.
        workers: Worker processes of ray; by default one a GPU, or one.
        gpus_per_worker: GPUs that ray gives a worker, also a fraction; by default one if the cluster has any.
        batch_size: Passages encoded at once.
        memory_gb: Memory that each worker may take beside the model, in gigabytes.
        query_prompt: Put before queries; by default the model's own query prompt. It does not touch the embeddings,
            but tells models apart.
        document_prompt: Put before passages; by default the model's own document prompt.
        show_progress_bar: Show the progress over passages.

    Returns:
        What was there and what has been encoded.

    Raises:
        ValueError: A language or the engine is not known, an argument is out of range, a file is malformed, faiss
            cannot rank by the model's similarity, or a worker finds another model or other passages.
        FileNotFoundError: A file is missing, or a worker's shards do not arrive in ``output``.
        ModuleNotFoundError: ray is not installed.

    Example:
        ::

            import mteb
            from sentence_transformers import SentenceTransformer
            from st_hybrid.tasks.encode_ahead import encode_miracl
            from st_hybrid.tasks import ShardedSearch
            from st_hybrid.tasks.sharded_search import wrap_model

            encode_miracl("intfloat/multilingual-e5-small", "embeddings", ["sw"], engine="ray", workers=2)

            model = wrap_model(SentenceTransformer("intfloat/multilingual-e5-small"))
            search = ShardedSearch(model, embeddings_dir="embeddings")
            mteb.evaluate(search, mteb.get_task("MIRACL", hf_subsets=["sw"]))
    """
    _check_arguments(engine, workers, gpus_per_worker)
    if engine == "ray":
        _import_ray()
    data_dir = data_dir or os.environ.get("ST_HYBRID_DATA")
    job = _Job(
        model=str(Path(model).absolute()) if Path(model).is_dir() else model,
        output=str(Path(output).absolute()),
        data_dir=None if data_dir is None else str(Path(data_dir).absolute()),
        batch_size=batch_size,
        memory_gb=memory_gb,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
    )
    Path(job.output).mkdir(parents=True, exist_ok=True)
    # With ray this process only tells which shards are missing, and leaves the GPU to the workers.
    encoder = _ShardEncoder(job, device="cpu" if engine == "ray" else None)
    corpora = {
        language: encoder.shards(language)[0] for language in dict.fromkeys(languages or available_languages(data_dir))
    }
    requests = [
        _request(language, shards, number) for language, shards in corpora.items() for number in shards.missing()
    ]

    began = time.perf_counter()
    answers: Iterator[dict[str, Any]] = iter(())
    if requests and engine == "ray":
        answers = _ask_ray(job, requests, workers, gpus_per_worker)
    elif requests:
        answers = map(encoder.encode, requests)
    total = sum(len(shards.corpus) for shards in corpora.values())
    there = total - sum(stop - start for start, stop in (corpora[r["language"]].bounds(r["number"]) for r in requests))
    encoded = []
    with tqdm(total=total, initial=there, desc="Passages", unit_scale=True, disable=not show_progress_bar) as progress:
        for answer in answers:
            encoded.append(EncodedShard(**answer))
            progress.update(encoded[-1].passages)
    seconds = time.perf_counter() - began
    for language, shards in corpora.items():
        if missing := shards.missing():
            raise FileNotFoundError(
                f"Of {language}, {len(missing)} of {len(shards)} shards are not in {job.output}, or are not those of "
                f"this model and these passages. It must be one folder, shared by all machines. If it is, run the same "
                f"again: a shared folder may show new files late, and nothing is encoded twice."
            )
    return EncodingReport(
        passages={language: len(shards.corpus) for language, shards in corpora.items()},
        shards={language: len(shards) for language, shards in corpora.items()},
        encoded=encoded,
        seconds=seconds,
    )


def print_encoding(report: EncodingReport, console: Console) -> None:
    """Print which shards there are, which of them were encoded, and how fast.

    Args:
        report: What :func:`encode_miracl` gives.
        console: Where to print.
    """
    table = Table("language", title="Embeddings of MIRACL's passages")
    for header in ("passages", "shards", "encoded now"):
        table.add_column(header, justify="right")
    for language, passages in report.passages.items():
        now = sum(shard.language == language for shard in report.encoded)
        table.add_row(language, f"{passages:,}", f"{report.shards[language]:,}", f"{now:,}")
    console.print(table)
    done = sum(shard.passages for shard in report.encoded)
    if not done:
        console.print("Every shard was there.")
        return
    workers, shards = len({shard.worker for shard in report.encoded}), len(report.encoded)
    console.print(
        f"{shards:,} {'shard' if shards == 1 else 'shards'}, {done:,} passages in {report.seconds:,.1f} s: "
        f"{done / report.seconds:,.0f} passages a second, by {workers} {'process' if workers == 1 else 'processes'}."
    )


@dataclass(frozen=True)
class _Job:
    """What a process must know to encode shards, all of it fit to be sent to another machine."""

    model: str
    output: str
    data_dir: str | None
    batch_size: int
    memory_gb: float
    query_prompt: str | None = None
    document_prompt: str | None = None


class _ShardEncoder:
    """Encodes shards, one after the other; each worker has one."""

    def __init__(self, job: _Job, device: str | None = None) -> None:
        self._job, self._device = job, device
        self._corpora: dict[str, tuple[EmbeddingShards, Encode]] = {}

    @cached_property
    def _search(self) -> tuple[ShardedSearch, int]:
        """The search that is to find the shards, and the length of the embeddings."""
        job = self._job
        module = SentenceTransformer(job.model, device=self._device)
        if module.similarity_fn_name not in SIMILARITIES:
            raise ValueError(
                f"faiss cannot rank by the similarity {module.similarity_fn_name!r} of {job.model}, only by "
                f"{', '.join(SIMILARITIES)}; no evaluation could use its embeddings."
            )
        dimensions = module.get_embedding_dimension()
        if dimensions is None:
            raise ValueError(f"{job.model} does not tell how long its embeddings are.")
        model = wrap_model(module, query_prompt=job.query_prompt, document_prompt=job.document_prompt)
        return ShardedSearch(model, embeddings_dir=job.output, memory_gb=job.memory_gb), dimensions

    def shards(self, language: str) -> tuple[EmbeddingShards, Encode]:
        """The shards of a language as the task MIRACL looks for them, and what encodes them."""
        if language not in self._corpora:
            corpus = load_miracl(language, self._job.data_dir)["corpus"]
            search, dimensions = self._search
            self._corpora[language] = search.shards(
                corpus,
                dimensions=dimensions,
                task_metadata=MIRACL.metadata,
                hf_split=SPLIT,
                hf_subset=language,
                encode_kwargs={"batch_size": self._job.batch_size},
            )
        return self._corpora[language]

    def encode(self, request: dict[str, Any]) -> dict[str, Any]:
        """Encode the shard that :func:`_request` describes; gives the fields of an :class:`EncodedShard`."""
        began, number = time.perf_counter(), request["number"]
        shards, encode = self.shards(request["language"])
        own = _request(request["language"], shards, number) if number < len(shards) else {"model": shards.model}
        if own["model"] != request["model"]:
            raise ValueError(
                f"the model {self._job.model} is not the one where the run was started, or is loaded by other versions "
                f"of sentence-transformers or transformers. Every machine needs the same."
            )
        if own != request:
            raise ValueError(
                f"the passages of MIRACL, language {request['language']}, are not those where the run was started. "
                f"Every machine needs the same files."
            )
        if not Path(self._job.output).is_dir():
            raise FileNotFoundError(f"no folder {self._job.output}. Every machine must see it under this path.")
        start, stop = shards.bounds(number)
        # A worker that was lost may have been so after the shard was written and before it was known.
        if not shards.holds(number):
            shards.encode(number, encode)
        return {
            "language": request["language"],
            "number": number,
            "passages": stop - start,
            "worker": f"{platform.node()}:{os.getpid()}",
            "seconds": time.perf_counter() - began,
        }


class _RayShardEncoder(_ShardEncoder):
    """The worker of ray. What a user can mend it tells, instead of raising it through a page of ray's own frames.

    Hence it also loads the model in the first call: ray does not tell what goes wrong in a constructor.
    """

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {**self.encode(request), "error": ""}
        except (ValueError, TypeError, OSError) as error:
            nothing = asdict(EncodedShard(request["language"], request["number"], 0, "", 0.0))
            return {**nothing, "error": f"Worker on {platform.node()}: {error}"}


def _request(language: str, shards: EmbeddingShards, number: int) -> dict[str, Any]:
    """A shard to encode, and by what a worker knows that it has the same model and passages."""
    return {"language": language, "number": number, "corpus": len(shards.corpus), **shards.fingerprints(number)}


def _ask_ray(
    job: _Job, requests: list[dict[str, Any]], workers: int | None, gpus_per_worker: float | None
) -> Iterator[dict[str, Any]]:
    """Let Ray Data's workers encode shards; gives their answers as they come."""
    ray = _import_ray()
    logger = logging.getLogger("ray.data")
    level = logger.level
    own = not ray.is_initialized() and "RAY_ADDRESS" not in os.environ
    if own:
        # Nobody is told of a run on one's own machine.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            address="local",
            num_cpus=max(os.cpu_count() or 1, workers or 1),
            object_store_memory=_RAY_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
        logger.setLevel(logging.ERROR)  # its warnings are about a cluster's resources, and its own progress bars
    elif not ray.is_initialized():
        ray.init(logging_level=logging.WARNING)
    try:
        gpus = ray.cluster_resources().get("GPU", 0)
        if gpus_per_worker is None:
            gpus_per_worker = min(gpus, 1)
        elif gpus_per_worker > gpus:
            raise ValueError(f"{gpus_per_worker:g} GPUs a worker are more than the {gpus:g} of the cluster.")
        workers = min(workers or max(int(gpus), 1), len(requests))
        yield from _ray_answers(ray, job, requests, workers, gpus_per_worker, own)
    finally:
        if own:
            logger.setLevel(level)
            ray.shutdown()


def _ray_answers(
    ray: Any, job: _Job, requests: list[dict[str, Any]], workers: int, gpus_per_worker: float, own: bool
) -> Iterator[dict[str, Any]]:
    # On its own machine, a worker without GPU takes its share of the cores, for torch's threads.
    cores = max((os.cpu_count() or 1) // workers, 1) if own and not gpus_per_worker else None
    # Ray Data restarts a lost worker and repeats its call by default. Each worker gets the next shard when it is done
    # with one, not before: shards are few, long, and not equally so.
    dataset = ray.data.from_items(requests, override_num_blocks=len(requests)).map(
        _RayShardEncoder,
        fn_constructor_args=(job,),
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        num_cpus=cores,
        num_gpus=gpus_per_worker or None,
    )
    dataset.context.enable_progress_bars = False
    # By default newer releases give up after half an hour without a result; a shard may take longer.
    dataset.context.execution_no_progress_timeout_s = -1
    for answer in dataset.iter_rows():
        if error := answer.pop("error"):
            raise ValueError(error)
        yield answer


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ModuleNotFoundError('The engine "ray" needs ray: pip install "st-hybrid[ray]"') from error
    return ray


def _check_arguments(engine: str, workers: int | None, gpus_per_worker: float | None) -> None:
    if engine not in ENGINES:
        raise ValueError(f"The engine must be one of {', '.join(ENGINES)}, got {engine!r}.")
    if engine == "local" and not (workers is None and gpus_per_worker is None):
        raise ValueError("Workers and their GPUs are for the engine ray; the engine local is this process alone.")
    if workers is not None and workers < 1:
        raise ValueError(f"There must be at least one worker, not {workers}.")
    if gpus_per_worker is not None and gpus_per_worker < 0:
        raise ValueError(f"A worker cannot have {gpus_per_worker:g} GPUs.")
