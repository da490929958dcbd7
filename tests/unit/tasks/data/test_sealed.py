"""JSON with a checksum of its own text."""

import json

import pytest

from tasks.data.sealed import BrokenSeal, seal, unseal

pytestmark = pytest.mark.quick
CONTENT = {"b": [1, 2.5, None], "a": '走る "seconds": 5', "records": [{"seconds": 1.25, "n": 3}]}


@pytest.mark.parametrize("ascii_only", [True, False])
def test_it_is_plain_json(ascii_only):
    data = seal(CONTENT, ascii_only=ascii_only)
    assert unseal(data) == CONTENT
    plain = json.loads(data)
    assert len(plain.pop("xxh3")) == 16
    assert plain == CONTENT


def test_times_do_not_count():
    other = {**CONTENT, "records": [{"seconds": 7e-05, "n": 3}]}
    assert json.loads(seal(other))["xxh3"] == json.loads(seal(CONTENT))["xxh3"]
    assert unseal(seal(other)) == other
    changed = {**CONTENT, "a": '走る "seconds": 6'}
    assert json.loads(seal(changed))["xxh3"] != json.loads(seal(CONTENT))["xxh3"]


def test_every_changed_byte_is_noticed():
    data = seal(CONTENT)
    times = data.index(b"1.25")
    for place in range(len(data)):
        if times <= place < times + 4:
            continue
        for value in (data[place] ^ 1, 0, 0xFF):
            damaged = bytearray(data)
            damaged[place] = value
            with pytest.raises(BrokenSeal):
                unseal(bytes(damaged))
    for size in range(len(data)):
        with pytest.raises(BrokenSeal):
            unseal(data[:size])


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"[]", b'{"a": 1}', bytes(100), b"\xff\xfe"])
def test_other_content_is_refused(data):
    with pytest.raises(BrokenSeal):
        unseal(data)


def test_depth_behind_a_right_checksum():
    deep = seal({"a": "HERE"}).replace(b'"HERE"', b"[" * 100_000)
    from tasks.data import sealed

    text = b"{" + deep[29:]
    with pytest.raises(BrokenSeal, match="recursion"):
        unseal(b'{"xxh3": "%s", %s' % (sealed._checksum(text).encode(), text[1:]))
