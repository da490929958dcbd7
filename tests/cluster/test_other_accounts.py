"""Two other accounts of this machine: what one of them runs, the other can neither enter nor replace."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from paths import ROOT
from processes import end, find_line, run, started

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other accounts")
ONE, OTHER = 12345, 12346
CODE = """
import sys
from cluster import attach
attach.attach("local", num_cpus=1)
import ray
assert ray.get(ray.remote(lambda: 7).remote()) == 7
print("folder", attach._own.path, flush=True)
input()
"""
LEFT = "from cluster import private; private.make().remove()"


def become(account, *command):
    return ["setpriv", "--reuid", str(account), "--regid", str(account), "--clear-groups", *command]


def python(account, code):
    """Root's own Python may lie where others cannot look: let them, and nothing else."""
    looking = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
    return become(account, *looking, sys.executable, "-c", code)


@pytest.fixture
def environment():
    """A home that is not there, a name that nobody has, and a temporary folder that is too long for sockets."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MAREY_WORK"))}
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        kept.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="marey-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        long = folder / ("x" * 80)
        long.mkdir()
        os.chown(long, ONE, ONE)
        yield kept | {
            "HOME": "/nonexistent",
            "TMPDIR": str(long),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }


@pytest.mark.campaign
def test_rays_folder_is_its_owners_and_goes_after_a_kill(environment):
    with started(
        python(ONE, CODE),
        cwd="/",
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as one:
        folder = Path(find_line(one.stdout, "folder (.*)")[1])
        assert (folder / "r" / "session_latest").is_dir()
        assert (folder / "token").stat().st_mode & 0o777 == 0o600
        for words in (["ls", folder / "r"], ["cat", folder / "token"], ["mv", folder, f"{folder}-mine"]):
            refused = run(become(OTHER, *words), cwd="/")
            assert refused.returncode != 0
            assert "ermission" in refused.stderr or "not permitted" in refused.stderr
        family = psutil.Process(one.pid).children(recursive=True)
        # Ray's agents end by themselves, but only when they have tried for a minute to reach the rest of it.
        agents = [each for each in family if "Agent" in each.name()]
        one.kill()
        one.wait()
        _, alive = psutil.wait_procs([each for each in family if each not in agents], timeout=60)
        assert not alive
        assert folder.is_dir()
        assert run(python(OTHER, LEFT), cwd="/", env=environment).returncode == 0
        assert folder.is_dir()
        assert run(python(ONE, LEFT), cwd="/", env=environment).returncode == 0
        assert not folder.exists()
        end(agents)
