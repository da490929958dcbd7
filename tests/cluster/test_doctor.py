"""`marey doctor` asks a real cluster of three nodes: by its head, by its dashboard, with a token and without."""

import json

import pytest

from cluster import local
from cluster.versions import here

pytestmark = pytest.mark.cluster


@pytest.fixture
def doctor(marey, tmp_path):
    """Return a function that runs it away from the cluster's workspace, and returns its findings about the cluster."""

    def run(*words, **variables):
        done = marey("doctor", "--json", *words, **({"MAREY_WORK": tmp_path} | variables))
        found = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
        assert done.returncode == (0 if found["cluster"]["level"] == "ok" else 1), done.stdout
        return found["cluster"], found.get("nodes")

    return run


def test_the_head_and_all_nodes_are_asked(doctor, workspace):
    cluster = local.current(workspace)
    found, nodes = doctor("--address", cluster.address, RAY_AUTH_TOKEN_PATH=cluster.token_path)
    versions = f"Ray {here().ray}, Python {here().python}"
    assert found["found"] == f"{cluster.address} answers and takes the token: {versions}"
    assert nodes["found"].startswith("3 nodes with marey ")


def test_a_wrong_token_is_told_from_a_cluster_that_is_away(doctor, workspace):
    cluster = local.current(workspace)
    found, nodes = doctor(RAY_ADDRESS=cluster.address, RAY_AUTH_TOKEN="wrong")
    assert found["found"] == f"the Ray cluster at {cluster.address} refuses the token"
    assert "RAY_AUTH_TOKEN_PATH" in found["advice"]
    assert nodes is None
    found, _ = doctor("--address", cluster.dashboard, RAY_AUTH_TOKEN="wrong")
    assert "refuses the token" in found["found"]


def test_a_dashboard_is_asked_as_submit_does(doctor, workspace):
    cluster = local.current(workspace)
    said = f"{cluster.dashboard} takes jobs: Ray {here().ray}, Python {here().python}"
    for address in (cluster.dashboard, cluster.dashboard.removeprefix("http://")):
        found, _ = doctor("--address", address, RAY_AUTH_TOKEN_PATH=cluster.token_path)
        assert found["found"] == said
    found, _ = doctor(MAREY_WORK=workspace)  # that of the workspace, to which `marey submit` would send
    assert found["found"] == said
