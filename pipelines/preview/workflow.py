"""`marey preview`: a page about what a prepared dataset holds, with some of its videos and all failed ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError
from pipelines.preview.page import page as page_of
from pipelines.preview.pictures import read_pictures
from tasks.data import storage
from tasks.data.overview import evenly, read_overview
from tasks.data.reader import Reader
from tasks.words import counted

CLASSES, SAMPLES = 40, 4
"""Classes shown with pictures, and videos shown of each."""


@dataclass(frozen=True, kw_only=True)
class PreviewResult:
    """The page that was written."""

    page: str
    """Absolute path, or URL."""
    bytes: int
    ok: int
    failed: int
    classes: int
    """Classes shown with pictures."""
    pictures: int
    """Videos shown."""

    def __str__(self) -> str:
        return (
            f"{counted(self.ok, 'video')} ok, {self.failed} failed; pictures of {self.pictures} of them, in "
            f"{counted(self.classes, 'class')}: {self.page} ({self.bytes / 1e6:.1f} MB)"
        )


def preview(
    dataset: str | Path, out: str | Path, *, split: str | None = None, classes: int = CLASSES, samples: int = SAMPLES
) -> PreviewResult:
    """Write a page about a dataset; only its tables and the videos shown are read.

    Args:
        dataset: folder or fsspec URL.
        out: path or URL of the HTML file.
        split: the split whose parts are counted; None takes the first.
        classes: number of classes shown with pictures, evenly spread.
        samples: number of videos shown of each of them, evenly spread.

    Raises:
        UserError: there is no finished dataset, it has no such split, or the page cannot be written.
    """
    page = _checked(str(out))
    reader = Reader(str(dataset))
    overview = read_overview(reader, split)
    shown = evenly(overview.num_classes, classes)
    places = [place for label_id in shown for place in overview.spread(label_id, samples)]
    pictures = read_pictures(reader, overview, places)
    content = page_of(reader, overview, shown, pictures).encode()
    try:
        storage.publish(page, content)
    except OSError as error:
        raise UserError(f"{page} cannot be written: {error.strerror or error}; choose another place") from error
    ok = int(overview.ok.sum())
    return PreviewResult(
        page=page,
        bytes=len(content),
        ok=ok,
        failed=len(overview.ok) - ok,
        classes=len(shown),
        pictures=len(pictures),
    )


def _checked(out: str) -> str:
    """Return the path or URL of the page; refuse now what would fail after the work, or overwrite something else."""
    page = storage.absolute(out)
    if Path(page).suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{out} does not end in .html: name the page to write, such as preview.html")
    if storage.is_local(page):
        if Path(page).is_dir():
            raise UserError(f"{page} is a folder: name the page to write, such as {page}/preview.html")
        if not Path(page).parent.is_dir():
            raise UserError(f"{Path(page).parent} is not a folder: create it, or choose another place for the page")
        storage.require_writable(str(Path(page).parent))
    return page
