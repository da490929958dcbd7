"""The HTML of `marey preview`: one file that loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pipelines.preview.charts import histogram, share_bars
from pipelines.preview.failures import failed_videos
from pipelines.preview.pictures import Picture, colour_scale, coloured
from pipelines.preview.text import count, plain, size, videos
from tasks.data.manifest import PARTS
from tasks.data.overview import FAILED, Overview
from tasks.data.reader import Reader
from tasks.video.colours import colour_wheel

HERE = Path(__file__).parent
WHEEL = 192


def render(reader: Reader, overview: Overview, shown: Sequence[int], pictures: Sequence[Picture]) -> str:
    """Return the page.

    Args:
        reader: of the dataset.
        overview: of the dataset.
        shown: label_ids of the classes shown with pictures.
        pictures: of those classes.
    """
    style, script = ((HERE / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    name = plain(reader.uri.rstrip("/").rpartition("/")[2] or reader.uri)
    failures = overview.failures()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src '{_hash(script)}'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{name}: a dataset of marey</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
{_head(reader, overview, name, len(failures))}
<main>
{_classes(reader, overview, shown)}
{_distributions(overview, pictures)}
{_samples(reader, overview, shown, pictures)}
{failed_videos(reader.classes, failures)}
</main>
<script>{script}</script>
</body>
</html>
"""


def _head(reader: Reader, overview: Overview, name: str, failed: int) -> str:
    settings, total = reader.settings, len(overview.ok)
    flow = settings.flow != "none"
    figures = {
        "videos ok": count(total - failed),
        "failed": count(failed),
        "classes": count(overview.num_classes),
        "frames": count(overview.column("frames").sum()),
        "flow pairs": count(overview.column("flows").sum()) if flow else "none",
        "on disk": size(overview.bytes),
    }
    jpeg = f"JPEG, quality {settings.rgb_quality}"
    facts = {
        "Short side": f"{settings.short_side} pixels",
        "Frame size": _frame_sizes(overview),
        "Frames": jpeg if settings.rgb == "jpeg" else f"H.264, CRF {settings.rgb_crf}",
        "Flow": f"TV-L1 ({settings.flow_backend}), ±{settings.flow_bound:g} pixels a frame" if flow else "none",
        "Split": f"{plain(overview.split)}" + (f", one of {len(overview.splits)}" if len(overview.splits) > 1 else ""),
        "Digest": f"<code>{plain(reader.digest)}</code>",
    }
    cells = "".join(
        f"<div{' class=alarm' if key == 'failed' and failed else ''}><dt>{key}</dt><dd>{value}</dd></div>"
        for key, value in figures.items()
    )
    rows = "".join(f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in facts.items())
    links = {"classes": "Classes", "distributions": "Distributions", "samples": "Samples"}
    links["failures"] = f"Failures ({count(failed)})"
    return f"""<header>
<p class="eyebrow">Prepared dataset</p>
<h1>{name}</h1>
<p class="path">{plain(reader.uri)}</p>
<dl class="figures">{cells}</dl>
<dl class="facts">{rows}</dl>
<nav aria-label="Sections">{"".join(f'<a href="#{key}">{text}</a>' for key, text in links.items())}</nav>
</header>"""


def _classes(reader: Reader, overview: Overview, shown: Sequence[int]) -> str:
    names = [plain(name) for name in reader.classes]
    linked = set(shown)
    labels = [f'<a href="#class-{i}">{name}</a>' if i in linked else name for i, name in enumerate(names)]
    several = _splits(overview) if len(overview.splits) > 1 else ""
    return f"""<section id="classes" aria-labelledby="classes-title">
<h2 id="classes-title">Classes</h2>
<p>Videos of each class, by their part of the split <em>{plain(overview.split)}</em>; largest class first.</p>
{share_bars(labels, overview.counts)}
{several}</section>"""


def _splits(overview: Overview) -> str:
    rows = "".join(
        f'<tr><th scope="row"><bdi>{plain(name)}</bdi></th>{"".join(f"<td>{count(n)}</td>" for n in counts)}</tr>'
        for name, counts in overview.splits.items()
    )
    heads = "".join(f'<th scope="col">{part}</th>' for part in [*PARTS, "in no part"])
    return f"""<h3>All splits</h3>
<div class="scroll" tabindex="0" role="region" aria-label="Videos that can be read, by split"><table class="numbers">
<thead><tr><th scope="col">split</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>
"""


def _distributions(overview: Overview, pictures: Sequence[Picture]) -> str:
    durations = overview.durations
    unknown = int(overview.ok.sum()) - len(durations)
    charts = []
    if len(durations):
        note = f" {count(unknown)} more have no known frame rate." if unknown else ""
        charts.append(histogram("Duration", durations, "s", "videos", f"Of {videos(len(durations))}.{note}"))
    else:
        frames = overview.column("frames")[overview.ok]
        charts.append(histogram("Length", frames, "frames", "videos", f"Of {videos(len(frames))}."))
    moving = [picture for picture in pictures if picture.flow is not None]
    if moving:
        clipped = float(np.mean([picture.clipped for picture in moving]))
        note = f"Mean of the middle pair of frames, of the {videos(len(moving))} shown below. "
        note += f"{clipped:.2%} of their pixels are clipped at the bound." if clipped else "No pixel reaches the bound."
        charts.append(histogram("Motion", [picture.speed for picture in moving], "pixels a frame", "videos", note))
    return f"""<section id="distributions" aria-labelledby="distributions-title">
<h2 id="distributions-title">Distributions</h2>
<div class="charts">
{"".join(charts)}</div>
</section>"""


def _samples(reader: Reader, overview: Overview, shown: Sequence[int], pictures: Sequence[Picture]) -> str:
    scale = colour_scale(pictures)
    of_class: dict[int, list[Picture]] = {label_id: [] for label_id in shown}
    for picture in pictures:
        of_class[picture.label_id].append(picture)
    moving = any(picture.flow is not None for picture in pictures)
    what = "The middle frame" + (" and the optical flow from there to the next" if moving else "")
    what += " of videos that are spread evenly over their class, by video id."
    left = overview.num_classes - len(shown)
    if left:
        classes = f"{count(len(shown))} of {count(overview.num_classes)} classes"
        what += f" {classes} are shown, spread evenly; <code>--classes</code> shows more."
    if any(overview.counts[i, :FAILED].sum() > len(of_class[i]) for i in shown):
        what += " <code>--samples</code> shows more videos of each class."
    ratio = min(max(float(np.median([p.size[0] / p.size[1] for p in pictures] or [1.0])), 9 / 16), 16 / 9)
    rows = "\n".join(_row(reader, overview, label_id, of_class[label_id], scale) for label_id in shown)
    return f"""<section id="samples" aria-labelledby="samples-title" style="--ratio: {ratio:.3f}">
<h2 id="samples-title">Samples</h2>
<div class="intro"><p>{what}</p>{_legend(scale) if moving else ""}</div>
{rows}
</section>"""


def _legend(scale: float) -> str:
    _, png = cv2.imencode(".png", cv2.cvtColor(colour_wheel(WHEEL), cv2.COLOR_RGBA2BGRA))
    return f"""<figure class="legend">
<img src="{_data(png.tobytes(), "png")}" width="96" height="96"
 alt="Colour wheel: red to the right, yellow down, cyan to the left, violet up, white in the middle">
<figcaption><strong>Colour is motion.</strong> The direction from the middle of the wheel is the direction of motion;
white is none, the rim is {scale:g} pixels a frame, and what is faster is darker.</figcaption>
</figure>"""


def _row(reader: Reader, overview: Overview, label_id: int, pictures: Sequence[Picture], scale: float) -> str:
    counts = overview.counts[label_id]
    told = [f"{count(counts[i])} {part}" for i, part in enumerate([*PARTS, "in no part", "failed"]) if counts[i]]
    if pictures:
        label = reader.classes[label_id]
        content = f'<div class="row">{"".join(_figure(picture, label, scale) for picture in pictures)}</div>'
    else:
        failed = int(counts[FAILED])
        content = f'<p class="none">{"Its only video" if failed == 1 else f"All {count(failed)} videos"} failed.</p>'
    name = plain(reader.classes[label_id])
    heading = f"<h3><bdi>{name}</bdi> <small>{', '.join(told)}</small></h3>"
    return f'<article id="class-{label_id}">{heading}{content}</article>'


def _figure(picture: Picture, label: str, scale: float) -> str:
    video_id = plain(picture.video_id)
    images = [_image(picture.rgb, f"Middle frame of {video_id}, {plain(label)}")]
    flow = coloured(picture, scale)
    if flow is not None:
        images.append(_image(flow, f"Optical flow of {video_id}: {picture.speed:.1f} pixels a frame on average"))
    told = [] if picture.seconds is None else [f"{picture.seconds:.1f} s"]
    told += [f"{count(picture.frames)} frames", *([picture.part] if picture.part else [])]
    return (
        f'<figure><div class="pair">{"".join(images)}</div><figcaption><bdi class="id">{video_id}</bdi>'
        f"<span>{' · '.join(told)}</span></figcaption></figure>"
    )


def _frame_sizes(overview: Overview) -> str:
    width, height = (overview.column(name)[overview.ok] for name in ("width", "height"))
    sizes = Counter(zip(width.tolist(), height.tolist(), strict=True)).most_common()
    if not sizes:
        return "none"
    (first, number), others = sizes[0], len(sizes) - 1
    share = f" ({number / len(width):.0%}, and {others} other {'sizes' if others > 1 else 'size'})" if others else ""
    return f"{first[0]} × {first[1]} pixels{share}"


def _image(jpeg: bytes, alt: str) -> str:
    return f'<img src="{_data(jpeg, "jpeg")}" alt="{alt}" decoding="async">'


def _data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _hash(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
