"""The templates of `marey preview`: whatever they show is escaped, unless the code marks it as markup."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.preview.text import thousands, videos, visible

FOLDER = Path(__file__).parent / "templates"


def render(template: str, **data: Any) -> str:
    """Return a template of `templates/` filled with the data."""
    return _environment().get_template(template).render(data)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"thousands": thousands, "videos": videos}
    return environment


def _visible(value: Any) -> Any:
    """Make control characters visible; autoescape deals with markup. What is marked as markup stays as it is."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
