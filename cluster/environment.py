"""Variables of this process that hold for a while."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager


@contextmanager
def variables_set(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process while the context is open; all its threads see them."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def set_where_unset(wanted: Mapping[str, str]) -> AbstractContextManager[None]:
    """Do so with those variables that are not set already."""
    return variables_set({name: value for name, value in wanted.items() if name not in os.environ})
