"""The list of commands, and the options that they take from the library."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from st_hybrid.cli import COMMANDS
from st_hybrid.cli.options import listed, mapped

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("function", "summary"), [command[1:] for command in COMMANDS])
def test_a_summary_is_the_first_line_of_the_docstring(function: str, summary: str) -> None:
    module, _, name = function.partition(":")
    document = getattr(importlib.import_module(f"st_hybrid.cli.{module}"), name).__doc__
    assert document.splitlines()[0] == summary


def test_help_imports_neither_torch_nor_mteb() -> None:
    code = "import sys\nfrom st_hybrid.cli import app\n"
    code += "for words in ([], ['train'], ['evaluate'], ['encode']):\n"
    code += "    app([*words, '--help'], result_action='return_value')\n"
    code += "assert not {'torch', 'mteb'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for option in ("--sampler", "--alpha", "--language-sampling", "--max-steps", "--seed", "--output", "--resume"):
        assert option in done.stdout


def test_options_carry_the_defaults_and_documentation_of_the_library() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "st_hybrid.cli", "data", "check", "--help"],
        cwd=ROOT, env=os.environ | {"COLUMNS": "160"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    shown = " ".join(done.stdout.replace("│", " ").split())
    assert "Seed of the sample. [default: 0]" in shown
    for option in ("--no-detect", "--no-sample", "--no-near-duplicate-threshold", "--max.wrong-language"):
        assert option in shown


def test_pairs_and_lists() -> None:
    assert mapped(["query=question", "positive=a=b"]) == {"query": "question", "positive": "a=b"}
    assert listed(["de, en", "fr"]) == ["de", "en", "fr"]
    assert listed(None) is None
    for wrong, message in (["query"], "must be a pair"), (["a=b", "a=c"], "more than once"):
        with pytest.raises(ValueError, match=message):
            mapped(wrong)
