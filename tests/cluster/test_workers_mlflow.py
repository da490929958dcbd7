"""Workers that MLflow does not let in are found before anything is computed."""

import pytest
from shared_mlflow import served
from small_dataset import write_dataset

from cluster import local

pytestmark = pytest.mark.cluster
RECIPE = """
name: unheard
data: {{dataset: {dataset}, split: first}}
model: {{name: tsn, options: {{tiny: true}}}}
input: {{size: 32, segments: 2}}
train: {{epochs: 1, batch_size: 4, micro_batches: 2}}
compute: {{workers: 2}}
"""


@pytest.fixture
def training(start, workspace, tmp_path):
    """Return a function that has `marey train` use the cluster and an MLflow; it returns exit code and messages."""
    cluster = local.current(workspace)
    write_dataset(tmp_path / "data")
    recipe = tmp_path / "unheard.yaml"
    recipe.write_text(RECIPE.format(dataset=tmp_path / "data"))
    own = {"RAY_ADDRESS": cluster.address, "RAY_AUTH_TOKEN_PATH": cluster.token_path, "MAREY_WORK": tmp_path / "work"}

    def train(**variables):
        with start("train", recipe, **own, **variables) as process:
            _, said = process.communicate()
        return process.returncode, said

    return train


def test_nodes_without_the_login_of_the_command(training, tmp_path):
    with served(MAREY_WORK=str(tmp_path / "server")) as server:
        code, said = training(**server.variables())
        assert code == 2, said
        told = f"marey: the machine 127.0.0.1 cannot write to MLflow: the MLflow server {server.url} asks for a login"
        assert said.splitlines()[-1].startswith(told), said
        assert not (tmp_path / "work" / "runs" / "unheard" / "run.json").exists()


def test_nodes_that_are_let_in(training, tmp_path):
    with served("--no-login", MAREY_WORK=str(tmp_path / "server")) as server:
        code, said = training(MLFLOW_TRACKING_URI=server.url)
        assert code == 0, said
