"""The failed videos on the page of `marey preview`: all of them, however many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipelines.preview.text import count, plain, videos
from tasks.video.errors import TRANSIENT

AT_ONCE = 200
"""Rows that the browser lays out before somebody asks for more."""
FILTERED = 20
"""More rows than this come with a field to filter them."""


def failed_videos(classes: Sequence[str], failures: Sequence[dict[str, Any]]) -> str:
    """Return the section: all rows of `Overview.failures`."""
    head = '<section id="failures" aria-labelledby="failures-title">\n<h2 id="failures-title">Failed videos</h2>'
    if not failures:
        return f"{head}\n<p>None: every video can be read.</p>\n</section>"
    kinds = Counter(row["kind"] for row in failures)
    again = " <small>tried again by the next <code>marey prepare</code></small>"
    items = "".join(
        f"<li><strong>{count(number)}</strong> {plain(kind)}{again if kind in TRANSIENT else ''}</li>"
        for kind, number in kinds.most_common()
    )
    rows = [_failure(classes, row) for row in failures]
    field = (
        '<p class="filter" hidden><label for="filter">Filter</label> <input id="filter" type="search" '
        'autocomplete="off" spellcheck="false" placeholder="class, video, kind or reason"> '
        '<output for="filter"></output></p>'
        if len(rows) > FILTERED
        else ""
    )
    # What lies behind the first rows is part of the page, but laid out only when asked for.
    first, rest = "".join(rows[:AT_ONCE]), "".join(rows[AT_ONCE:])
    if rest:
        rest = f"<tbody hidden>\n{rest}</tbody>\n"
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("Video", "Class", "Kind", "Reason"))
    return f"""{head}
<p>{videos(len(rows))} of the source {"is" if len(rows) == 1 else "are"} not in the dataset; nothing was put in
their place.</p>
<ul class="kinds">{items}</ul>
{field}
<table class="failures" data-at-once="{AT_ONCE}">
<thead><tr>{heads}</tr></thead>
<tbody>
{first}</tbody>
{rest}</table>
<noscript><style>.failures tbody[hidden] {{ display: table-row-group !important }}</style></noscript>
<p><button type="button" id="more" hidden>Show more</button></p>
</section>"""


def _failure(classes: Sequence[str], row: dict[str, Any]) -> str:
    label = classes[row["label_id"]]
    video_id, uri, kind, message = (plain(row[name]) for name in ("video_id", "uri", "kind", "message"))
    return (
        f'<tr><th scope="row"><bdi class="id">{video_id}</bdi><bdi class="path">{uri}</bdi></th>'
        f"<td><bdi>{plain(label)}</bdi></td><td>{kind}</td><td><bdi>{message}</bdi></td></tr>\n"
    )
