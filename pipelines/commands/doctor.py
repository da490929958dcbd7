"""`marey doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.shared_arguments import OnCluster, WithJSON


@dataclass(frozen=True, kw_only=True)
class Args(OnCluster, WithJSON):
    """Look at what marey needs, here and on the cluster: a line each with what works, what does not, and what to do.

    The address may also be that of a dashboard, http://HEAD:8265, as `marey submit` takes it. Exit 1: something that is
    needed does not work.
    """


def main(args: Args) -> int:
    """Print what was found."""
    from pipelines.doctor import diagnose, to_text
    from pipelines.text import show, to_json

    diagnosis = diagnose(args.address)
    show(to_json(diagnosis) if args.json else to_text(diagnosis))
    return 0 if diagnosis.works else 1
