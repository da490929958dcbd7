"""`marey cluster init`: what is filled in, what is refused, and what is never overwritten."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from paths import ROOT
from processes import run

from cluster import definitions
from cluster.errors import ClusterError

pytestmark = pytest.mark.quick

NEEDED = ["images=registry.example.com/me/marey", "workspace=s3://bucket/work"]
RAY_UP = [*NEEDED, "mlflow=http://10.0.0.2:5000"]
GIVEN = {
    "kuberay": NEEDED,
    "aws": [*RAY_UP, "ami=ami-0123456789abcdef0", "instance_profile=arn:aws:iam::123456789012:instance-profile/marey"],
    "on-premise": [*RAY_UP, "head=10.0.0.2", "workers=10.0.0.3,10.0.0.4"],
    "slurm": [],
}
"""What each target needs."""
PAGES = {"kuberay": "kubernetes.md", "aws": "cloud.md", "on-premise": "cloud.md", "slurm": "slurm.md"}


@pytest.mark.parametrize("target", definitions.TARGETS)
def test_all_files_are_written_with_every_value(target: str, tmp_path: Path) -> None:
    key = "account" if target == "slurm" else "name"
    written = definitions.init(target, tmp_path / "new" / "files", [*GIVEN[target], f"{key}=gestures"])
    assert {path.name for path in written.files} == {path.name for path in (tmp_path / "new" / "files").iterdir()}
    for path in written.files:
        assert "{{" not in path.read_text()
        assert "gestures" in path.read_text()
    assert "{{" not in written.next
    assert str(tmp_path / "new" / "files") in written.next
    assert written.values[key] == "gestures"


@pytest.mark.parametrize("target", definitions.TARGETS)
def test_every_key_has_an_effect(target: str) -> None:
    before = definitions.read(target, GIVEN[target])
    for field in dataclasses.fields(before):
        value = getattr(before, field.name)
        other = (
            value + 1 if isinstance(value, int) else "cuda" if field.name == "tag" else f"{value.replace('$', '')}-x"
        )
        changed = definitions.read(target, [*GIVEN[target], f"{field.name}={other}"])
        assert definitions.render(target, changed) != definitions.render(target, before), field.name


@pytest.mark.parametrize("target", definitions.TARGETS)
def test_the_page_lists_every_key_with_its_default(target: str) -> None:
    page = (ROOT / "docs" / "cluster" / PAGES[target]).read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) \|", page, re.MULTILINE))
    expected = {
        field.name: "needed" if field.default is dataclasses.MISSING else f"`{field.default}`"
        for field in dataclasses.fields(definitions.TARGETS[target].settings)
    }
    expected = {key: "none" if default == "``" else default for key, default in expected.items()}
    assert {key: rows.get(key) for key in expected} == expected


@pytest.mark.parametrize("target", definitions.TARGETS)
def test_the_page_gives_the_commands_that_are_printed(target: str) -> None:
    page = (ROOT / "docs" / "cluster" / PAGES[target]).read_text().replace("\\\n  ", "")
    given = [*GIVEN[target], *(["workspace=/shared/work"] if target == "on-premise" else [])]
    for command in definitions.next_steps(target, definitions.read(target, given), Path(target)).splitlines():
        assert f"\n{command.partition('  ')[0]}" in page


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "rayjob.yaml").write_text("mine")
    with pytest.raises(ClusterError, match=r"rayjob.yaml is there already, and would be lost: name another folder"):
        definitions.init("kuberay", tmp_path, NEEDED)
    assert [path.name for path in tmp_path.iterdir()] == ["rayjob.yaml"]
    assert (tmp_path / "rayjob.yaml").read_text() == "mine"


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "rayjob.yaml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ClusterError, match="is there already"):
        definitions.init("kuberay", tmp_path, NEEDED)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ClusterError, match=r"cannot write .*file.*: name another folder"):
        definitions.init("kuberay", tmp_path / "file" / "below", NEEDED)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["imags=a"], "unknown key 'imags' of kuberay; did you mean 'images'?"),
        (["images"], "--set images has no value: write --set images=VALUE"),
        (["images=a"], "kuberay needs workspace: give --set workspace=..."),
        ([], "kuberay needs images and workspace: give --set images=... --set workspace=..."),
        ([*NEEDED, "cpu_workers=many"], "cpu_workers must be a whole number, not 'many'"),
        ([*NEEDED, "cpu_workers=-1"], "cpu_workers must be a whole number, not '-1'"),
        ([*NEEDED, "cpu_workers=1e3"], "cpu_workers must be a whole number, not '1e3'"),
        ([*NEEDED, "name=Me"], "name must have at most 30 characters, small letters, digits and hyphens, not Me"),
        ([*NEEDED, f"name={'m' * 31}"], "name must have at most 30 characters"),
        ([*NEEDED, "run="], "run must be one word"),
        ([*NEEDED, 'run=a"\nb'], "run must be one word"),
        ([*NEEDED, "run={{ name }}"], "run must be one word"),
        ([*NEEDED, "images=registry:5000/marey:cpu"], "images must have no tag"),
        ([*NEEDED, "workspace=s3://key:secret@bucket/work"], "workspace must be an address without a password or key"),
    ],
)
def test_what_is_refused(given: list[str], says: str) -> None:
    with pytest.raises(ClusterError, match=re.escape(says)):
        definitions.read("kuberay", given)


@pytest.mark.parametrize(
    ("target", "given", "says"),
    [
        ("aws", ["mlflow=http://me:secret@10.0.0.2:5000"], "mlflow must be an address without a password"),
        ("aws", ["heads=2"], "unknown key 'heads' of aws; did you mean"),
        ("on-premise", ["tag=gpu"], "tag must be cpu or cuda, not gpu"),
        ("on-premise", ["workers=10.0.0.3,,10.0.0.4"], "workers must be addresses with one comma between them"),
    ],
)
def test_what_other_targets_refuse(target: str, given: list[str], says: str) -> None:
    with pytest.raises(ClusterError, match=re.escape(says)):
        definitions.read(target, [*GIVEN[target], *given])


def test_no_file_of_a_target_is_forgotten() -> None:
    for target in definitions.TARGETS.values():
        parts = {"_spec.yaml", "job.sh", "node.sh"}  # the scripts are run where they are
        names = {path.name for path in target.room.iterdir()} - parts
        same = [each for each in definitions.TARGETS.values() if each.folder == target.folder]
        assert names == {name for each in same for name in each.files}


def test_slurm_files_are_those_of_the_repository_with_the_values(tmp_path: Path) -> None:
    room = definitions.TARGETS["slurm"].room
    without = definitions.render("slurm", definitions.read("slurm", []))
    assert without == {name: (room / name).read_text() for name in without}
    given = ["partition=gpu", "venv=/opt/marey", "mlflow=http://10.0.0.2:5000"]
    changed = definitions.render("slurm", definitions.read("slurm", given))
    for name, text in changed.items():
        lines = set(text.splitlines()) - set(without[name].splitlines())
        assert lines == {
            "#SBATCH --partition=gpu",
            "venv=${MAREY_VENV:-/opt/marey}",
            "export MLFLOW_TRACKING_URI=${MLFLOW_TRACKING_URI:-http://10.0.0.2:5000}",
        }
        (tmp_path / name).write_text(text)
        assert run(["bash", "-n", tmp_path / name]).returncode == 0


def test_a_registry_may_have_a_port() -> None:
    assert definitions.read("kuberay", ["images=registry:5000/marey", "workspace=s3://b"]).images.startswith("reg")
