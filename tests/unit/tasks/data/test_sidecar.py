"""Sidecars that are damaged, and such as state what cannot be."""

import os
import re
import shutil
from pathlib import Path

import pytest
from changed import change_sidecar
from small_dataset import write_dataset

from tasks.data import open_dataset
from tasks.data.sealed import unseal
from tasks.data.shard import pending, plan
from tasks.data.sidecar import DamagedSidecar, read_sidecar, read_sidecars
from tasks.data.tables import read_description, read_settings, read_table, write_records
from tasks.data.verify import verify_dataset, verify_shard
from tasks.errors import UserError

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    root = write_dataset(tmp_path_factory.mktemp("sidecar") / "data", videos=3, shard_videos=2)
    write_records(root)
    return root


@pytest.fixture
def root(pristine, tmp_path):
    return str(shutil.copytree(pristine, tmp_path / "data"))


def path_of(root, shard=1):
    return Path(root, "shards", f"{shard:06d}.json")


def refused(root, shard=1):
    """What is said of a damaged sidecar, the same wherever it is read."""
    with pytest.raises(DamagedSidecar) as error:
        read_sidecar(root, shard)
    said = str(error.value)
    assert re.fullmatch(rf"{path_of(root, shard)} is damaged \(.+\): run the same `marey prepare` again", said)
    with pytest.raises(UserError, match=re.escape(said)):
        open_dataset(root)
    assert verify_shard(root, shard) == [said]
    assert verify_dataset(root) == [said]
    return said


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"\0" * 300, b'{"xxh3": "0123456789abcdef", "a": 1}'])
def test_nonsense(root, content):
    path_of(root).write_bytes(content)
    refused(root)


def test_cut_and_flipped(root):
    sound = path_of(root).read_bytes()
    path_of(root).write_bytes(sound[: len(sound) // 2])
    refused(root)
    for place in range(0, len(sound), 97):
        path_of(root).write_bytes(sound[:place] + bytes([sound[place] ^ 2]) + sound[place + 1 :])
        with pytest.raises(DamagedSidecar):
            read_sidecar(root, 1)


def test_what_is_no_file_is_not_waited_for(root):
    path_of(root).unlink()
    os.mkfifo(path_of(root))
    assert "not a regular file" in refused(root)
    path_of(root).unlink()
    path_of(root).mkdir()
    refused(root)


def test_more_than_any_sidecar_has(root):
    os.truncate(path_of(root), 1 << 40)
    assert "it has more than the 67,108,864 bytes" in refused(root)


def test_every_damaged_one_is_found_and_made_again(root):
    path_of(root, 0).write_bytes(b"{")
    path_of(root, 2).write_bytes(b"")
    damaged = []
    assert [sidecar.shard for sidecar in read_sidecars(root, damaged)] == [1]
    assert [error.shard for error in damaged] == [0, 2]
    description = read_description(root)
    plans = plan(read_table(root, "manifest"), read_settings(description))
    assert [one.index for one in pending(root, plans, description["settings_digest"])] == [0, 2]


def member(root, number=0, **changes):
    """The members of a sidecar with one changed."""
    members = unseal(path_of(root).read_bytes())["members"]
    name, offset, size = members[number]
    change = {"name": name, "offset": offset, "size": size} | changes
    members[number] = list(change.values())
    return {"members": members}


def record(root, **changes):
    records = unseal(path_of(root).read_bytes())["records"]
    return {"records": [{**records[0], **changes}, *records[1:]]}


FORGED = {
    "offset beyond the tar": lambda root: member(root, 1, offset=1 << 40),
    "size beyond the tar": lambda root: member(root, 5, size=1 << 40),
    "negative offset": lambda root: member(root, offset=-512),
    "negative size": lambda root: member(root, size=-1),
    "offset inside a block": lambda root: member(root, offset=513),
    "members that overlap": lambda root: member(root, 1, offset=512),
    "offset that is no number": lambda root: member(root, offset="512"),
    "offset true": lambda root: member(root, offset=True),
    "fractional size": lambda root: member(root, size=1.5),
    "names that repeat": lambda root: member(root, 1, name=member(root)["members"][0][0]),
    "members of four": lambda root: {"members": [["a", 512, 1, 1]]},
    "no members": lambda root: {"members": []},
    "no list": lambda root: {"members": {}},
    "no records": lambda root: {"records": []},
    "records of text": lambda root: {"records": ["a", "b"]},
    "a number too large": lambda root: record(root, frames=10**30),
    "a frame rate too large": lambda root: record(root, fps=float("inf")),
    "no number at all": lambda root: record(root, fps=float("nan")),
    "frames of 16 terapixels": lambda root: record(root, width=1 << 22, height=1 << 22),
    "frames without pixels": lambda root: record(root, width=0),
    "a kind of ok": lambda root: record(root, kind="crash"),
    "an unknown status": lambda root: record(root, status="fine"),
    "another shard": lambda root: record(root, shard=0),
    "pieces of text": lambda root: record(root, pieces=["a"]),
    "pieces without frames": lambda root: record(root, pieces=[{"first": 0}]),
    "another number": lambda root: {"shard": 2},
    "another format": lambda root: {"format": 3},
    "provisional without reason": lambda root: {"provisional": True},
    "no text for a digest": lambda root: {"sha256": 5},
}


@pytest.mark.parametrize("kind", FORGED)
def test_what_cannot_be_behind_a_right_checksum(root, kind):
    change_sidecar(path_of(root), **FORGED[kind](root))
    with pytest.raises(UserError, match=r"000001\.json is damaged \(.+\): run the same `marey prepare` again"):
        open_dataset(root)
    assert verify_dataset(root) + verify_shard(root, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"video_id": "../../other"}, "its shard holds other videos than planned"),
        ({"pieces": [{"first": 0, "frames": 10**9, "flows": 10**9 - 1}]}, "it has 1,000,000,000 frames"),
        ({"pieces": [{"first": 0, "frames": 12, "flows": 5}]}, "it has 12 frames and 5 flows"),
        ({"pieces": [{"first": 0, "frames": 0, "flows": 0}]}, "it has 0 frames"),
        ({"pieces": [{"first": 0, "frames": 6, "flows": 6}] * 2}, "it lacks frames or flow"),
    ],
)
def test_records_that_do_not_belong_here(root, changes, words):
    change_sidecar(path_of(root), **record(root, **changes))
    with pytest.raises(UserError, match=rf"000001\.json is damaged \(.*{re.escape(words)}"):
        open_dataset(root)


def test_a_shard_of_other_settings(root):
    change_sidecar(path_of(root), settings="0" * 64)
    with pytest.raises(UserError, match="made with other settings"):
        open_dataset(root)
