"""Configuration of the documentation: ``sphinx-build -W -b html docs docs/_build``."""

from __future__ import annotations

import sys
from pathlib import Path

import st_hybrid

sys.path.insert(0, str(Path(__file__).parent))  # for the extension "reference"

project = "st-hybrid"
author = "The st-hybrid developers"
version = release = st_hybrid.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "reference"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"st-hybrid {release}"
html_show_copyright = False
html_show_sphinx = False

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Source"]

# A reference to a name that the package does not have fails the build; names of other packages are not looked up.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!st_hybrid\.).*")]
