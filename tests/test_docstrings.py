"""Every example of a docstring and every Python block of the guides runs as written.

Each runs in a namespace and a folder of its own. The folder holds small stand-ins under the names that examples use:
``intfloat/multilingual-e5-small`` is a tiny encoder, ``data/xquad-r`` a few generated paragraphs. No code is replaced.
"""

from __future__ import annotations

import ast
import linecache
import re
import shutil
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from .stand_ins import publish, write_files
from .translation.conftest import m2m_path  # noqa: F401 (a fixture)

ROOT = Path(__file__).parent.parent

# What cannot run here, each with its reason.
SKIPPED = {
    "st_hybrid.encode_ahead.encode_miracl": "starts a Ray cluster; tests/test_encode_ahead.py does, too",
    "st_hybrid.study.engines.run_workers": "starts eight processes; tests/study/test_engines.py starts two",
}
MIRACL_LANGUAGES = "ar bn de en es fa fi fr hi id ja ko ru sw te th yo zh"
SLOW = {
    "st_hybrid.study.quickstart.run_quickstart",
    "st_hybrid.training.finetune",
}


def examples_of(docstring: str) -> Iterator[str]:
    """The code of each ``Example:`` section."""
    for section in re.findall(r"^Examples?:\n((?:[ ]+.*\n|\n)+)", docstring + "\n", re.MULTILINE):
        _, marker, code = textwrap.dedent(section).partition("::\n")
        assert marker, f"An example needs '::' and an indented block: {section!r}"
        yield textwrap.dedent(code).strip() + "\n"


def docstring_examples() -> dict[str, str]:
    """Code by the full name of what it documents."""
    found = {}
    for path in sorted((ROOT / "st_hybrid").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")

        def visit(node: Any, name: str) -> None:
            for number, code in enumerate(examples_of(ast.get_docstring(node) or "")):
                found[name + (f"[{number}]" if number else "")] = code
            for child in node.body:
                if isinstance(child, ast.ClassDef | ast.FunctionDef):
                    visit(child, f"{name}.{child.name}")

        visit(ast.parse(path.read_text(encoding="utf-8")), module)
    return found


def guide_examples() -> dict[str, str]:
    """Code of the Python blocks of README and docs, by file and place."""
    found = {}
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(("docs/_build/", "docs/results/")):
            continue
        blocks = re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        found.update({f"{name}[{number}]": code for number, code in enumerate(blocks)})
    return found


@pytest.fixture(scope="session")
def shelf(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_model_path: Path,
    m2m_path: Path,  # noqa: F811
) -> Path:
    """Folder of the stand-ins."""
    folder = tmp_path_factory.mktemp("shelf")
    write_files(folder)
    for name, model in (
        ("intfloat/multilingual-e5-small", tiny_model_path),
        ("facebook/nllb-200-distilled-600M", m2m_path),
        ("facebook/m2m100_418M", m2m_path),
    ):
        shutil.copytree(model, folder / name)
    return folder


@pytest.fixture
def workplace(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_miracl: Callable[..., Path]) -> Path:
    """The current folder of an example, with the stand-ins in it."""
    folder = tmp_path / "workplace"
    shutil.copytree(shelf, folder)
    miracl = write_miracl(MIRACL_LANGUAGES.split(), passages=20, queries=3)
    shutil.copytree(miracl, folder / "data", dirs_exist_ok=True)
    shutil.move(miracl, folder / "data" / "miracl")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ST_HYBRID_DATA", str(folder / "data"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    publish(folder / "data", monkeypatch)
    matplotlib.use("agg")
    return folder


def parameters() -> list[Any]:
    """Every example, with the marks that it needs."""
    return [
        pytest.param(
            name,
            code,
            id=name,
            marks=[
                *([pytest.mark.slow] if name in SLOW else []),
                *([pytest.mark.skip(reason=SKIPPED[name])] if name in SKIPPED else []),
            ],
        )
        for name, code in {**docstring_examples(), **guide_examples()}.items()
    ]


@pytest.mark.parametrize(("name", "code"), parameters())
def test_example_runs(name: str, code: str, workplace: Path) -> None:
    source = f"<example of {name}>"
    linecache.cache[source] = (len(code), None, code.splitlines(keepends=True), source)
    exec(compile(code, source, "exec"), {"__name__": "__main__"})


def test_lists_name_examples_that_exist() -> None:
    assert SKIPPED.keys() | SLOW <= docstring_examples().keys() | guide_examples().keys()
