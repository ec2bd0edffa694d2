"""The site builds without a warning, every public name has a page, and every link leads somewhere."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import st_hybrid
from st_hybrid.cli import app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
WRITTEN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", DOCS / "index.md", DOCS / "versions.md"]
WRITTEN += sorted((DOCS / "guides").glob("*.md"))
WRITTEN += sorted((ROOT / "benchmarks" / "results").rglob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_every_public_name_has_a_page(site: Path) -> None:
    modules = ["st_hybrid", *(info.name for info in pkgutil.walk_packages(st_hybrid.__path__, "st_hybrid."))]
    for module_name in modules:
        if module_name.startswith("st_hybrid.cli"):
            continue
        for name in getattr(importlib.import_module(module_name), "__all__", ()):
            # A name that two modules export has one page, which the page of each module links to.
            (page,) = re.findall(
                rf'<a class="reference internal" href="([^"#]+)"[^>]*>(?:<span[^>]*>)?{name}</span>',
                (site / "reference" / f"{module_name}.html").read_text(encoding="utf-8").partition("<article")[2],
            )
            described = (site / "reference" / page).read_text(encoding="utf-8")
            assert re.search(rf'<dt class="sig[^>]*id="st_hybrid\.[\w.]*{name}"', described), f"{module_name}.{name}"


@pytest.mark.slow
def test_pages_link_to_recorded_results(site: Path) -> None:
    page = (site / "guides" / "expect.html").read_text(encoding="utf-8")
    assert "../results/xquad-r/README.html" in page
    assert (site / "results" / "xquad-r" / "README.html").is_file()


def links(path: Path) -> Iterator[tuple[Path, str]]:
    """File and heading of each relative link of a Markdown file."""
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            file, _, heading = target.partition("#")
            yield (path.parent / file).resolve() if file else path, heading


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(path: Path) -> None:
    for file, heading in links(path):
        assert file.exists(), f"{path} links to {file}, which does not exist."
        if heading:
            titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in anchors, f"{path} links to the heading {heading} of {file}, which does not exist."


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


def commands() -> list[str]:
    """Every command of ``st-hybrid`` in README and the guides."""
    found = []
    for path in WRITTEN[:4] + sorted((DOCS / "guides").glob("*.md")):
        for block in re.findall(r"^```sh\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            block = re.sub(r"\\\n\s*", "", block)
            found += re.findall(r"^(?:.*&& )?st-hybrid (.+)$", block, re.MULTILINE)
    return sorted(set(found))


@pytest.mark.parametrize("command", commands())
def test_documented_command_parses(command: str) -> None:
    app.parse_args(command, exit_on_error=False, print_error=False)
