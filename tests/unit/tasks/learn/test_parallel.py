"""Real gloo workers against one."""

import functools
import re

import numpy as np
import pytest
import torch
from learn_toys import CASES
from learn_worker import leaf, run_workers

SEVERAL = [2, pytest.param(3, marks=pytest.mark.campaign)]


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """What trains each network by so many workers, once: one or two steps, the second with workers without a share."""
    double = {
        f"tsn, {sums}, in double": {"case": "tsn", "sums": sums, "number_of_steps": 2, "double": True}
        for sums in ("exact", "fast")
    }

    def runs(world):
        alone = [("exact", 1)] if world == 1 else []  # what the others' first step is compared with
        return double | {
            f"{case}, {sums}, {number}": {"case": case, "sums": sums, "number_of_steps": number}
            for case in CASES
            for sums, number in (("exact", 2), ("fast", 1), *alone)
        }

    folder = tmp_path_factory.mktemp("cases")
    return functools.cache(lambda world: run_workers("cases", world, folder / str(world), runs=runs(world)))


@pytest.mark.parametrize("workers", SEVERAL)
@pytest.mark.parametrize("case", CASES)
def test_every_network_has_the_same_bits_on_any_number_of_workers(taken, case, workers):
    """With dropout, Gumbel noise, mixed clips, running statistics and UDL."""
    (one,) = (ranks[f"{case}, exact, 2"] for ranks in taken(1))
    assert one["sha256"] != taken(1)[0][f"{case}, exact, 1"]["sha256"]
    several = [rank[f"{case}, exact, 2"] for rank in taken(workers)]
    assert {rank["sha256"] for rank in several} == {one["sha256"]}
    assert all(rank["figures"] == one["figures"] for rank in several)
    assert min(rank["shares"] for rank in several) == 0


@pytest.mark.parametrize("workers", [1, *SEVERAL])
@pytest.mark.parametrize("case", CASES)
def test_fast_sums_are_equal_but_for_rounding(taken, case, workers):
    (exact,) = (ranks[f"{case}, exact, 1"] for ranks in taken(1))
    check_close([rank[f"{case}, fast, 1"] for rank in taken(workers)], exact)


@pytest.mark.parametrize("workers", SEVERAL)
def test_a_worker_without_a_share_takes_part_in_fast_sums(taken, workers):
    """In float64: in float32 the first step's rounding may choose another maximum of a pool in the second."""
    (exact,) = (ranks["tsn, exact, in double"] for ranks in taken(1))
    check_close([rank["tsn, fast, in double"] for rank in taken(workers)], exact, rtol=1e-6, atol=1e-8)


def check_close(ranks, expected, rtol=1e-3, atol=1e-5):
    assert len({rank["sha256"] for rank in ranks}) == 1
    for name, value in expected["weights"].items():
        torch.testing.assert_close(ranks[0]["weights"][name], value, rtol=rtol, atol=atol, msg=name)


@pytest.mark.parametrize("workers", [1, *SEVERAL])
def test_nothing_is_said_of_gradients(taken, workers):
    """DistributedDataParallel warns of gradients that are laid out in another way than their parameters."""
    for rank in taken(workers):
        assert "strides" not in rank["said"]


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_sums_have_the_bits_of_the_tree(tmp_path, world):
    """Also the sign of a zero, which a neutral 0.0 would lose."""

    def node(shares, start, width):
        if width == 1:
            return leaf(start)
        left = node(shares, start, width // 2)
        if start + width // 2 >= shares:
            return left
        return [one + other for one, other in zip(left, node(shares, start + width // 2, width // 2), strict=True)]

    for rank in run_workers("add", world, tmp_path / "exact", kind="exact", most=17):
        for shares, sums in rank["sums"].items():
            expected = node(shares, 0, 32)
            for ours, theirs in zip(sums, expected, strict=True):
                assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
                assert torch.equal(ours, theirs)
                assert torch.equal(ours.signbit(), theirs.signbit())


@pytest.mark.parametrize("world", [1, 3])
def test_fast_sums_are_sums(tmp_path, world):
    ranks = run_workers("add", world, tmp_path / "fast", kind="fast", most=5)
    for shares in range(1, 6):
        each = list(zip(*map(leaf, range(shares)), strict=True))
        for rank in ranks:
            for ours, tensors in zip(rank["sums"][shares], each, strict=True):
                largest = sum(tensor.double().abs() for tensor in tensors)
                exact = sum(tensor.double() for tensor in tensors)
                assert ((ours - exact).abs() <= 1e-6 * largest).all()


@pytest.fixture(scope="module")
def whole_training(tmp_path_factory):
    """Results of a whole training by the kind of its sums and its number of workers."""
    folder = tmp_path_factory.mktemp("training")
    return functools.cache(lambda sums, world: run_workers("training", world, folder / f"{sums}{world}", sums=sums))


@pytest.mark.parametrize("world", [2, 3])
def test_workers_train_and_report_as_one(whole_training, world):
    (one,), several = whole_training("exact", 1), whole_training("exact", world)
    for name, expected in one["weights"].items():
        assert all(torch.equal(rank["weights"][name], expected) for rank in several)
    assert [entry[:3] for entry in several[0]["reports"]] == [entry[:3] for entry in one["reports"]]
    # Steps are rank 0's to tell; the ends of epochs everybody's, the checkpoint rank 0's.
    assert [entry[:3] for entry in several[1]["reports"]] == [("epoch", 3, False), ("epoch", 6, False)]
    for ours, theirs in zip(several[0]["reports"], one["reports"], strict=True):
        assert unclocked(ours[3]) == unclocked(theirs[3])


def test_workers_stop_early_as_one(tmp_path):
    lazy = {"epochs": 20, "lr": 1e-9, "patience": 2}
    (one,), three = (run_workers("training", world, tmp_path / str(world), **lazy) for world in (1, 3))
    ends = [step for kind, step, _, _ in one["reports"] if kind == "epoch"]
    assert len(ends) < 20
    for rank in three:
        assert [step for kind, step, _, _ in rank["reports"] if kind == "epoch"] == ends
        assert all(torch.equal(rank["weights"][name], value) for name, value in one["weights"].items())


def test_fast_workers_train_as_one(whole_training):
    (one,), two = whole_training("exact", 1), whole_training("fast", 2)
    for name, expected in one["weights"].items():
        assert torch.equal(two[0]["weights"][name], two[1]["weights"][name])
        torch.testing.assert_close(two[0]["weights"][name], expected, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(two[0]["reports"], one["reports"], strict=True):
        assert unclocked(ours[3]) == pytest.approx(unclocked(theirs[3]), rel=1e-4)


def unclocked(metrics):
    return {name: value for name, value in metrics.items() if not name.startswith("workers/")}


@pytest.mark.parametrize("world", [2, 3])
def test_workers_score_as_one(tmp_path, world):
    """To the last bit, although videos are cut between workers."""
    (one,) = run_workers("scores", 1, tmp_path / "one")
    for rank in run_workers("scores", world, tmp_path / "several"):
        assert list(rank["scores"]) == list(one["scores"]) == list("abcde")
        for video_id, (label, mean) in one["scores"].items():
            assert rank["scores"][video_id][0] == label
            np.testing.assert_array_equal(rank["scores"][video_id][1], mean)


def test_a_bad_loss_of_one_rank_stops_all(tmp_path):
    said = {result["error"] for result in run_workers("diverge", 2, tmp_path / "two")}
    assert len(said) == 1
    assert re.match(
        r"the loss or its gradient is no longer finite at step 2 .* videos video003, video\d+\)", said.pop()
    )


def test_a_flipped_bit_stops_all(tmp_path):
    for result in run_workers("flipped", 2, tmp_path / "two"):
        assert result["error"].startswith("the weights of worker 1 differ from those of worker 0 after step 2")


def test_a_stranger_in_the_group_runs_no_code(tmp_path):
    results = run_workers("stranger", 2, tmp_path / "two")
    assert not (tmp_path / "two" / "ran-in-0").exists()
    assert results[0]["error"] in ("UnicodeDecodeError", "JSONDecodeError")
