"""The built package: what it holds, and that it works away from the checkout."""

from __future__ import annotations

import ast
import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command to its end and return what it printed; fail with that if the command does."""
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the source distribution and the wheel that is made from it."""
    checkout, dist = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    for name in ("st_hybrid", "tests", "examples", "benchmarks"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, checkout, cwd=checkout)
    return dist


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that holds the installed wheel; on ``PYTHONPATH`` it comes before an editable install."""
    target = tmp_path_factory.mktemp("installed")
    (wheel,) = built.glob("*.whl")
    options = ["--quiet", "--no-deps", "--no-index", "--target", target]
    run(sys.executable, "-m", "pip", "install", *options, wheel, cwd=target)
    return target


def test_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("st_hybrid-*-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    package = ROOT / "st_hybrid"
    source = {
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == source
    assert "st_hybrid/py.typed" in source
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_twine_accepts_the_distributions(built: Path) -> None:
    assert len(list(built.iterdir())) == 2
    run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir(), cwd=built)


def test_wheel_works_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = "import st_hybrid; [getattr(st_hybrid, name) for name in st_hybrid.__all__]; print(st_hybrid.__file__)"
    where = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert Path(where.strip()).is_relative_to(installed)

    command = installed / "bin" / "st-hybrid"
    help_text = run(command, "--help", cwd=tmp_path, PYTHONPATH=str(installed))
    for name in ("quickstart", "train", "evaluate"):
        assert name in help_text


def test_import_loads_nothing_that_training_does_not_need(tmp_path: Path) -> None:
    # The star import also loads what the package itself loads on first use.
    code = "import sys; from st_hybrid import *; print(*sorted({'mteb', 'faiss', 'matplotlib'} & set(sys.modules)))"
    assert run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(ROOT)).strip() == ""


def test_ci_runs_the_test_command_of_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    (command,) = [line for line in readme if line.startswith("pip install") and line.endswith("pytest")]
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def declared() -> tuple[dict[str, Requirement], dict[str, set[str]]]:
    """Requirements of the package by name, and the names that each extra adds."""
    setup = configparser.ConfigParser()  # a line such as %(check)s stands for the lines of another extra
    setup.read(ROOT / "setup.cfg", encoding="utf-8")

    def requirements(lines: str) -> dict[str, Requirement]:
        parsed = [Requirement(line) for line in lines.split("\n") if line]
        return {canonicalize_name(requirement.name): requirement for requirement in parsed}

    required = requirements(setup["options"]["install_requires"])
    extras = {name: set(requirements(lines)) - set(required) for name, lines in setup["options.extras_require"].items()}
    return required, extras


@cache
def distribution_of(module: str) -> str:
    """Name of the distribution that a top-level module belongs to."""
    return canonicalize_name(packages_distributions()[module][0])


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Distribution of each import of a file, with the source of the ``try`` statement that holds the import."""
    source = path.read_text(encoding="utf-8")

    def visit(node: ast.AST, attempt: str) -> Iterator[tuple[str, str]]:
        if isinstance(node, ast.Try):
            attempt = ast.get_source_segment(source, node) or ""
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module or ""]
        for name in {module.split(".")[0] for module in modules} - sys.stdlib_module_names:
            if name not in ("st_hybrid", "tests", "benchmarks"):
                yield distribution_of(name), attempt
        for child in ast.iter_child_nodes(node):
            yield from visit(child, attempt)

    yield from visit(ast.parse(source), "")


@pytest.mark.parametrize("path", sorted((ROOT / "st_hybrid").rglob("*.py")), ids=lambda path: path.stem)
def test_package_imports_what_it_declares(path: Path) -> None:
    required, extras = declared()
    for distribution, attempt in imports(path):
        if distribution not in required:
            holding = [extra for extra, names in extras.items() if distribution in names]
            named = any(f"st-hybrid[{extra}]" in attempt for extra in holding)
            assert named, f"{path} imports {distribution}: declare it, or name its extra where the import fails."


def test_tests_import_what_they_declare() -> None:
    required, extras = declared()
    for path in sorted((ROOT / "tests").rglob("*.py")):
        undeclared = {distribution for distribution, _ in imports(path)} - set(required) - extras["test"]
        assert not undeclared, f"{path} imports {undeclared}."


def test_constraints_stay_within_the_declared_bounds() -> None:
    required, _ = declared()
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert pins
    for pin in pins:
        (version,) = pin.specifier
        assert required[pin.name].specifier.contains(version.version)
