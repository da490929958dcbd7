"""The page of `marey preview`: one file that loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from markupsafe import Markup

from pipelines.pages import data_uri, render
from pipelines.preview.charts import Histogram, class_bars, histogram
from pipelines.preview.failures import failures_of
from pipelines.preview.pictures import Picture, colour_scale, coloured
from pipelines.preview.text import FILTERS, size, thousands, videos
from tasks.data.manifest import PARTS
from tasks.data.overview import FAILED, Overview
from tasks.data.reader import Reader
from tasks.data.settings import PrepareSettings
from tasks.video.colours import colour_wheel
from tasks.words import counted

FOLDER = Path(__file__).parent / "templates"
WHEEL = 192
COLUMNS = (*PARTS, "in no part", "failed")
"""What `Overview.counts` counts, in its order."""


@dataclass(frozen=True)
class Image:
    """A picture that the page holds."""

    uri: Markup
    alt: str


@dataclass(frozen=True)
class Figure:
    """A video that is shown."""

    video_id: str
    images: list[Image]
    facts: list[str]


@dataclass(frozen=True)
class Row:
    """A class and some of its videos."""

    label_id: int
    name: str
    counts: list[str]
    failed: int
    figures: list[Figure]


@dataclass(frozen=True)
class Samples:
    """The section of the videos that are shown."""

    rows: list[Row]
    shown: int
    """Classes with pictures, of `classes`."""
    classes: int
    more: bool
    """Whether a class has readable videos that are not shown."""
    ratio: str
    """Width of a picture over its height."""
    scale: str
    """Pixels per frame at the rim of the colour wheel."""
    wheel: Markup | None
    """None where there is no flow."""


def page(reader: Reader, overview: Overview, shown: Sequence[int], pictures: Sequence[Picture]) -> str:
    """Return the page as HTML.

    Args:
        reader: the dataset.
        overview: what it holds.
        shown: label_ids of the classes shown with pictures.
        pictures: videos of those classes.
    """
    style, script = (Markup((FOLDER / f"page.{kind}").read_text(encoding="utf-8")) for kind in ("css", "js"))
    return render(
        FOLDER,
        "page.html.j2",
        FILTERS,
        style=style,
        script=script,
        script_hash=Markup(f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"),
        name=reader.uri.rstrip("/").rpartition("/")[2] or reader.uri,
        uri=reader.uri,
        digest=reader.digest,
        split=overview.split,
        splits=overview.splits,
        parts=COLUMNS[:FAILED],
        figures=_figures(overview, reader.settings),
        facts=_facts(overview, reader.settings),
        bars=class_bars(reader.classes, overview.counts, {label_id: f"#class-{label_id}" for label_id in shown}),
        charts=_charts(overview, pictures),
        samples=_samples(reader, overview, shown, pictures),
        failures=failures_of(overview, reader.classes),
    )


def _figures(overview: Overview, settings: PrepareSettings) -> dict[str, str]:
    ok = int(overview.ok.sum())
    return {
        "videos ok": thousands(ok),
        "failed": thousands(len(overview.ok) - ok),
        "classes": thousands(overview.num_classes),
        "frames": thousands(overview.column("frames").sum()),
        "flow pairs": thousands(overview.column("flows").sum()) if settings.flow != "none" else "none",
        "on disk": size(overview.bytes),
    }


def _facts(overview: Overview, settings: PrepareSettings) -> dict[str, str]:
    jpeg = f"JPEG, quality {settings.rgb_quality}"
    flow = f"TV-L1 ({settings.flow_backend}), ±{settings.flow_bound:g} pixels per frame"
    return {
        "Short side": f"{settings.short_side} pixels",
        "Frame size": _frame_sizes(overview),
        "Frames": jpeg if settings.rgb == "jpeg" else f"H.264, CRF {settings.rgb_crf}",
        "Flow": flow if settings.flow != "none" else "none",
        "Split": overview.split + (f", one of {len(overview.splits)}" if len(overview.splits) > 1 else ""),
    }


def _charts(overview: Overview, pictures: Sequence[Picture]) -> list[Histogram]:
    durations = overview.durations
    unknown = int(overview.ok.sum()) - len(durations)
    charts = []
    if len(durations):
        note = f"; {thousands(unknown)} more have no known frame rate" if unknown else ""
        charts.append(histogram("Duration", durations, "s", "videos", f"{videos(len(durations))}{note}."))
    else:
        frames = overview.column("frames")[overview.ok]
        charts.append(histogram("Length", frames, "frames", "videos", f"{videos(len(frames))}."))
    moving = [picture for picture in pictures if picture.flow is not None]
    if moving:
        clipped = float(np.mean([picture.clipped for picture in moving]))
        note = f"Mean speed between the middle two frames of the {videos(len(moving))} shown below. "
        note += f"{clipped:.2%} of their pixels are clipped at the bound." if clipped else "No pixel reaches the bound."
        charts.append(histogram("Motion", [picture.speed for picture in moving], "pixels per frame", "videos", note))
    return charts


def _samples(reader: Reader, overview: Overview, shown: Sequence[int], pictures: Sequence[Picture]) -> Samples:
    scale = colour_scale(pictures)
    of_class: dict[int, list[Picture]] = {label_id: [] for label_id in shown}
    for picture in pictures:
        of_class[picture.label_id].append(picture)
    moving = any(picture.flow is not None for picture in pictures)
    ratio = min(max(float(np.median([p.size[0] / p.size[1] for p in pictures] or [1.0])), 9 / 16), 16 / 9)
    return Samples(
        rows=[_row(reader, overview, label_id, of_class[label_id], scale) for label_id in shown],
        shown=len(shown),
        classes=overview.num_classes,
        more=any(overview.counts[i, :FAILED].sum() > len(of_class[i]) for i in shown),
        ratio=f"{ratio:.3f}",
        scale=f"{scale:g}",
        wheel=_wheel() if moving else None,
    )


def _row(reader: Reader, overview: Overview, label_id: int, pictures: Sequence[Picture], scale: float) -> Row:
    counts, name = overview.counts[label_id], reader.classes[label_id]
    told = [f"{thousands(counts[i])} {column}" for i, column in enumerate(COLUMNS) if counts[i]]
    return Row(label_id, name, told, int(counts[FAILED]), [_figure(picture, name, scale) for picture in pictures])


def _figure(picture: Picture, label: str, scale: float) -> Figure:
    video_id = picture.video_id
    images = [Image(data_uri(picture.rgb, "jpeg"), f"Middle frame of {video_id}, {label}")]
    flow = coloured(picture, scale)
    if flow is not None:
        alt = f"Optical flow of {video_id}: {picture.speed:.1f} pixels per frame on average"
        images.append(Image(data_uri(flow, "jpeg"), alt))
    facts = [] if picture.seconds is None else [f"{picture.seconds:.1f} s"]
    facts += [counted(picture.frames, "frame"), *([picture.part] if picture.part else [])]
    return Figure(video_id, images, facts)


def _frame_sizes(overview: Overview) -> str:
    width, height = (overview.column(name)[overview.ok] for name in ("width", "height"))
    sizes = Counter(zip(width.tolist(), height.tolist(), strict=True)).most_common()
    if not sizes:
        return "none"
    (first, number), others = sizes[0], len(sizes) - 1
    rest = f" ({number / len(width):.0%}, and {others} other {'sizes' if others > 1 else 'size'})" if others else ""
    return f"{first[0]} × {first[1]} pixels{rest}"


def _wheel() -> Markup:
    _, png = cv2.imencode(".png", cv2.cvtColor(colour_wheel(WHEEL), cv2.COLOR_RGBA2BGRA))
    return data_uri(png.tobytes(), "png")
