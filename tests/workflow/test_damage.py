"""A dataset that was damaged on disk or changed by a stranger, through the command line."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import threading
from pathlib import Path

import pytest
from changed import change_sidecar

from pipelines import cli, verify
from pipelines import recipe as recipes
from pipelines.recipe import Recipe, open_data
from pipelines.train import workflow
from tasks.data import Dataset, open_dataset
from tasks.data.sealed import unseal

pytestmark = pytest.mark.usefixtures("ray")


def flip(path: Path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 4
    path.write_bytes(content)


def cut(root: Path) -> None:
    """Cut all shards of a dataset short."""
    for tar in (root / "shards").glob("*.tar"):
        os.truncate(tar, tar.stat().st_size // 3)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    """Exit code, and the lines of a verb's output or its error."""
    code = cli.main([*words])
    printed = capsys.readouterr()
    said = [line for line in printed.err.splitlines() if line.startswith("marey: ")]
    assert "Traceback" not in printed.err + printed.out
    return code, said or printed.out.splitlines()


def test_all_damage_is_listed_and_prepare_mends_it(videos: Path, tmp_path: Path, capsys) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    for path in sorted(videos.rglob("*.mp4"))[::4]:
        (source / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, source / path.parent.name)
    line = ["prepare", str(source), str(out), "--flow", "none", "--short-side", "32", "--shard-videos", "3"]
    line += ["--val-fraction", "0", "--test-fraction", "0"]
    assert run(capsys, *line)[0] == 0
    assert run(capsys, "verify", str(out))[0] == 0
    digest, tars = open_dataset(out).digest, {path: path.read_bytes() for path in out.rglob("*.tar")}

    shards = out / "shards"
    (shards / "000000.json").write_bytes(b'{"format": 2')
    flip(shards / "000001.json")
    flip(shards / "000002.tar")
    for name in ("dataset.json", "splits.parquet", "records.parquet"):
        flip(out / name)
    code, found = run(capsys, "verify", str(out))
    assert code == 1
    assert len(found) == len({*found})
    for text in ("000000.json is damaged", "000001.json is damaged", "shard 000002 does not match the sha256"):
        assert any(text in said for said in found), text
    for name in ("dataset.json", "splits.parquet", "records.parquet"):
        assert any(f"{out}/{name} " in said for said in found), name

    (shards / "000002.json").unlink()  # only verify reads all of a tar
    assert run(capsys, *line)[0] == 0
    assert run(capsys, "verify", str(out))[0] == 0
    assert open_dataset(out).digest == digest
    assert {path: path.read_bytes() for path in out.rglob("*.tar")} == tars


def test_forged_offsets_end_no_process(dataset: str, tmp_path: Path, capsys) -> None:
    """A stranger's dataset, whose rows lead out of their file and whose checksums agree with that."""
    root = Path(shutil.copytree(dataset, tmp_path / "data"))
    for tar in (root / "shards").glob("*.tar"):
        data = bytearray(tar.read_bytes())
        sidecar = unseal(tar.with_suffix(".json").read_bytes())
        for name, offset, size in sidecar["members"]:
            if not name.endswith(".arrow"):
                continue
            for found in re.finditer(rb"\xff\xd8\xff", data[offset : offset + size]):
                for place in (offset + found.start() - 8, offset + found.start() - 64):
                    if 100 < struct.unpack_from("<ii", data, place)[1] < 10**6:
                        struct.pack_into("<ii", data, place, 0, 0x7FFFFFFF)
        tar.write_bytes(data)
        change_sidecar(tar.with_suffix(".json"), sha256=hashlib.sha256(data).hexdigest())
    code, found = run(capsys, "verify", str(root))
    assert code == 1
    assert sum("lead out of it" in text for text in found) > 10
    code, (said,) = run(capsys, "preview", str(root), str(tmp_path / "page.html"))
    assert code == 2
    assert re.search(r"video .* cannot be read from .*\.tar \(row \d+ has offsets that lead out of it\)", said)


def test_a_shard_that_ends_its_reader_is_one_difference(dataset: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """As a picture would that crashes the library which decodes it; all others are verified."""
    good = verify.verify_shard

    def deadly(root: str, index: int) -> list[str]:  # not of a module, so that workers get its code
        if index == 0:
            os.abort()
        return [*good(root, index), f"looked at {index}"]

    monkeypatch.setattr(verify, "verify_shard", deadly)
    code, found = run(capsys, "verify", dataset)
    shards = len(list(Path(dataset, "shards").glob("*.tar")))
    assert shards > 1
    assert code == 1
    assert [line for line in found if line.startswith(("shard", "looked"))] == [
        "shard 000000 ended the process that read it, 2 times",
        *(f"looked at {index}" for index in range(1, shards)),
    ]


@pytest.mark.usefixtures("unregistered")
@pytest.mark.campaign  # half a minute each; the reader's part is a unit test
@pytest.mark.parametrize("when", ["before", "while it trains"])
def test_a_training_on_a_cut_shard_is_one_line(
    recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, when: str
) -> None:
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "work"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = Path(shutil.copytree(recipe.data.dataset, tmp_path / "data"))
    if when == "before":
        cut(root)
        epochs = 1
    else:
        epochs = 200
    progress = tmp_path / "work" / "runs" / recipe.name / "progress.jsonl"
    file = tmp_path / "recipe.yaml"
    file.write_text(recipes.dump(recipes.replaced(recipe, {"data.dataset": str(root), "train.epochs": epochs})))
    over = threading.Event()

    def cut_after_an_epoch() -> None:
        while not over.wait(0.02):
            if progress.exists() and '"kind": "epoch"' in progress.read_text():
                cut(root)
                return

    cutter = threading.Thread(target=cut_after_an_epoch)
    cutter.start()
    try:
        code, (said,) = run(capsys, "train", str(file))
    finally:
        over.set()
        cutter.join()
    assert code == 2
    assert progress.exists() == (when != "before")
    assert re.search(
        rf"video .+ cannot be read from {root}/shards/\d+\.tar \(.+\): check the dataset with `marey", said
    )


def test_a_dataset_that_changes_under_a_training_is_one_line(recipe, tmp_path: Path, monkeypatch, capsys) -> None:
    """What the run logs is what its workers read: here they find other data than the driver."""
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "work"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def before(recipe: Recipe) -> Dataset:
        dataset = open_data(recipe)
        dataset.digest = "0" * 64
        return dataset

    monkeypatch.setattr(workflow, "open_data", before)
    file = tmp_path / "recipe.yaml"
    file.write_text(recipes.dump(recipe))
    code, (said,) = run(capsys, "train", str(file), "--workers", "2")
    assert code == 2
    assert f"{recipe.data.dataset} was changed after this training had begun with it" in said
