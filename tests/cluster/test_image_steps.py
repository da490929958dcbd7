"""The images without docker: the CPU one in a root of Debian, and whether what the CUDA one pins is to be had."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import image_steps
import processes
import pytest
from paths import ROOT

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(3600)]

DOCKERFILE = ROOT / "cluster" / "images" / "Dockerfile"
INDEX_S = 900.0


@pytest.fixture(scope="module")
def image():
    """Return the CPU image, made in a folder that is removed."""
    if os.geteuid():
        pytest.skip("the steps of an image are executed as root")
    for tool in ("debootstrap", "unshare", "chroot"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}: apt-get install debootstrap util-linux")
    (base,) = {rest.split()[0] for word, rest in image_steps.read(DOCKERFILE) if word == "FROM" and ":" in rest}
    suite = re.fullmatch(r"debian:(\w+)-slim", base)[1]
    folder = Path(tempfile.mkdtemp(prefix="marey-image-"))
    try:
        made = processes.run(["debootstrap", "--variant=minbase", suite, folder / "base"], limit=INDEX_S)
        if made.returncode:
            pytest.skip(f"debootstrap cannot make a root here: {made.stdout.splitlines()[-1:]}")
        arguments = {"TORCH": "cpu", "TORCH_INDEX": os.environ.get("TORCH_INDEX", "")}
        yield image_steps.Build(DOCKERFILE, ROOT, folder / "base", folder, arguments).image
        assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    finally:
        shutil.rmtree(folder)


def printed(image: image_steps.Stage, *command: str) -> str:
    done = image.run(command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_its_users_and_says_what_marey_can_do(image):
    assert printed(image, "id", "-u").strip() == "1000"
    assert image.run(["touch", "/opt/marey/mine"]).returncode == 1
    assert "usage: marey VERB" in printed(image, *image.command)


def test_it_is_healthy(image):
    printed(image, *image.health)
    broken = image.run(["env", "PATH=/usr/bin:/bin:/usr/local/bin", *image.health])
    assert broken.returncode != 0, "without marey it is not"


def test_doctor_finds_what_is_needed_in_it(image):
    """Ports and memory are those of the machine that the image runs on."""
    findings = {one["name"]: one for one in json.loads(image.run(["marey", "doctor", "--json"]).stdout)["findings"]}
    needed = {"decord", "PyAV", "OpenCV", "h264", "hevc", "vp9", "av1", "ray", "mlflow", "tracking"}
    assert {name: one for name, one in findings.items() if name in needed and one["level"] != "ok"} == {}
    assert needed <= findings.keys()
    assert findings["tracking"]["found"].startswith("/home/marey/marey-work/mlflow.db")


def test_what_the_cuda_image_pins_is_to_be_had():
    """By pip itself, from the index that this machine is set to: nothing is downloaded but what packages need."""
    settings = image_steps.Pip.of_this_machine().variables
    # Local folders and further indexes may hold builds for CPUs alone.
    others = ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT")
    environment = {name: value for name, value in os.environ.items() if name not in others}
    environment |= {"PIP_CONFIG_FILE": os.devnull}
    environment |= {name: value for name, value in settings.items() if name == "PIP_INDEX_URL"}
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    command += ["-c", ROOT / "constraints.txt", "torch", f"{ROOT}[cluster]"]
    done = processes.run(command, env=environment, limit=INDEX_S, stdin=subprocess.DEVNULL)
    if done.returncode and re.search(r"(?:NewConnectionError|NameResolutionError|Could not fetch URL)", done.stderr):
        pytest.skip(f"no index answers: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    found = {normal(one["metadata"]["name"]): one["metadata"]["version"] for one in json.loads(done.stdout)["install"]}
    assert {"nvidia-cublas", "triton", "ray", "mlflow", "boto3", "psycopg2-binary", "s3fs"} <= found.keys()
    pins = re.findall(r"^([\w.-]+)==([^;\s]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert found.items() - {(normal(name), version) for name, version in pins} == {("marey", found["marey"])}


def normal(name: str) -> str:
    """Return the form of a package's name that indexes compare."""
    return re.sub(r"[-_.]+", "-", name).lower()
