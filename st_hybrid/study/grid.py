"""A grid of trainings in one YAML file, checked before any of them begins."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from st_hybrid.benchmark.evaluate import Task
from st_hybrid.dtypes import Dtype
from st_hybrid.recipe import Recipe
from st_hybrid.study.scratch import Scratch

__all__ = ["Cell", "Contrast", "Grid", "read_grid"]

Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Measure = Literal["Mo.", "Cr.", "Mul.", "rank distance", "PEER", "entropy"]
Question = Literal["superiority", "non-inferiority"]
_RECIPE = TypeAdapter(Recipe)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(_Strict):
    """An encoder to start from: ``path``, a folder or hub name, or ``scratch``, the sizes of a new one."""

    path: str | None = None
    scratch: Scratch | None = None
    recipe: dict[str, Any] = {}  #: Fields of the recipe that differ for this model.

    @model_validator(mode="after")
    def _one(self) -> "Model":
        if (self.path is None) == (self.scratch is None):
            raise ValueError("name a path or the sizes of a model from scratch, one of the two")
        return self


class Data(_Strict):
    """Rows to train on: ``sets`` as ``train --data`` takes them, or generated ones, whose held-out part is evaluated.

    ``cldr`` are the arguments of :func:`~st_hybrid.study.cldr.cldr_rows`, ``facts`` those of
    :func:`~st_hybrid.study.facts.fact_rows`, which are shorter and harder.
    """

    sets: list[str] = []
    cldr: dict[str, Any] | None = None
    facts: dict[str, Any] | None = None
    columns: dict[str, str] = {}
    fractions: list[Share] = [1.0]  #: Shares of the groups; a smaller one is part of a larger one.

    @model_validator(mode="after")
    def _one(self) -> "Data":
        if bool(self.sets) + (self.cldr is not None) + (self.facts is not None) != 1:
            raise ValueError("name sets, cldr or facts, one of the three")
        return self


class Budget(_Strict):
    """How long to train: ``steps``, or as many as give the same number of ``cross_lingual_batches``.

    With alpha the share of monolingual batches these are ``cross_lingual_batches / (1 - alpha)`` steps. A method
    without cross-lingual batches has no cell under such a budget.
    """

    steps: Positive | None = None
    cross_lingual_batches: Positive | None = None

    @model_validator(mode="after")
    def _one(self) -> "Budget":
        if (self.steps is None) == (self.cross_lingual_batches is None):
            raise ValueError("name steps or cross_lingual_batches, one of the two")
        return self

    def steps_of(self, recipe: Recipe) -> int | None:
        """The steps of a recipe under this budget, or None if it has no cross-lingual batches to count."""
        if self.cross_lingual_batches is None:
            return self.steps
        cross_lingual = 1 - recipe.sampler_options["alpha"]
        return math.ceil(self.cross_lingual_batches / cross_lingual) if cross_lingual else None


class Evaluation(_Strict):
    """What every cell is evaluated on: arguments of :func:`~st_hybrid.benchmark.evaluate_tasks`."""

    tasks: list[Task] = []
    data: list[str] = []
    sample: Positive | None = None
    languages: list[str] | None = None
    centers: list[str] = []
    quotas: bool = False
    dtype: Dtype | None = None
    batch_size: Positive = 32


class Contrast(_Strict):
    """A comparison that is declared before the study runs.

    Of each measure it asks whether the method is better (superiority), or not worse by more than ``margin``
    (non-inferiority).
    """

    method: str
    against: str
    measures: dict[Measure, Question] = {
        "Mo.": "non-inferiority",
        "Mul.": "superiority",
        "rank distance": "superiority",
    }
    margin: Annotated[float, Field(gt=0)] = 0.01


class Grid(_Strict):
    """The trainings of a study: every model on every part of the data with every method, budget and seed."""

    models: dict[str, Model]
    data: dict[str, Data]
    methods: dict[str, dict[str, Any] | None]  #: Fields of the recipe; null for the start as it is.
    budgets: dict[str, Budget]
    seeds: list[int] = [0]
    recipe: dict[str, Any] = {}  #: Fields of the recipe that all cells share.
    evaluation: Evaluation = Evaluation()
    contrasts: list[Contrast] = []

    @model_validator(mode="after")
    def _known(self) -> "Grid":
        for key in ("models", "data", "methods", "budgets", "seeds"):
            if not getattr(self, key):
                raise ValueError(f"{key} is empty: name at least one")
        if not (self.evaluation.tasks or self.evaluation.data) and any(one.sets for one in self.data.values()):
            raise ValueError("evaluation names no tasks and no data: nothing would be measured")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("a seed is named twice")
        for number, contrast in enumerate(self.contrasts):
            for name in (contrast.method, contrast.against):
                if name not in self.methods:
                    known = ", ".join(self.methods)
                    raise ValueError(f"contrasts.{number} names the method {name!r}; the methods are {known}")
        for model, method in product(self.models, self.methods):
            given = {*self.recipe, *self.models[model].recipe, *(self.methods[method] or {})}
            if fixed := given & {"max_steps", "epochs", "seed"}:
                raise ValueError(f"a recipe names {min(fixed)}: leave it to budgets and seeds")
            if unknown := given - {field.name for field in fields(Recipe)}:
                raise ValueError(f"methods.{method} with models.{model}: a recipe has no {min(unknown)!r}")
            try:
                self.recipe_of(model, method)
            except ValidationError as error:
                said = "; ".join(_complaints(error)).rstrip(".")
                raise ValueError(f"methods.{method} with models.{model}: {said}") from None
        return self

    def recipe_of(self, model: str, method: str) -> Recipe:
        """The recipe of a method for a model, before the budget and the seed."""
        # YAML reads 1e-3 as a text, which pydantic turns into a number.
        return _RECIPE.validate_python({**self.recipe, **self.models[model].recipe, **(self.methods[method] or {})})

    @cached_property
    def cells(self) -> list["Cell"]:
        """The cells, seed by seed, so that a study that is not complete has the first seeds of all methods."""
        found = []
        for seed, (model, start), (data, rows) in product(self.seeds, self.models.items(), self.data.items()):
            for method, settings in self.methods.items():
                if settings is None:
                    if seed == self.seeds[0] or start.scratch is not None:
                        found.append(Cell(model, data, 1.0, method, None, seed, self.recipe_of(model, method), True))
                    continue
                for fraction, (budget, limit) in product(rows.fractions, self.budgets.items()):
                    recipe = self.recipe_of(model, method)
                    if (steps := limit.steps_of(recipe)) is not None:
                        recipe = replace(recipe, max_steps=steps, seed=seed)
                        found.append(Cell(model, data, fraction, method, budget, seed, recipe, False))
        return found


@dataclass(frozen=True)
class Cell:
    """One training, or with ``untrained`` a start as it is, by its names in the grid."""

    model: str
    data: str
    fraction: float
    method: str
    budget: str | None
    seed: int
    recipe: Recipe
    untrained: bool

    def __str__(self) -> str:
        parts = [self.model, self.data + (f" {self.fraction:g}" if self.fraction < 1 else ""), self.method]
        return ", ".join([*parts, *([self.budget] if self.budget else []), f"seed {self.seed}"])

    def names(self) -> dict[str, Any]:
        """The names and numbers that tell the cell from the others of the grid."""
        return {key: getattr(self, key) for key in ("model", "data", "fraction", "method", "budget", "seed")}

    def settings(self, grid: Grid, fingerprint: str, version: str) -> dict[str, Any]:
        """All that decides the cell's scores, with the fingerprint of its data and the version of the package."""
        trained = {} if self.untrained else {"fraction": self.fraction, "recipe": asdict(self.recipe)}
        model = grid.models[self.model].model_dump(exclude={"recipe"})
        prompts = {name: getattr(self.recipe, name) for name in ("query_prompt", "document_prompt")}
        return {
            "model": model,
            "seed": self.seed,
            "data_fingerprint": fingerprint,
            **trained,
            **prompts,
            "evaluation": grid.evaluation.model_dump(),
            "st_hybrid": version,
        }


def cell_name(settings: Mapping[str, Any]) -> str:
    """The folder of a cell: 16 hexadecimal digits of the SHA-256 sum of its settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def read_grid(path: str | Path) -> Grid:
    """Read a grid from a YAML file.

    Args:
        path: The file: the fields of :class:`Grid`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not YAML, or a key is unknown, missing or not valid; the message names the key.

    Example:
        ::

            from st_hybrid.study.grid import read_grid

            print(len(read_grid("grid.yaml").cells))
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        return Grid.model_validate(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    except ValidationError as error:
        complaints = "; ".join(dict.fromkeys(_complaints(error)))
        raise ValueError(f"{path}: {complaints}.") from None


def _complaints(error: ValidationError) -> Iterator[str]:
    """What is wrong, with the key before it."""
    for one in error.errors():
        key = ".".join(map(str, one["loc"]))
        said = str(one["ctx"]["error"]) if one["type"] == "value_error" else one["msg"]
        said = "there is no such key" if one["type"] == "extra_forbidden" else said
        yield f"{key}: {said}" if key else said
