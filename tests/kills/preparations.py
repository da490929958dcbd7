"""Preparation under kill -9: workers, decoders, nodes and the driver die at random moments, and nothing is lost.

After each kill that ends the driver the same command is given again. In the end all shards equal those that one process
made undisturbed, no shard or video that was finished before a kill was made again, and nothing half-written is left.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from paths import ROOT
from prepared import prepare_here
from strike import strike
from tally import Tally

from cluster import local
from tasks.data import PrepareSettings
from tasks.data.sidecar import read_sidecars
from tasks.video import TVL1
from tasks.video.codecs import write_mp4

SETTINGS = PrepareSettings(
    short_side=64, shard_videos=6, max_sample_frames=20, tvl1=TVL1(scales=2, warps=2, outer_iterations=2)
)
WORDS = ["--short-side", "64", "--shard-videos", "6", "--max-sample-frames", "20"]
WORDS += ["--tvl1.scales", "2", "--tvl1.warps", "2", "--tvl1.outer-iterations", "2"]
TARGETS = ("worker", "decoder", "node", "head", "driver")
COMMANDS = {"worker": "ray::process", "decoder": "tasks.video.decoder_child"}
"""Words in the command of a worker that is preparing, and of its decoder."""
NODES = 3


def videos(root: Path, count: int) -> Path:
    """Write `count` noisy videos in two classes; every sixth is cut into pieces."""
    random = np.random.default_rng(0)
    for number in range(count):
        path = root / "ab"[number % 2] / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = 70 if number % 6 == 0 else 14
        write_mp4(path, random.integers(0, 255, (frames, 64, 80, 3), dtype=np.uint8), 25, crf=30)
    return root


def hashes(out: Path) -> dict[str, str]:
    """Return the sha256 of each committed shard."""
    committed = [path.with_suffix(".tar") for path in (out / "shards").glob("[0-9]*.json")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in committed}


class Preparations:
    """Rounds of preparation, each disturbed until it has had its kills."""

    def __init__(self, folder: Path, seed: int, say: Callable[[str], object] = lambda _: None, count: int = 36) -> None:
        self.folder, self.random, self.say = folder, Random(seed), say
        self.source = videos(folder / "videos", count)
        self.expected = hashes(Path(prepare_here(self.source, folder / "undisturbed", SETTINGS)))
        self.workspace = folder / "workspace"
        self.workspace.mkdir()
        self.tally = Tally()
        self.typical = 20.0
        """Seconds that the last undisturbed command took."""

    def round(self, targets: list[str]) -> None:
        """Run a preparation during which the targets die one after the other, each at a random moment."""
        out = self.folder / f"out{self.tally.rounds}"
        cluster, driver = self._cluster(), None
        settled: dict[str, int] = {}
        self.tally.rounds += 1
        todo = list(targets)
        try:
            while True:
                if not cluster.running() or len(cluster.running()) < NODES:
                    local.down(self.workspace)
                    cluster = self._cluster()
                driver, begun = self._start(out, cluster), time.monotonic()
                while todo and driver.poll() is None:
                    try:
                        driver.wait(self.random.uniform(0, self.typical))
                    except subprocess.TimeoutExpired:
                        if self._kill(todo[0], driver, cluster):
                            self.say(f"{todo[0]} killed after {time.monotonic() - begun:.1f} s")
                            self.tally.kills[todo.pop(0)] += 1
                code = driver.wait(600)
                self._check_settled(out, settled)
                if code == 0 and not self._provisional(out):
                    if not todo:
                        self.typical = time.monotonic() - begun
                        break
                    out = self.folder / f"out{self.tally.rounds}"  # it was done before all had died: once more
                    self.tally.rounds += 1
                    settled = {}
        finally:
            if driver and driver.poll() is None:
                driver.kill()
                driver.wait()
            local.down(self.workspace)
        assert hashes(out) == self.expected
        assert not list((out / "shards").glob(".*"))
        assert not list((out / "shards").glob("*.tmp"))
        assert not (out / ".kept").exists()

    def _cluster(self) -> local.LocalCluster:
        return local.up(self.workspace, nodes=NODES, cpus_per_node=1)

    def _start(self, out: Path, cluster: local.LocalCluster) -> subprocess.Popen[bytes]:
        self.tally.commands += 1
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MAREY_WORK"))}
        variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": cluster.token, "OMP_NUM_THREADS": "1"}
        words = ["-m", "pipelines", "prepare", str(self.source), str(out), *WORDS, "--address", cluster.address]
        with open(self.folder / "drivers.log", "ab") as log:
            return subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, env=kept | variables, stdout=log, stderr=subprocess.STDOUT
            )

    def _kill(self, target: str, driver: subprocess.Popen[bytes], cluster: local.LocalCluster) -> bool:
        """Kill one process of the kind, if there is one."""
        if target == "driver":
            driver.kill()
            return True
        return strike(cluster, target, COMMANDS.get(target, ""), self.random)

    def _check_settled(self, out: Path, settled: dict[str, int]) -> None:
        """Check that what was committed, and is not provisional, or was kept before is unchanged."""
        for name, stamp in settled.items():
            path = out / name
            if path.suffix == ".json" or path.exists():
                assert path.stat().st_mtime_ns == stamp, f"{name} was made again"
        committed = [p for p in (out / "shards").glob("[0-9]*.json") if not json.loads(p.read_bytes())["provisional"]]
        for path in [*committed, *(out / ".kept").glob("*/[0-9]*")]:
            with contextlib.suppress(FileNotFoundError):  # workers of a killed driver may be at work still
                settled[str(path.relative_to(out))] = path.stat().st_mtime_ns

    def _provisional(self, out: Path) -> bool:
        return any(sidecar.provisional for sidecar in read_sidecars(str(out)))
