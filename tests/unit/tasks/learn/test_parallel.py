"""Two real gloo workers against one."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from learn_toys import CASES
from paths import ROOT


def run(job, world, folder):
    """Run a job of learn_worker.py on `world` processes and return each rank's result."""
    folder.mkdir()
    script = ROOT / "tests/helpers/learn_worker.py"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, script, job, str(rank), str(world), folder / "store", folder], env=environment
        )
        for rank in range(world)
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0] * world
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world)]


@pytest.fixture(scope="module")
def gradients(tmp_path_factory):
    """Gradients of every network, from one worker and from each of two."""
    folder = tmp_path_factory.mktemp("gradients")
    return run("gradients", 1, folder / "one"), run("gradients", 2, folder / "two")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("clips", [3, 1])
def test_two_workers_have_the_gradients_of_one(gradients, case, clips):
    """3 clips do not divide by 2; with 1 clip the second rank gets only a filler."""
    (one,), two = ([results[case, clips] for results in workers] for workers in gradients)
    for parameter, expected in one["mean"].items():
        assert torch.equal(two[0]["mean"][parameter], two[1]["mean"][parameter])
        torch.testing.assert_close(two[0]["mean"][parameter], expected, rtol=1e-4, atol=1e-6)
    for parameter, expected in one["upstream"].items():
        assert torch.equal(two[0]["upstream"][parameter], two[1]["upstream"][parameter])
        tolerance = 1e-4 * expected.abs().max().item()
        assert tolerance > 0
        torch.testing.assert_close(two[0]["upstream"][parameter], expected, rtol=1e-3, atol=tolerance)
    assert max(one["own"]) > 0
    assert any(two[1]["own"]) is (clips > 1)


def test_two_workers_train_as_one(tmp_path):
    (one,) = run("training", 1, tmp_path / "one")
    two = run("training", 2, tmp_path / "two")
    for name, expected in one["weights"].items():
        assert torch.equal(two[0]["weights"][name], two[1]["weights"][name])
        torch.testing.assert_close(two[0]["weights"][name], expected, rtol=1e-4, atol=1e-6)
    assert [entry[:3] for entry in two[0]["reports"]] == [entry[:3] for entry in one["reports"]]
    # Steps are rank 0's to tell; the ends of epochs everybody's, the checkpoint rank 0's.
    assert [entry[:3] for entry in two[1]["reports"]] == [("epoch", 6, False), ("epoch", 12, False)]
    for ours, theirs in zip(two[0]["reports"], one["reports"], strict=True):
        assert ours[3].keys() == theirs[3].keys()
        for name, value in theirs[3].items():
            if not name.startswith("speed/"):
                assert ours[3][name] == pytest.approx(value, rel=1e-4), name


def test_all_ranks_validate_with_the_statistics_of_the_checkpoint(tmp_path):
    first, second = run("statistics", 2, tmp_path / "two")
    assert torch.equal(first["mean"], second["mean"])
    assert len(first["scores"]) == 9
    assert first["scores"].keys() == second["scores"].keys()
    for video_id, (label, mean) in first["scores"].items():
        assert label == second["scores"][video_id][0]
        np.testing.assert_array_equal(mean, second["scores"][video_id][1])


def test_a_bad_loss_of_one_rank_stops_all(tmp_path):
    for result in run("diverge", 2, tmp_path / "two"):
        assert result["error"].startswith("UserError: the loss or its gradient is no longer finite at step")


def test_a_stranger_in_the_group_runs_no_code(tmp_path):
    results = run("stranger", 2, tmp_path / "two")
    assert not (tmp_path / "two" / "ran-in-0").exists()
    assert results[0]["error"] in ("UnicodeDecodeError", "JSONDecodeError")
