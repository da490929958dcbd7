"""Damage to the files of a prepared dataset, and what must hold whatever it is.

    PYTHONPATH=.:tests/helpers python tests/fuzz/datasets.py COUNT [FIRST]

Whoever opens, reads, verifies or previews the dataset gets the data that was written, or one line that says what is
wrong. It runs as a process of its own, since a reader that breaks the promise may end it: the number of each case is
printed before.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import webdataset
from changed import change_sidecar
from small_dataset import write_dataset

from pipelines.preview.workflow import preview
from tasks.data import decode_sample, open_dataset
from tasks.data.sealed import unseal
from tasks.data.tables import write_records
from tasks.data.verify import shards_of, verify_dataset, verify_shard
from tasks.errors import UserError

FORMS = ("jpeg", "h264")
EXTREMES = [0, -1, 1, 2**31, 2**63, 10**30, 1e300, float("nan"), "", "../../x", "x" * 5000, None, True, [], [[]], {}]


class Promises:
    """A dataset in each form of its frames, what is read of it, and what is read of it damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.roots = {}
        self.read = {}
        for form in FORMS:
            root = folder / form
            self.roots[form] = Path(write_dataset(root, videos=3, shard_videos=3, size=(16, 24), rgb=form))
            write_records(str(root))
            self.read[form] = read(root)
            assert verify_dataset(str(root)) == []

    def hold(self, number: int) -> bool:
        """Damage a file, check all promises, and mend it; return whether the damage was noticed on reading."""
        draw = random.Random(number)
        form = FORMS[number % len(FORMS)]
        root = self.roots[form]
        kept = self.folder / "kept"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(root, kept)
        path = draw.choice(sorted(path for path in root.rglob("*") if path.is_file()))
        forged = (
            draw.choice([forge_shard, forge_sidecar]) if path.parent.name == "shards" and draw.random() < 0.5 else None
        )
        try:
            if forged is None:
                path.write_bytes(damaged(path.read_bytes(), draw))
            else:
                forged(path, draw)
            return self._check(form, root, kept, forged)
        finally:
            shutil.rmtree(root)
            kept.rename(root)

    def _check(self, form: str, root: Path, kept: Path, forged: Callable[..., None] | None) -> bool:
        same = content(root) == content(kept)
        found = tried(lambda: read(root))
        if found is not None and forged is not forge_sidecar:
            assert_equal(found, self.read[form])
        tried(lambda: preview(str(root), self.folder / "page.html", classes=2, samples=2))
        said = tried(
            lambda: [*verify_dataset(str(root)), *(t for i in shards_of(str(root)) for t in verify_shard(str(root), i))]
        )
        assert said is None or bool(said) != same or forged is not None, "verify does not notice it"
        assert not any("\n" in text for text in said or [])
        return found is None


def verified(root: str) -> list[str]:
    return [*verify_dataset(root), *(text for index in shards_of(root) for text in verify_shard(root, index))]


def tried(act: Callable[[], Any]) -> Any:
    """Return what is returned, None where one line says what is wrong."""
    try:
        return act()
    except UserError as error:
        if not str(error) or "\n" in str(error):
            raise AssertionError("not one line") from error
        return None


def read(root: Path) -> dict[tuple, Any]:
    """Read some frames by index, and all by plain webdataset."""
    dataset = open_dataset(str(root))
    found: dict[tuple, Any] = {("digest",): dataset.digest}
    for part in dataset.parts:
        for sample in dataset.samples(part):
            key = (part, sample.video_id, sample.piece_index)
            found[*key, "label"] = (sample.label_id, sample.label, sample.group, sample.frames, sample.flows)
            found[*key, "rgb"] = dataset.rgb(sample, [0, sample.frames - 1])
            found[*key, "flow"] = dataset.flow(sample, [0, sample.flows - 1])
    for tar in sorted((root / "shards").glob("*.tar")):
        for sample in tarred(tar):
            found |= {("tar", sample["__key__"], name): sample[name] for name in ("rgb", "flow")}
    return found


def tarred(tar: Path) -> list[dict[str, Any]]:
    """Decode a shard as plain webdataset reads it; a tar that it cannot split is not ours to check."""
    try:
        samples = list(webdataset.WebDataset(str(tar), shardshuffle=False, empty_check=False))
    except (ValueError, OSError, EOFError) as error:
        raise UserError("webdataset cannot read it") from error
    except Exception as error:
        if type(error).__module__ != "tarfile":
            raise
        raise UserError("webdataset cannot read it") from error
    if any("flow.arrow" not in sample for sample in samples):
        raise UserError("webdataset gives other members")
    return [decode_sample(sample) for sample in samples]


def assert_equal(found: dict[tuple, Any], expected: dict[tuple, Any]) -> None:
    lost = expected.keys() - found.keys()
    assert not found.keys() - expected.keys()
    assert all(key[0] == "tar" for key in lost)  # plain webdataset ends at a header that it cannot read
    for key, value in found.items():
        np.testing.assert_array_equal(value, expected[key], err_msg=str(key))


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Return a file with flipped bits, other bytes, a hole, a piece moved, or cut."""
    place, length = draw.randrange(len(data)), draw.choice([1, 2, 4, 8, 64, 512])
    kind = draw.choice(["bit", "bit", "byte", "zeros", "ones", "move", "cut", "longer", "empty"])
    if kind == "bit":
        return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
    if kind == "byte":
        return data[:place] + draw.randbytes(length)[: len(data) - place] + data[place + length :]
    if kind in ("zeros", "ones"):
        hole = (b"\0" if kind == "zeros" else b"\xff") * min(length, len(data) - place)
        return data[:place] + hole + data[place + length :]
    if kind == "move":
        other = draw.randrange(len(data))
        return data[:place] + data[other : other + length] + data[place:]
    return {"cut": data[:place], "longer": data + draw.randbytes(length), "empty": b""}[kind]


def forge_shard(path: Path, draw: random.Random) -> None:
    """Change a tar, and its checksum in the sidecar with it."""
    tar, sidecar = path.with_suffix(".tar"), path.with_suffix(".json")
    data = bytearray(tar.read_bytes())
    for _ in range(draw.choice([1, 1, 5])):
        place = draw.randrange(len(data) - 8)
        size = draw.choice([1, 4, 8])
        data[place : place + size] = draw.choice([draw.randbytes(size), b"\xff" * size, b"\xff" * (size - 1) + b"\x7f"])
    tar.write_bytes(data)
    change_sidecar(sidecar, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def forge_sidecar(path: Path, draw: random.Random) -> None:
    """Change a value somewhere in a sidecar, and its checksum with it."""
    sidecar = unseal(path.with_suffix(".json").read_bytes())
    place: Any = sidecar
    while True:
        key = draw.choice([*place]) if isinstance(place, dict) else draw.randrange(len(place))
        if not place[key] or not isinstance(place[key], dict | list) or draw.random() < 0.1:
            break
        place = place[key]
    place[key] = draw.choice(EXTREMES)
    change_sidecar(path.with_suffix(".json"), **sidecar)


def main() -> None:
    count, first = int(sys.argv[1]), int([*sys.argv, "0"][2])
    noticed = 0
    with tempfile.TemporaryDirectory(prefix="marey-fuzz-") as folder:
        promises = Promises(Path(folder))
        for number in range(first, first + count):
            print(number, end=" ", flush=True)
            noticed += promises.hold(number)
    print(f"\n{count} damaged datasets; {noticed} could not be read, all others gave what was written")


if __name__ == "__main__":
    main()
