"""Machines that do not share what a training needs are told so before anything starts."""

import sys

import hosts
import pytest
from small_dataset import write_dataset

RECIPE = """
name: apart
data: {{dataset: {folder}/data, split: first}}
model: {{name: tsn, options: {{tiny: true}}}}
input: {{size: 32, segments: 2}}
train: {{epochs: 1, batch_size: 4}}
search: {{space: {{train.lr: {{choice: [0.01, 0.1]}}}}}}
"""


@pytest.mark.campaign
def test_a_workspace_or_a_database_of_one_machine():
    with hosts.network(2) as network:
        write_dataset(network.folder / "data")
        recipe = network.folder / "apart.yaml"
        recipe.write_text(RECIPE.format(folder=network.folder))
        head, other = network.hosts
        head.start_ray()
        other.start_ray()
        own, shared = network.folder / hosts.OWN / "work", network.folder / "work"

        def refused(verb, workspace):
            words = [sys.executable, "-m", "pipelines", verb, recipe]
            done = head.run(words, RAY_ADDRESS=network.head, MAREY_WORK=workspace)
            assert done.returncode == 2, done.stderr
            assert not list(head.own.glob("work/*/apart/*"))
            return done.stderr.strip().splitlines()[-1]

        for verb in ("train", "tune"):
            told = refused(verb, own)
            assert f"the workspace {own} is not seen by {other.address}: set MAREY_WORK to a folder" in told
        assert "the cluster has 2 machines, and MLflow's database is a file on this one" in refused("train", shared)
        assert not [file for file in shared.iterdir() if file.name.startswith(".seen")]
