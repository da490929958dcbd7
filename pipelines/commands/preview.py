"""`marey preview DATASET OUT.html`."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from pipelines.places import Place
from pipelines.shared_arguments import WithJSON
from tasks.checks import at_least


@dataclass(frozen=True, kw_only=True)
class Args(WithJSON):
    """Write a page about a prepared dataset: sample frames and their flow, class balance, and why videos failed.

    The page is one file that loads nothing else. Of the dataset, only its tables and the samples shown are read.
    """

    dataset: Positional[Place]
    """Folder or URL of the prepared dataset."""
    out: Positional[Place]
    """The page to write, such as preview.html; path or URL. An existing one is replaced."""
    split: str | None = None
    """Count the parts of this split; by default the dataset's only or first one."""
    classes: int = 40
    """Classes shown with pictures, spread evenly where there are more."""
    samples: int = 4
    """Videos shown per class, spread evenly."""

    def __post_init__(self) -> None:
        at_least(self, 1, "classes", "samples")


def main(args: Args) -> int:
    """Write the page and say where it is."""
    from pipelines.preview import preview
    from pipelines.text import show, to_json

    result = preview(args.dataset, args.out, split=args.split, classes=args.classes, samples=args.samples)
    show(to_json(result) if args.json else str(result))
    return 0
