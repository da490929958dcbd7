"""Folders that no other account can enter: where they lie, when they go, and what is never removed."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from processes import find_line, started

from cluster import private
from cluster.errors import ClusterError

pytestmark = pytest.mark.quick
OTHER = 12345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what another account owns")


@pytest.fixture
def base(monkeypatch):
    """Return a folder with a short path, as RAY_TMPDIR."""
    folder = Path(tempfile.mkdtemp(prefix="m", dir="/tmp"))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder)


def test_it_is_its_owners_alone_and_goes_as_a_whole(base):
    folder = private.make()
    assert folder.path.parent == base
    assert folder.path.stat().st_mode & 0o777 == 0o700
    (folder.ray / "logs").mkdir(parents=True)
    folder.remove()
    assert list(base.iterdir()) == []


def test_what_a_killed_run_left_goes_with_the_next_start_and_nothing_else(base):
    code = "from cluster import private; print(private.make().path, flush=True); input()"
    with started([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        used = Path(find_line(run.stdout, f"{base}.*")[0])
        (used / "r").mkdir()
        mine = private.make()
        assert used.is_dir()  # in use
        run.kill()
        run.wait()
    (base / "marey-ray-fileaaaa").touch()
    (base / "marey-ray-openaaaa").mkdir(mode=0o755)
    (base / "marey-ray-linkaaaa").symlink_to(mine.path)
    (base / "other").mkdir(mode=0o700)
    download = Path(tempfile.mkdtemp(prefix="marey-", dir=base))  # of another part of marey
    later = private.make()
    assert not used.exists()
    others = [base / name for name in ("marey-ray-fileaaaa", "marey-ray-openaaaa", "marey-ray-linkaaaa", "other")]
    assert sorted(base.iterdir()) == sorted([mine.path, later.path, download, *others])
    mine.remove()
    later.remove()


def test_what_may_be_removed(base, tmp_path):
    folder = private.make()
    link = base / "marey-ray-linkaaaa"
    link.symlink_to(folder.path)
    other = tmp_path / "valuable"
    other.mkdir(mode=0o700)
    named = base / "marey-ray-aaaaaaaa" / ".." / "marey-ray-bbbbbbbb"
    for each in ("marey-ray-aaaaaaaa", "marey-ray-bbbbbbbb"):
        (base / each).mkdir(mode=0o700)
    for path in (link, other, base, named, Path("/")):
        assert not private.is_ours(path)
        private.remove(path)
        assert path.exists()
    folder.path.chmod(0o770)
    private.remove(folder.path)
    assert folder.path.exists()
    folder.path.chmod(0o700)
    folder.remove()


@as_root
def test_another_accounts_folder_is_not_ours(base):
    folder = base / "marey-ray-theirsaa"
    folder.mkdir(mode=0o700)
    os.chown(folder, OTHER, OTHER)
    private.remove(folder)
    private.make().remove()
    assert folder.exists()


@pytest.mark.parametrize("name", ["long", "absent", "file"])
def test_a_ray_tmpdir_that_cannot_hold_it(base, monkeypatch, name):
    path = base / ("x" * 80 if name == "long" else name)
    if name == "long":
        path.mkdir()
    if name == "file":
        path.touch()
    monkeypatch.setenv("RAY_TMPDIR", str(path))
    with pytest.raises(ClusterError, match=rf"RAY_TMPDIR={path} cannot hold .*: set RAY_TMPDIR to a folder with space"):
        private.make()


def test_a_ray_tmpdir_in_which_others_can_rename(base):
    base.chmod(0o777)
    with pytest.raises(ClusterError, match=f"other accounts can replace what is in {base}"):
        private.make()
    base.chmod(0o1777)
    private.make().remove()


@as_root
@pytest.mark.parametrize("theirs", ["folder", "link"])
def test_a_ray_tmpdir_of_another_account(base, monkeypatch, theirs):
    place = base / "x"
    if theirs == "folder":
        place.mkdir()
    else:
        (base / "mine").mkdir()
        place.symlink_to(base / "mine")
    os.chown(place, OTHER, OTHER, follow_symlinks=False)
    monkeypatch.setenv("RAY_TMPDIR", str(place))
    with pytest.raises(ClusterError, match=f"other accounts can replace what is in {place}"):
        private.make()


def test_the_tmpdir_of_a_batch_system(base, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setenv("TMPDIR", str(base))
    folder = private.make()
    assert folder.path.parent == base
    folder.remove()
    long = base / ("x" * 80)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    folder = private.make()
    assert folder.path.parent == Path("/tmp")
    folder.remove()


def test_a_full_disk(base, monkeypatch):
    monkeypatch.setattr(private, "LEAST_FREE", 2**60)
    with pytest.raises(ClusterError, match=r"only \d+ MiB are free"):
        private.make()
    monkeypatch.delenv("RAY_TMPDIR")
    with pytest.raises(ClusterError, match=r"no folder can hold Ray's sockets and logs .* set RAY_TMPDIR"):
        private.make()
