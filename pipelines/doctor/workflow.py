"""Runs the checks one after another, each within a time of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipelines.doctor import decoding, machine, mlflow_store, ray_cluster
from pipelines.doctor.finding import Finding, failed
from pipelines.errors import user_line
from tasks.remote import LateError, within

Check = Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class Diagnosis:
    """What all checks have found."""

    works: bool
    """Whether nothing that marey needs is missing."""
    findings: list[Finding]


def diagnose(address: str | None = None) -> Diagnosis:
    """Look at all that marey's verbs need; it takes seconds, whatever does not answer.

    Args:
        address: `host:port` of the head of a Ray cluster, or the URL of its dashboard; by default RAY_ADDRESS.
    """
    checks: list[tuple[str, float, Check]] = [
        ("decoders", 20, decoding.libraries),
        ("codecs", 30, decoding.codecs),
        ("sandbox", 10, decoding.sandbox),
        ("gpu", 30, machine.gpus),
        ("disk", 10, machine.disk),
        ("shared memory", 5, machine.shared_memory),
        ("ports", 5, machine.ports),
        ("ray", 20, ray_cluster.library),
        ("cluster", ray_cluster.SECONDS, lambda: ray_cluster.reachable(address)),
        ("tracking", mlflow_store.SECONDS, mlflow_store.tracking),
    ]
    findings = [finding for name, seconds, check in checks for finding in _findings(name, seconds, check)]
    return Diagnosis(all(finding.level != "error" for finding in findings), findings)


def _findings(name: str, seconds: float, check: Check) -> list[Finding]:
    """Return what a check finds; that it fails or takes too long is a finding, too."""
    found: list[Finding] = []
    try:
        within(seconds, lambda: found.extend(check()))
    except LateError:
        late = Finding(name, "error", f"no answer within {seconds:.0f} s", "see whether the machine is overloaded")
        return [*found, late]
    except Exception as error:  # noqa: BLE001 - whatever is broken here, the other checks go on
        if (line := user_line(error)) is not None:
            return [*found, failed(name, line)]
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return [*found, Finding(name, "error", said, "install marey and its packages anew")]
    return found


def to_text(diagnosis: Diagnosis) -> str:
    """Return a line for each finding."""
    from pipelines.text import columns

    rows = []
    for finding in diagnosis.findings:
        advice = f": {finding.advice}" if finding.advice else ""
        rows.append((finding.level, finding.name, f"{finding.found}{advice}"))
    return "\n".join(columns(rows))
