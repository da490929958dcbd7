"""The documentation site: `make docs` builds it; warnings, and links that lead nowhere, are errors."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

project = "marey"
author = "the marey maintainers"
copyright = author
release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
html_theme = "furo"
html_title = f"marey {release}"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True

# Types of other projects have no page here, and the build does not go to the network for theirs.
nitpick_ignore_regex = [("py:.*", r"(?!marey\b).*")]


def setup(app: Sphinx) -> None:
    """Read our docstrings: Google's sections, and names between single backticks, as in Markdown."""
    app.connect("autodoc-process-docstring", _read_docstring)


def _read_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", "\n".join(lines))
    if what != "attribute":  # there, a colon would make a type of what stands before it
        text = str(GoogleDocstring(text, Config(), app, what, name, obj, options))
    lines[:] = text.split("\n")
