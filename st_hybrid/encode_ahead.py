"""Encode the passages of MIRACL before an evaluation, on one machine or on many: what ``st-hybrid encode`` does."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from st_hybrid.dtypes import Dtype, require_dtype
from st_hybrid.progress import progress_bar
from st_hybrid.ray_cluster import import_ray, ray_cluster

if TYPE_CHECKING:  # slow to import: the command line reads the options without them
    from st_hybrid.search.shards import EmbeddingShards
    from st_hybrid.tasks import ShardedSearch

__all__ = ["EncodingReport", "encode_miracl"]


@dataclass(frozen=True)
class EncodedShard:
    """A shard that a run encoded: its language, number and passages, the process, and its seconds."""

    language: str
    number: int
    passages: int
    worker: str
    seconds: float


@dataclass(frozen=True)
class EncodingReport:
    """The passages and shards of each language, the shards encoded by this run, and its seconds of encoding."""

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
    batch_size: int = 32,
    dtype: Dtype | None = None,
    memory_gb: float = 8.0,
    document_prompt: str | None = None,
    show_progress_bar: bool = True,
) -> EncodingReport:
    """Encode the passages of MIRACL, on one machine or on many, so that a later evaluation only encodes the queries.

    ``st-hybrid evaluate --embeddings-dir`` and :class:`~st_hybrid.tasks.ShardedSearch` find the embeddings, given the
    same model, ``dtype``, document prompt, passages and ``memory_gb``. A killed run continues where it stopped. On many
    machines the model, the data and ``output`` need the same path. They share ``output``; ``HF_DATASETS_CACHE`` should
    be shared, too.

    Args:
        model: SentenceTransformer: a folder or a hub name.
        output: Folder for embeddings; one folder may serve many models and tasks.
        languages: Language codes; by default those in ``data_dir``, or all 18.
        data_dir: Folder in MIRACL's official layout; by default ``ST_HYBRID_DATA``, else mteb's copy on the hub.
        engine: ``local`` for this process, ``ray`` for the cluster of ``RAY_ADDRESS`` or workers on this machine.
        workers: Number of Ray workers; by default one per GPU, or one. More workers than GPUs share them.
        batch_size: Passages per batch.
        dtype: Type to compute in; by default that of the model's weights, usually float32.
        memory_gb: Memory per worker besides the model, in gigabytes.
        document_prompt: Text put before each passage; by default the model's own document prompt.
        show_progress_bar: Show the progress over passages.

    Raises:
        ValueError: An argument, a file or the similarity is wrong, or a worker finds another model or passages.
        FileNotFoundError: A file is missing, or a worker's shards do not arrive in ``output``.
        ModuleNotFoundError: Ray is not installed.

    Example:
        ::

            from st_hybrid.encode_ahead import encode_miracl

            encode_miracl("intfloat/multilingual-e5-small", "embeddings", ["sw"], engine="ray", workers=2)
    """
    if engine not in ("local", "ray"):
        raise ValueError(f"engine must be 'local' or 'ray', not {engine!r}.")
    if workers is not None and (engine == "local" or workers < 1):
        raise ValueError(f"workers must be at least 1 and needs engine='ray', not {workers} with engine={engine!r}.")
    if engine == "ray":
        import_ray()
    from st_hybrid.tasks.miracl_task import available_languages

    data_dir = data_dir or os.environ.get("ST_HYBRID_DATA")
    os.makedirs(output, exist_ok=True)
    job: dict[str, Any] = {
        "model": os.path.abspath(model) if os.path.isdir(model) else model,
        "output": os.path.abspath(output),
        "data_dir": None if data_dir is None else os.path.abspath(data_dir),
        "batch_size": batch_size,
        "dtype": dtype,
        "memory_gb": memory_gb,
        "document_prompt": document_prompt,
    }
    # With Ray this process only finds the missing shards, and leaves the GPU to the workers.
    here = _ShardEncoder(**job, device="cpu" if engine == "ray" else None)
    corpora = {code: here.shards(code) for code in dict.fromkeys(languages or available_languages(data_dir))}
    requests = [(code, i, part.fingerprints(i)) for code, part in corpora.items() for i in part.missing()]

    began, encoded = time.perf_counter(), list[EncodedShard]()
    passages = {code: len(part.corpus) for code, part in corpora.items()}
    shards = {code: len(part) for code, part in corpora.items()}
    total, done = sum(shards.values()), sum(shards.values()) - len(requests)
    answers = _encode_with_ray(job, requests, workers) if engine == "ray" else starmap(here.encode, requests)
    with progress_bar(total, "Encoding", show=show_progress_bar, unit="shards", done=done) as advance:
        for shard in answers:
            encoded.append(shard)
            advance(1)
    seconds = time.perf_counter() - began
    for code, part in corpora.items():
        if missing := part.missing():
            raise FileNotFoundError(
                f"{len(missing)} of {len(part)} shards of {code} did not arrive in {output}. Machines must share it."
                f" If they do, it may show new files late: run the command again. Nothing is encoded twice."
            )
    return EncodingReport(passages, shards, encoded, seconds)


def print_encoding(report: EncodingReport, console: Console) -> None:
    """Print the shards of each language, how many of them this run encoded, and its speed."""
    for language, shards in report.shards.items():
        now = sum(shard.language == language for shard in report.encoded)
        console.print(f"{language}: {report.passages[language]:,} passages in {shards:,} shards, {now:,} encoded now")
    if passages := sum(shard.passages for shard in report.encoded):
        speed = f"{passages:,} passages in {report.seconds:,.1f} s: {passages / report.seconds:,.0f} per second"
        console.print(f"{speed}, processes: {len({shard.worker for shard in report.encoded})}")


@dataclass
class _ShardEncoder:
    """Encodes shards, one after the other; each worker is one."""

    model: str
    output: str
    data_dir: str | None
    batch_size: int
    memory_gb: float
    dtype: Dtype | None = None
    document_prompt: str | None = None
    device: str | None = None
    _shards: dict[str, EmbeddingShards] = field(default_factory=dict)

    @cached_property
    def _search(self) -> tuple[ShardedSearch, int]:
        """The search that will read the shards, and the length of the embeddings."""
        from st_hybrid.encoders import compute_in, load_encoder, require_dense
        from st_hybrid.tasks import ShardedSearch
        from st_hybrid.tasks.mteb_encoder import wrap_model

        model = require_dense(load_encoder(self.model, device=self.device), "Encoding MIRACL")
        if self.dtype is not None:
            if self.device is None:  # otherwise the workers encode, and they may have a GPU
                require_dtype(self.dtype, model.device.type)
            compute_in(model, self.dtype)
        wrapped = wrap_model(model, document_prompt=self.document_prompt)
        search = ShardedSearch(wrapped, embeddings_dir=self.output, memory_gb=self.memory_gb)
        return search, model.get_embedding_dimension() or len(model.encode("a"))

    def shards(self, language: str) -> EmbeddingShards:
        """The shards of a language, as the task MIRACL looks for them."""
        from st_hybrid.evaluation.miracl import SPLIT
        from st_hybrid.tasks import MIRACL, load_miracl

        if language not in self._shards:
            search, dimensions = self._search  # refuses a model before the passages are read
            corpus = load_miracl(language, self.data_dir)["corpus"]
            about: dict[str, Any] = {"task_metadata": MIRACL.metadata, "hf_split": SPLIT, "hf_subset": language}
            about["encode_kwargs"] = {"batch_size": self.batch_size}
            self._shards[language] = search.shards(corpus, dimensions=dimensions, **about)
        return self._shards[language]

    def encode(self, language: str, number: int, known: dict[str, str]) -> EncodedShard:
        """Encode a shard and write it, if model and passages have the fingerprints of the process that asks."""
        if not os.path.isdir(self.output):
            raise FileNotFoundError(f"There is no folder {self.output}. Every machine needs it under this path.")
        began, shards = time.perf_counter(), self.shards(language)
        if shards.fingerprints(number) != known:
            what = "passages" if shards.model == known["model"] else "weights or settings of the model"
            raise ValueError(
                f"MIRACL, language {language}: the {what} differ from those of the process that started the run. Every "
                f"machine needs the same files, and the same versions of sentence-transformers and transformers."
            )
        # A lost worker may have written the shard already.
        passages = len(shards.load(number))
        return EncodedShard(language, number, passages, f"{self.host()}:{os.getpid()}", time.perf_counter() - began)

    def host(self) -> str:
        return platform.node()


def _encode_with_ray(job: dict[str, Any], requests: Sequence[Any], workers: int | None) -> Iterator[EncodedShard]:
    """Let the workers of Ray encode shards; yields each shard when it is done."""
    if not requests:
        return
    cores = os.cpu_count() or 1
    with ray_cluster(workers) as (ray, own):
        gpus = ray.cluster_resources().get("GPU", 0)
        workers = min(workers or max(int(gpus), 1), len(requests))
        # On this machine, a worker without a GPU takes its share of the cores, for torch's threads.
        share = max(cores // workers, 1) if own and not gpus else 1
        # Ray restarts a lost worker and repeats its call.
        options = {"num_cpus": share, "num_gpus": min(gpus / workers, 1), "max_restarts": -1, "max_task_retries": -1}
        pool = [ray.remote(**options)(_ShardEncoder).remote(**job) for _ in range(workers)]
        # A worker gets a shard when it has started or has finished one: shards are few, long and unequal.
        calls, todo, left = {worker.host.remote(): worker for worker in pool}, iter(requests), len(requests)
        while left:
            (call,), _ = ray.wait(list(calls))
            worker = calls.pop(call)
            try:
                answer = ray.get(call)
            except (ValueError, TypeError, OSError) as error:
                # Ray's error has the class of its cause, and a page of Ray's own frames as its message.
                host, cause = ray.get(worker.host.remote()), getattr(error, "cause", error)
                raise ValueError(f"Worker on {host}: {cause}") from None
            if (request := next(todo, None)) is not None:
                calls[worker.encode.remote(*request)] = worker
            if isinstance(answer, EncodedShard):
                left -= 1
                yield answer
