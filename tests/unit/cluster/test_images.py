"""The definition of the images: by hadolint, and by what it is made from."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from paths import ROOT
from processes import run

from cluster.submit import PACKAGES, SURFACE

pytestmark = pytest.mark.quick

DOCKERFILE = ROOT / "cluster" / "images" / "Dockerfile"
LINES = DOCKERFILE.read_text().replace("\\\n", " ").splitlines()


def lint(path: Path) -> str:
    """What hadolint says of a Dockerfile."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = run([hadolint, "--no-color", path])
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def test_hadolint_finds_nothing() -> None:
    assert lint(DOCKERFILE) == ""


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /tmp\n")
    assert "DL3006" in lint(tmp_path / "Dockerfile")


def test_every_stage_is_of_one_base_and_the_last_is_not_root() -> None:
    bases = [line.split()[1] for line in LINES if line.startswith("FROM ")]
    names = [line.split()[3] for line in LINES if line.startswith("FROM ")]
    assert bases[0] == "debian:bookworm-slim"
    assert all(base in names for base in bases[1:])
    assert [line for line in LINES if line.startswith("USER ")] == ["USER 1000:1000"]
    assert any(line.startswith("HEALTHCHECK ") for line in LINES)


def test_all_that_is_copied_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in Path(f"{DOCKERFILE}.dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [word for line in LINES if line.startswith("COPY ") for word in line.split()[1:-1]]
    local = {word for word in sources if not word.startswith(("--", "/"))}
    assert {word.partition("/")[0] for word in local} <= kept
    assert all((ROOT / name).exists() for name in kept | local)
    assert {*PACKAGES, SURFACE} <= kept


def test_pip_installs_what_is_pinned() -> None:
    installs = [part for line in LINES for part in re.findall(r"pip install [^&]*", line)]
    assert len(installs) == 3
    assert all("-c constraints.txt" in one or "--no-deps" in one for one in installs)


@pytest.mark.parametrize("program", ["absent", "present, without a daemon"])
def test_make_says_where_docker_does_not_answer(program: str, tmp_path: Path) -> None:
    (tmp_path / "make").symlink_to(str(shutil.which("make")))
    (tmp_path / "sh").symlink_to("/bin/sh")
    if program != "absent":
        (tmp_path / "docker").write_text("#!/bin/sh\necho 'Cannot connect' >&2\nexit 1\n")
        (tmp_path / "docker").chmod(0o755)
    done = run([tmp_path / "make", "--silent", "images"], cwd=ROOT, env={**os.environ, "PATH": str(tmp_path)})
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[0].startswith("docker does not answer here: run make images on a machine where")
