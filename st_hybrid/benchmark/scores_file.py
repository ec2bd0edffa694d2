"""The scores of one model: a JSON file, and two files beside it that go down to queries and passages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from st_hybrid.files import replacing, write_json

if TYPE_CHECKING:
    import pyarrow as pa

MIRACL = "MIRACL"
PER_QUERY, FIRST_10 = "per-query", "first-10"  # the kinds of files beside


def short_names(models: Sequence[str]) -> list[str]:
    """The last parts of folders and hub names, or the whole names if two of them end alike."""
    short = [Path(model).name for model in models]
    return short if len(set(short)) == len(set(models)) else list(models)


def read_scores(path: str | Path) -> tuple[str, dict[str, Any]]:
    """Read the model's name and the scores of each task from a file that :class:`ScoresFile` wrote.

    The name of a model that did not compute in float32 says so: ``my-model, bfloat16``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is of another version, or holds something else.
    """
    model, dtype, tasks = _read(path)
    return model if dtype == "float32" else f"{model}, {dtype}", tasks


def _read(path: str | Path) -> tuple[str, str, dict[str, Any]]:
    """The model's name, the type that it computed in, and the scores of each task."""
    from st_hybrid.evaluation.results import MiraclScores, TaskScores

    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        tasks = {
            task: (MiraclScores if task == MIRACL else TaskScores).from_dict(scores)
            for task, scores in content["tasks"].items()
        }
        return content["model"], content["dtype"], tasks
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = str(error).partition("\n")[0]  # of pydantic's, the number of errors
        raise ValueError(
            f"{path} is of another version, or holds no scores ({reason}). Evaluate the model again, into another file."
        ) from error


class ScoresFile:
    """Adds scores to the files of a model, each of which is written whole, and keeps other tasks.

    Args:
        output: The JSON file.
        model_name: Name of the model.

    Raises:
        ValueError: A file holds the scores of another model, or something else.
    """

    def __init__(self, output: Path, model_name: str) -> None:
        from st_hybrid.evaluation import per_query

        self.output, self.model_name = output, model_name
        self.beside = {
            PER_QUERY: (per_query.per_query_path(output), per_query.KEYS),
            FIRST_10: (per_query.first_passages_path(output), per_query.FIRST_PASSAGES_KEYS),
        }
        self.tasks: dict[str, Any] = {}
        self.rows: dict[str, pa.Table] = {}
        self.dtype: str | None = None
        self._dtypes: dict[Path, str] = {}
        models = {}
        if output.is_file():
            models[output], self._dtypes[output], self.tasks = _read(output)
        for kind, (path, keys) in self.beside.items():
            if path.is_file():
                self.rows[kind] = per_query.read_per_query(path, keys)
                about = self.rows[kind].schema.metadata or {}
                models[path], self._dtypes[path] = (about.get(key, b"").decode() for key in (b"model", b"dtype"))
        for path, found in models.items():
            if found != model_name:
                raise ValueError(f"{path} holds the scores of {found!r}. Choose another file.")

    def computed_in(self, dtype: str) -> None:
        """Say in which type the model computes; ValueError if a file holds scores in another."""
        for path, found in self._dtypes.items():
            if found != dtype:
                raise ValueError(
                    f"{path} holds scores in {found}, and the model computes in {dtype}. Choose another file."
                )
        self.dtype = dtype

    def add(
        self, task: str, scores: Any, tables: Mapping[str, Mapping[str, pa.Table]], language: str | None = None
    ) -> None:
        """Write the scores of a task, or of one language of it, in place of earlier ones.

        Args:
            task: The task.
            scores: All its scores.
            tables: For each kind of file beside, the new rows by variant.
            language: The query language of the rows, if they are not those of the whole task.
        """
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        from st_hybrid.data.zero_shot import EVALUATION_SETS, zero_shot
        from st_hybrid.provenance import provenance

        self.tasks[task] = scores
        kept = pc.field("task") != task
        if language is not None:
            kept |= pc.field("query_language") != language
        for kind, variants in tables.items():
            parts = [self.rows[kind].filter(kept)] if kind in self.rows else []
            for variant, table in variants.items():
                table = table.add_column(0, "variant", pa.repeat(variant, table.num_rows))
                parts.append(table.add_column(0, "task", pa.repeat(task, table.num_rows)))
            whole = pa.concat_tables(parts, promote_options="default").unify_dictionaries()
            self.rows[kind] = whole.replace_schema_metadata({"model": self.model_name, "dtype": self.dtype})
            with replacing(self.beside[kind][0]) as path:
                # In a dictionary of any size, each text is stored once, however many queries find it.
                pq.write_table(self.rows[kind], path, compression="zstd", dictionary_pagesize_limit=1 << 30)
        content = {name: part.to_dict() for name, part in self.tasks.items()}
        claims = {name: asdict(zero_shot(self.model_name, name)) for name in self.tasks if name in EVALUATION_SETS}
        about = {"model": self.model_name, "dtype": self.dtype, **provenance()}
        write_json(self.output, {**about, "zero_shot": claims, "tasks": content})
