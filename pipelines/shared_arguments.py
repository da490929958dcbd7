"""Arguments that several verbs share, each declared once: bases of their `Args`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import UseAppendAction, arg


@dataclass(frozen=True, kw_only=True)
class OnCluster:
    """Verbs that work on a Ray cluster."""

    address: str | None = None
    """Head of a Ray cluster, host:port; by default RAY_ADDRESS, else this machine alone."""


@dataclass(frozen=True, kw_only=True)
class OfJobs:
    """Verbs about the jobs of a Ray cluster."""

    address: str | None = None
    """Where the cluster takes jobs, http://HEAD:8265; by default RAY_ADDRESS, else the last `marey cluster up`."""


@dataclass(frozen=True, kw_only=True)
class Overriding:
    """Verbs that take recipes."""

    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="FIELD=VALUE")] = ()
    """Change a field of the recipe, such as `--set train.lr=0.02`; may be given several times."""


@dataclass(frozen=True, kw_only=True)
class Filling:
    """Verbs that write definitions."""

    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """A value to fill in (init), such as `--set images=registry.example.com/me/marey`; may be given several times."""


@dataclass(frozen=True, kw_only=True)
class WithJSON:
    """Verbs that have a result."""

    json: bool = False
    """Print the result as JSON."""
