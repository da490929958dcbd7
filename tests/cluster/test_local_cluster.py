"""A cluster of three nodes on this machine: what it tells, and who may use it."""

import json
from pathlib import Path

import pytest

from cluster import dashboard, jobs, local, token
from cluster.errors import ClusterError
from cluster.head import probe
from pipelines.commands.cluster import status, to_text
from pipelines.text import to_json

pytestmark = pytest.mark.cluster


def test_status(workspace):
    cluster = local.current(workspace)
    found = status(workspace)
    text = to_text(found)
    assert json.loads(to_json(found))["cluster"]["address"] == cluster.address
    assert "3 of 3 alive" in text
    assert "CPUs       3\n" in text
    for place in (cluster.address, cluster.dashboard, cluster.token_path):
        assert place in text
    private = {Path(cluster.token_path): 0o600, Path(cluster.temp): 0o700, workspace / "cluster": 0o700}
    assert {path: path.stat().st_mode & 0o777 for path in private} == private


def test_a_second_one_is_refused(workspace):
    with pytest.raises(ClusterError, match=r"a local cluster of 3 nodes is already running .*marey cluster down"):
        local.up(workspace, 1)
    assert len(local.current(workspace).running()) == 3


def test_only_with_the_token(workspace, monkeypatch):
    cluster = local.current(workspace)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", cluster.token_path)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    probe(cluster.address)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(ClusterError, match="refuses the token: set RAY_AUTH_TOKEN_PATH"):
        probe(cluster.address)
    with pytest.raises(ClusterError, match="refuses the token: set RAY_AUTH_TOKEN_PATH"):
        dashboard.nodes(cluster.dashboard, token.read())


def test_which_addresses_mean_it(workspace):
    cluster = local.current(workspace)
    for address in (None, cluster.address, cluster.dashboard):
        assert jobs.target(address, None, workspace).local
        assert jobs.target(None, address, workspace).url == cluster.dashboard
    assert not jobs.target("http://head:8265", cluster.address, workspace).local


def test_a_node_that_does_not_start_is_told(tmp_path):
    with pytest.raises(ClusterError, match=r"node 0 did not start: .*must be nonnegative.*node-0\.log"):
        local.up(tmp_path, nodes=2, cpus_per_node=-1)
    assert local.last(tmp_path) is None
    assert (tmp_path / "cluster" / "node-0.log").is_file()
