"""The layout: modules import from lower layers only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "st_hybrid"
# From the top down. Modules of a folder may import each other; folders and files of one layer may not.
LAYERS = (
    ("cli",),
    ("study",),
    ("training", "benchmark", "encode_ahead"),
    ("tasks",),
    ("data", "translation"),
    ("evaluation",),
    ("methods",),
    ("search", "trainer"),
    ("loss", "sampler"),
    ("draw",),
    ("pairs",),
    ("rows",),
    ("normalized",),
    (
        "checkpoints",
        "languages",
        "encoders",
        "sentences",
        "grouping",
        "progress",
        "files",
        "provenance",
        "ray_cluster",
        "recipe",
    ),
    ("dtypes",),
)
LAYER = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__")


def imports(path: Path) -> set[str]:
    """The modules of the package that a module imports, without ``st_hybrid.``; also those imported in a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("st_hybrid."):
            found.add(str(node.module).removeprefix("st_hybrid."))
        elif isinstance(node, ast.Import):
            found |= {name.name.removeprefix("st_hybrid.") for name in node.names if name.name.startswith("st_hybrid.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_run_downwards(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module in imports(path):
        other = module.split(".")[0]
        assert other == room or LAYER[other] > LAYER[room], f"{room} imports {module}"


def test_modules_do_not_import_in_circles() -> None:
    graph = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): imports(path)
        for path in MODULES
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, f"circle: {' → '.join([*above[above.index(module) :], module])}"
        if module not in done and module in graph:
            for other in graph[module]:
                visit(other, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())
