"""Grids: what they mean, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from st_hybrid.study.grid import Cell, Grid, cell_name, read_grid

GRID: dict[str, Any] = {
    "models": {"small": {"scratch": {"hidden": 16, "layers": 1}}, "hub": {"path": "a/model"}},
    "data": {"facts": {"cldr": {"groups": 60}, "fractions": [0.5, 1]}},
    "methods": {
        "untouched": None,
        "X-X-mono": {"sampler": "x-x-mono"},
        "X-Y": {"sampler": "x-y"},
        "hybrid": {"alpha": 0.6},
        "mixture": {"sampler": "mixture", "alpha": 0.2},
    },
    "budgets": {"steps": {"steps": 10}, "cross": {"cross_lingual_batches": 10}},
    "seeds": [3, 4],
    "recipe": {"batch_size": 8},
    "contrasts": [{"method": "hybrid", "against": "X-Y"}],
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(GRID | changes, sort_keys=False), encoding="utf-8")
    return path


def test_every_method_is_trained_under_every_budget_that_it_has(tmp_path: Path) -> None:
    cells = read_grid(write(tmp_path)).cells
    trained = [cell for cell in cells if not cell.untrained]
    assert len(trained) == 2 * 2 * 2 * (4 + 3)  # seeds, models, fractions; X-X-mono has no cross-lingual batches
    steps = {(cell.method, cell.budget): cell.recipe.max_steps for cell in trained}
    assert steps == {
        **{(method, "steps"): 10 for method in ("X-X-mono", "X-Y", "hybrid", "mixture")},
        ("X-Y", "cross"): 10,
        ("hybrid", "cross"): 25,
        ("mixture", "cross"): 13,
    }
    assert all(cell.recipe.batch_size == 8 and cell.recipe.seed == cell.seed for cell in trained)
    # A start as it is is measured once, or once per seed if its weights are drawn.
    untouched = [(cell.model, cell.seed) for cell in cells if cell.untrained]
    assert untouched == [("small", 3), ("hub", 3), ("small", 4)]
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)


def test_a_cell_is_named_by_all_that_decides_its_scores(tmp_path: Path) -> None:
    grid = read_grid(write(tmp_path))

    def names(grid: Grid, fingerprint: str = "f", version: str = "1") -> list[str]:
        return [cell_name(cell.settings(grid, fingerprint, version)) for cell in grid.cells]

    first = names(grid)
    assert len(first) - len(set(first)) == 8  # X-Y takes the same steps under both budgets: one cell serves both
    renamed = {"X-Y": GRID["methods"]["X-Y"], "other": GRID["methods"]["hybrid"]}
    same = names(read_grid(write(tmp_path, methods=renamed, contrasts=[])))
    assert set(same) < set(first)
    for changed in (
        names(grid, fingerprint="g"),
        names(grid, version="2"),
        names(read_grid(write(tmp_path, seeds=[5]))),
        names(read_grid(write(tmp_path, evaluation={"quotas": True}))),
        names(read_grid(write(tmp_path, recipe={"batch_size": 9}, methods={"hybrid": {}, "X-Y": {"sampler": "x-y"}}))),
    ):
        assert not set(changed) & set(first)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {}}, "model: there is no such key"),
        ({"seeds": []}, "seeds is empty: name at least one"),
        ({"seeds": [1, 1]}, "a seed is named twice"),
        ({"models": {"a": {}}}, "models.a: name a path or the sizes of a model from scratch"),
        (
            {"models": {"a": {"scratch": {"hidden": 10, "layers": 1}}}},
            r"models.a.scratch: hidden \(10\) must be",
        ),
        ({"data": {"a": {"sets": []}}}, "data.a: name sets, cldr or facts, one of the three"),
        ({"data": {"a": {"sets": ["rows.jsonl"]}}}, "evaluation names no tasks and no data"),
        (
            {"data": {"a": {"cldr": {}, "fractions": [1.5]}}},
            "data.a.fractions.0: Input should be less than",
        ),
        (
            {"budgets": {"a": {"steps": 1, "cross_lingual_batches": 1}}},
            "budgets.a: name steps or",
        ),
        ({"recipe": {"max_steps": 5}}, "a recipe names max_steps: leave it to budgets and seeds"),
        ({"recipe": {"batchsize": 5}}, "methods.untouched with models.small: a recipe has no 'batchsize'"),
        ({"recipe": {"learning_rate": "fast"}}, "methods.untouched .*: learning_rate: Input should be a valid number"),
        ({"methods": {"X-Y": {"sampler": "x-y", "alpha": 0.5}, "hybrid": {}}}, "methods.X-Y .*: alpha has no effect"),
        ({"contrasts": [{"method": "hybrid", "against": "x"}]}, "contrasts.0 names the method 'x'; the methods are"),
        ({"evaluation": {"tasks": ["XQuAD"]}}, r"evaluation.tasks.0: Input should be 'XQuAD-R'"),
    ],
)
def test_errors_name_the_key(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(ValueError, match=f"^{path}: .*{message}"):
        read_grid(path)


def test_the_grid_of_the_guide_is_one(tmp_path: Path) -> None:
    guide = Path(__file__).parents[2] / "docs" / "guides" / "study.md"
    path = tmp_path / "grid.yaml"
    path.write_text(guide.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    grid = read_grid(path)
    assert len(grid.cells) == 2 * (1 + 3 * 2 * (3 + 2))
    assert {cell.recipe.learning_rate for cell in grid.cells} == {5e-5}  # YAML reads a text
    assert grid.contrasts[0].measures == {"Mo.": "superiority", "Mul.": "non-inferiority"}


def test_a_file_that_is_none_or_not_yaml(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no file none"):
        read_grid("none.yaml")
    path = tmp_path / "grid.yaml"
    path.write_text("models: [", encoding="utf-8")
    with pytest.raises(ValueError, match=r"grid\.yaml is not YAML: .*line 1"):
        read_grid(path)


def test_a_cell_says_what_it_is() -> None:
    grid = Grid.model_validate(GRID)
    cells: list[Cell] = grid.cells
    assert str(cells[0]) == "small, facts, untouched, seed 3"
    assert str(cells[1]) == "small, facts 0.5, X-X-mono, steps, seed 3"
