"""Several hosts with addresses of their own, and a real node of Ray on each."""

import json
import sys

import hosts
import pytest
from listeners import Listener
from paths import ROOT

pytestmark = pytest.mark.campaign


@pytest.fixture(scope="module")
def network():
    """Return three hosts of one cluster, whose head has no CPU to train on."""
    with hosts.network(3) as made:
        for number, host in enumerate(made.hosts):
            host.start_ray(cpus=min(number, 1))
        yield made


def test_what_listens_turns_other_hosts_away(network):
    out = network.folder / "listeners.json"
    done = network.hosts[0].run(
        [sys.executable, ROOT / "tests/helpers/listening_hosts.py", out], RAY_ADDRESS=network.head
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert set(found) == {host.address for host in network.hosts}
    for listed in found.values():
        assert "raylet" in {process for process, *_ in listed["found"]}
        assert listed["lets_in"] == []
    assert "gcs_server" in {process for process, *_ in found[network.hosts[0].address]["found"]}
    for host in network.hosts[
        1:
    ]:  # torch's store and gloo know no token, and listen here whatever interfaces there are
        workers = {Listener(*each).address for each in found[host.address]["found"] if each[0].startswith("ray::")}
        assert host.address in workers
