"""Reading a published dataset, and changing one."""

from collections import Counter

import pytest

from tasks.data import layouts
from tasks.errors import UserError

LAYOUTS = {
    "ucf101": "ucf101",
    "hmdb51": "hmdb51",
    "kinetics": "kinetics",
    "hacs": "kinetics",
    "moments": "kinetics",
    "ssv2": "ssv2",
    "ssv1": "jester",
    "jester": "jester",
    "diving48": "diving48",
}
"""Dataset -> layout."""

FOLDS = ("split1", "split2", "split3")


def read(name, source, group=None):
    return layouts.read(LAYOUTS[name], str(source), group)


def seen(listing):
    return {row.video_id: (row.label, row.parts.get("given")) for row in listing.rows}


def counts(listing):
    return Counter((split, part) for row in listing.rows for split, part in row.parts.items())


def refusal(name, source):
    with pytest.raises(UserError) as caught:
        read(name, source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
