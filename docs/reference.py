"""Sphinx extension: a page for every public name of the package, and the recorded results as pages of the site.

A module is public if it defines ``__all__``; the names in it are public. Nothing is listed by hand.
"""

from __future__ import annotations

import importlib
import inspect
import io
import pkgutil
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.nodes import make_refnode

import st_hybrid

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results"


@cache
def public_modules() -> dict[str, ModuleType]:
    """The modules that define ``__all__``, by name."""
    names = [
        "st_hybrid",
        *(
            info.name
            for info in pkgutil.walk_packages(st_hybrid.__path__, "st_hybrid.")
            if not info.name.startswith("st_hybrid.cli")
        ),
    ]
    modules = {name: importlib.import_module(name) for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "__all__")}


def _heading(text: str) -> str:
    return f"{text}\n{'=' * len(text)}"


def _described(thing: Any, module_name: str, name: str) -> list[str]:
    """The directives of a page."""
    if inspect.isclass(thing):
        bases = "" if thing.__bases__ == (object,) else "\n   :show-inheritance:"
        return [f".. currentmodule:: {module_name}", f".. autoclass:: {name}\n   :members:{bases}"]
    if inspect.isroutine(thing):
        return [f".. currentmodule:: {module_name}", f".. autofunction:: {name}"]
    # A value has the docstring of its type; its own stands below it in the module that defines it.
    text = "\n".join(f"   {line}" for line in _value_docs(thing, name))
    return [f".. py:data:: {module_name}.{name}\n\n{text}"]


def _value_docs(thing: Any, name: str) -> list[str]:
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] == "st_hybrid" and getattr(module, name, None) is thing:
            docs = ModuleAnalyzer.for_module(module_name).find_attr_docs()
            if ("", name) in docs:
                return docs["", name]
    return []


def _summary(thing: Any, name: str) -> str:
    """First sentence of a docstring."""
    documented = inspect.isclass(thing) or inspect.isroutine(thing)
    text = inspect.getdoc(thing) or "" if documented else "\n".join(_value_docs(thing, name))
    paragraph = text.split("\n\n")[0].replace("\n", " ")
    return paragraph.split(". ")[0].removesuffix(".") + "." if paragraph else "A value."


def write_pages(folder: Path) -> None:
    """Write the pages of the reference, and remove those of names that are gone.

    Args:
        folder: Folder of the pages.
    """
    pages: dict[str, list[str]] = {}
    of_object: dict[int, str] = {}
    for module_name, module in public_modules().items():
        entries, own = [], []
        for name in sorted(module.__all__, key=str.lower):
            thing, page = getattr(module, name), f"{module_name}.{name}"
            if inspect.isclass(thing) or inspect.isroutine(thing):
                page = of_object.setdefault(id(thing), page)  # a name that two modules export has one page
            if page == f"{module_name}.{name}":
                own.append(page)
                pages[page] = [_heading(name), *_described(thing, module_name, name)]
            entries.append(f":doc:`{name} <{page}>`\n   {_summary(thing, name)}")
        contents = [".. toctree::\n   :hidden:\n\n   " + "\n   ".join(own)] if own else []
        about = f".. automodule:: {module_name}\n   :no-members:"
        pages[module_name] = [_heading(module_name), about, *entries, *contents]
    modules = ".. toctree::\n   :maxdepth: 1\n\n   " + "\n   ".join(public_modules())
    pages["index"] = [_heading("Python"), "Each public name of each module has a page.", modules]
    pages["commands"] = [_heading("Commands"), *_commands()]
    folder.mkdir(exist_ok=True)
    for name, blocks in pages.items():
        path, text = folder / f"{name}.rst", "\n\n".join(blocks) + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:  # Sphinx reads again only what changed
            path.write_text(text, encoding="utf-8")
    for path in folder.glob("*.rst"):
        if path.stem not in pages:
            path.unlink()


def _commands() -> Iterator[str]:
    """The help of each command, as it prints."""
    from rich.console import Console

    from st_hybrid.cli import COMMANDS, app, data, imports, study

    words = {id(app): [], id(data): ["data"], id(imports): ["data", "import"], id(study): ["study"]}
    for group, function, _ in COMMANDS:
        command = [*words[id(group)], function.partition(":")[2]]
        console = Console(width=100, file=io.StringIO())
        app.help_print(command, console=console)
        shown = "".join(f"   {line}".rstrip() + "\n" for line in console.file.getvalue().splitlines())
        yield "\n".join([title := f"st-hybrid {' '.join(command)}", "-" * len(title)])
        yield f".. code-block:: text\n\n{shown}"


def copy_results(folder: Path) -> None:
    """Copy the recorded results, so that pages can link to them."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(RESULTS, folder)


def _prepare(app: Sphinx) -> None:
    write_pages(HERE / "reference")
    copy_results(HERE / "results")


def _link_results(app: Sphinx, page: str, source: list[str]) -> None:
    """Links to results lead to their copies; in the source they lead to the files of the repository."""
    if page.startswith(("guides/", "index")):
        source[0] = source[0].replace("](../../benchmarks/results/", "](/results/")


def _find(app: Sphinx, environment: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.Node | None:
    """Resolve a reference to the module that defines a public name, or to a name that has no page.

    Returns:
        A link to the page of a public name; the bare text for a name that the package has but does not export; None,
        which fails the build, for a name that the package does not have.
    """
    target = node.get("reftarget", "")
    objects = environment.domains["py"].data["objects"]
    for name, member in ((target, ""), (target.rpartition(".")[0], "." + target.rpartition(".")[2])):
        for page, defined in _public_names().items():
            if name in (defined, page.rpartition(".")[2]) and page + member in objects:
                entry = objects[page + member]
                return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, page + member)
    try:
        pkgutil.resolve_name(target)
    except (AttributeError, ImportError, ValueError):
        return None
    return content if target.startswith("st_hybrid.") else None


@cache
def _public_names() -> dict[str, str]:
    """Each public name by its module, and by the module that defines it."""
    return {
        f"{module_name}.{name}": f"{getattr(getattr(module, name), '__module__', module_name)}.{name}"
        for module_name, module in public_modules().items()
        for name in module.__all__
    }


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the steps of the build."""
    app.connect("builder-inited", _prepare)
    app.connect("source-read", _link_results)
    app.connect("missing-reference", _find)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
