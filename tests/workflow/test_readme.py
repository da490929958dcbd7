"""Every command of the README, in its order, on a small folder of real videos, cut in size only."""

from __future__ import annotations

import base64
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request

import pytest
from paths import ROOT
from processes import find_line, run, started

from tasks.stickfigures import FigureSettings
from tasks.stickfigures import videos as figures

TEXT = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
(RECIPE,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
MAREY = [sys.executable, "-m", "pipelines"]
CUT = {
    "marey prepare": ["--tvl1.warps", "1", "--tvl1.scales", "2", "--short-side", "48"],
    "marey submit": ["--set", "train.epochs=1"],
}
"""What a command is given on top, so that minutes become seconds."""
OF_A_CLUSTER = ("cluster", "submit", "jobs")
"""Verbs that deal with the cluster of `marey cluster up`."""
JOIN = ("RAY_ADDRESS", "RAY_AUTH_MODE")
LABELS = ("sit_down", "stand_up", "open_door", "close_door")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as the reader has it: `videos` with class folders, and the recipe."""
    root = tmp_path_factory.mktemp("readme")
    settings = FigureSettings(train_clips=8, val_clips=0, test_clips=0, train_people=8, size=48, frames=12)
    for video in figures.list_videos(settings):
        if video.label in LABELS:
            figures.write(video, settings, root / "made")
    (root / "made" / "train").rename(root / "videos")
    recipe = RECIPE
    for full, cut in (("epochs: 30", "2"), ("trials: 8", "1"), ("size: 112", "32"), ("workers: 2", "1")):
        assert full in recipe
        recipe = recipe.replace(full, f"{full.partition(' ')[0]} {cut}")
    (root / "gestures.yaml").write_text(recipe)
    return root


@pytest.fixture(scope="module")
def environment(folder):
    """As the reader has it, who has set nothing."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    return kept | {"MAREY_WORK": str(folder / "marey-work"), "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def test_make_runs_what_the_readme_says():
    for target, does in (("demo", "marey demo"), ("ui", "marey ui"), ("test", "pytest")):
        planned = run(["make", "-n", target], cwd=ROOT)
        assert planned.returncode == 0
        assert does in planned.stdout
    assert {"make demo", "make test"} <= set(COMMANDS)


@pytest.mark.campaign
def test_every_command_of_the_readme_works(folder, environment, joining):
    """Commands that would start a Ray on this machine join one, as they would where RAY_ADDRESS is set."""
    ran = []

    def marey(*words: str, **added: str):
        return run([*MAREY, *words], cwd=folder, env=environment | added)

    try:
        for line in COMMANDS:
            words = shlex.split(line, comments=True)
            if words[0] != "marey" or words[1] == "ui":
                continue
            added = {} if words[1] in OF_A_CLUSTER else {name: joining[name] for name in JOIN}
            done = marey(*words[1:], *CUT.get(" ".join(words[:2]), []), **added)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            ran.append(words[1])
    finally:
        if "cluster" in ran:
            marey("cluster", "down")
    assert ran == [
        *("prepare", "verify", "preview", "train", "evaluate", "predict", "tune"),
        *("cluster", "submit", "jobs", "cluster"),
    ]
    assert "marey ui" in COMMANDS
    command = [*MAREY, "ui", "--port", "0"]
    with started(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as ui:
        address = find_line(ui.stdout, r"http://\S+")[0]
        login = folder / "marey-work" / "ui-login"  # asked for where other accounts of this machine can log in
        secret = base64.b64encode(login.read_bytes().strip() if login.exists() else b"").decode()
        page = urllib.request.Request(address, headers={"Authorization": f"Basic {secret}"})
        assert urllib.request.urlopen(page, timeout=60).status == 200
        ui.send_signal(signal.SIGINT)
        assert ui.wait(60) == 0
