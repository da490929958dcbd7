"""The charts of `marey preview`, as HTML that a style sheet draws and a screen reader reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BINS = 24
TAIL = 0.99
"""Share of the values that the axis of a histogram holds where the others lie far away; those share the last bar."""
LISTED = 1000
"""Classes listed; of more, the largest and the smallest are."""
SEGMENTS = ("train", "val", "test", "in no part", "failed")


def histogram(title: str, values: Sequence[float] | np.ndarray, unit: str, things: str, note: str) -> str:
    """Draw how `values` (in `unit`) spread over `things`; `note` is HTML."""
    values = np.asarray(values, float)
    if not len(values):
        return f'<figure class="chart"><h3>{title}</h3><p>There is nothing to show.</p></figure>\n'
    edges, cut = _edges(values)
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    low, middle, high = (float(v) for v in (values.min(), np.median(values), values.max()))
    titles = [f"{_range(edges, i, cut, unit)}: {count:,} {things}" for i, count in enumerate(counts)]
    heights = 100 * counts / counts.max()
    bars = "".join(f'<i style="height:{h:.2f}%" title="{t}"></i>' for h, t in zip(heights, titles, strict=True))
    told = f"median {_short(middle)}, from {_short(low)} to {_short(high)} {unit}"
    if _short(low) == _short(high):
        told = f"all {_short(low)} {unit}"
    return f"""<figure class="chart">
<h3>{title} <small>{told}</small></h3>
<div class="bars" role="img" aria-label="Histogram of {title.lower()}: {told}; at most {counts.max():,} {things} a bar">
{bars}</div>
<p class="axis" aria-hidden="true"><span>{_short(edges[0])}</span><span>{_short((edges[0] + edges[-1]) / 2)}</span>
<span>{_short(edges[-1])} {unit}{" and more" if cut else ""}</span></p>
<figcaption>{note}</figcaption>
</figure>
"""


def share_bars(labels: Sequence[str], counts: np.ndarray) -> str:
    """Draw a bar a class, divided into train, val, test, no part and failed.

    Args:
        labels: HTML, K.
        counts: int [K, 5].
    """
    totals = counts.sum(1)
    order = np.argsort(-totals, kind="stable").tolist()
    used = [i for i in range(len(SEGMENTS)) if counts[:, i].any()]
    row = [_class_row(labels[k], counts[k], used, int(totals.max())) for k in order]
    if len(row) > LISTED:
        half = LISTED // 2
        between = f"{len(row) - 2 * half:,} classes of {totals[order[-half - 1]]:,} to {totals[order[half]]:,} videos"
        row[half:-half] = [f'<tr><td colspan="{len(used) + 3}">… {between} are left out …</td></tr>\n']
    heads = "".join(f'<th scope="col"><i class="key {_slug(i)}"></i>{SEGMENTS[i]}</th>' for i in used)
    return f"""<div class="scroll" tabindex="0" role="region" aria-label="Videos of each class">
<table class="balance" style="--numbers: {len(used) + 1}">
<thead><tr><th scope="col">class</th><td></td><th scope="col">videos</th>{heads}</tr></thead>
<tbody>
{"".join(row)}</tbody>
</table></div>
"""


def _class_row(label: str, counts: np.ndarray, used: Sequence[int], longest: int) -> str:
    segments = "".join(
        f'<i class="{_slug(i)}" style="width:{100 * counts[i] / longest:.3f}%"></i>' for i in used if counts[i]
    )
    numbers = "".join(f"<td>{counts[i]:,}</td>" for i in used)
    return (
        f'<tr><th scope="row"><bdi>{label}</bdi></th><td class="bar" aria-hidden="true"><div>{segments}</div></td>'
        f"<td>{counts.sum():,}</td>{numbers}</tr>\n"
    )


def _edges(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the edges of equal, round bins, and whether the last one holds a far tail too."""
    low, high, most = float(values.min()), float(values.max()), float(np.quantile(values, TAIL))
    cut = high - low > 2 * (most - low) > 0
    top = most if cut else high
    if top == low:  # all alike
        low, top = max(low - 0.5, 0.0), low + 0.5
    unit = 10.0 ** np.floor(np.log10((top - low) / BINS))
    width = next(step * unit for step in (1, 2, 2.5, 5, 10) if (top - low) / (step * unit) <= BINS)
    first, last = np.floor(low / width), max(np.floor(low / width) + 1, np.ceil(top / width))
    return np.arange(first, last + 1) * width, bool(cut)


def _range(edges: np.ndarray, index: int, cut: bool, unit: str) -> str:
    low, high = _short(edges[index]), _short(edges[index + 1])
    return f"{low} {unit} and more" if cut and index == len(edges) - 2 else f"{low} to {high} {unit}"


def _slug(segment: int) -> str:
    return SEGMENTS[segment].replace(" ", "-")


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 1 else f"{value:.2g}"
