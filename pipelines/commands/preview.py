"""`marey preview DATASET OUT.html`."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from tasks.checks import at_least


@dataclass(frozen=True, kw_only=True)
class Args:
    """Write a page to look at: sample frames and their flow, class balance, and every failed video and why.

    The page is one file that loads nothing. Of the dataset no more is read than its tables and the samples shown.
    """

    dataset: Positional[str]
    """Folder or URL of the prepared dataset."""
    out: Positional[str]
    """The page to write, such as preview.html; path or URL. One that is there is replaced."""
    split: str | None = None
    """Count the parts of this split; by default the dataset's only or first one."""
    classes: int = 40
    """Classes shown with pictures, spread evenly where there are more."""
    samples: int = 4
    """Videos shown of each of these classes, spread evenly."""

    def __post_init__(self) -> None:
        at_least(self, 1, "classes", "samples")


def main(args: Args) -> int:
    """Write the page and say where it is."""
    from pipelines.preview import preview

    print(preview(args.dataset, args.out, split=args.split, classes=args.classes, samples=args.samples))
    return 0
