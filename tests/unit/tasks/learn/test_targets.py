"""Smoothed labels and mixed clips: docs/papers/augmentation.md, section 7."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from learn_toys import CASES, IDENTITY, Table, Toy

import models
from models.common.network import CHANNELS, cross_entropy
from tasks.learn.batch import Portion
from tasks.learn.class_weights import class_weights
from tasks.learn.loop import fit
from tasks.learn.settings import TrainSettings
from tasks.learn.targets import Targets

pytestmark = pytest.mark.quick
CLASSES = 3
PLAIN = TrainSettings(batch_size=8)


def share_of(settings, step=0, number=0, n=5, **arguments):
    """A share of clips, each of which holds its own number everywhere, after `Targets`."""
    table = Table(n=n, shape=(3, 2, 12, 10))
    table.clips = torch.arange(float(n)).view(-1, 1, 1, 1, 1).expand_as(table.clips).clone()
    share = table.batch(torch.arange(n), number)
    (made,) = Targets(settings, CLASSES).set(Portion([share], number, 1, n), step, **arguments).shares
    return share, made


def test_smoothed_labels_are_those_of_torch():
    logits = torch.randn(5, CLASSES, generator=torch.Generator().manual_seed(0))
    for smoothing in (0.1, 1.0):
        plain, made = share_of(replace(PLAIN, label_smoothing=smoothing))
        expected = F.cross_entropy(logits, plain.labels, label_smoothing=smoothing)
        torch.testing.assert_close(cross_entropy(logits, made.labels), expected)
        assert torch.equal(made.clip, plain.clip)


def test_nothing_is_made_of_labels_that_stay():
    plain, made = share_of(PLAIN)
    assert (made.clip, made.labels) == (plain.clip, plain.labels)


@pytest.mark.parametrize(("name", "alpha"), [("mixup", 0.2), ("mixup", 1.0), ("cutmix", 1.0)])
def test_a_clip_has_as_much_of_another_as_its_label(name, alpha):
    """Mixup everywhere, CutMix in one box, the same in all frames and colours; the middle clip is its own partner."""
    own = []
    for step in range(300):
        plain, made = share_of(replace(PLAIN, label_smoothing=0.3, **{name: alpha}), step)
        means = made.clip.mean((1, 2, 3, 4))
        part = 1 - means[0] / 4  # the first clip is all 0, the last all 4
        own.append(part.item())
        torch.testing.assert_close(means, part * torch.arange(5.0) + (1 - part) * torch.arange(4.0, -1, -1))
        labels = F.one_hot(plain.labels, CLASSES) * 0.7 + 0.1
        torch.testing.assert_close(made.labels, part * labels + (1 - part) * labels.flip(0))
        values = made.clip[0].unique()
        if name == "mixup":
            torch.testing.assert_close(values, means[:1])
        else:
            assert set(values.tolist()) <= {0.0, 4.0}
            changed = made.clip[0] == 4.0
            assert torch.equal(changed, changed[:1, :1].expand_as(changed))
            rows, columns = changed[0, 0].any(1), changed[0, 0].any(0)
            assert torch.equal(changed[0, 0], rows[:, None] & columns)
            for line in (rows, columns):
                assert len(line.int().diff().nonzero()) <= 2  # no gap
        assert plain.clip.unique().numel() == 5  # what the loader gave stays
    own = torch.tensor(own)
    if name == "mixup":  # Beta(alpha, alpha)
        assert own.mean() == pytest.approx(0.5, abs=0.06)
        assert own.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)
    else:  # boxes are cut off at the border
        assert 0.55 < own.mean() < 0.8


def test_with_both_either_happens_to_half_of_the_shares():
    cut = 0
    for number in range(200):
        _, made = share_of(replace(PLAIN, mixup=1.0, cutmix=1.0), number=number)
        cut += set(made.clip[0].unique().tolist()) <= {0.0, 4.0}
    assert 75 <= cut <= 125


def test_seed_step_share_and_half_decide():
    mixing = replace(PLAIN, mixup=1.0)

    def drawn(settings=mixing, **place):
        return share_of(settings, **place)[1].clip.sum((1, 2, 3, 4))

    assert torch.equal(drawn(step=1, number=2), drawn(step=1, number=2))
    others = [drawn(), drawn(step=1), drawn(number=1), drawn(held_out=True), drawn(replace(mixing, seed=1))]
    assert len({float(one[0]) for one in others}) == len(others)


def test_class_weights_have_a_mean_of_one_over_the_samples():
    counts = torch.tensor([1, 5, 2])
    balanced = class_weights("balanced", "abc", counts)
    torch.testing.assert_close(balanced * counts, torch.full((3,), 8 / 3))
    named = class_weights({"b": 4.0}, "abc", counts)
    torch.testing.assert_close(named, torch.tensor([1.0, 4.0, 1.0]) * 8 / 23)
    assert class_weights("off", "abc", counts) is None


def test_a_clip_counts_in_the_loss_by_its_class(tmp_path):
    """Also of a share: dividing by its own weights would let rare classes count less there."""
    network, table = Toy(dropout=0.0, norm=False), Table(n=7, batch_size=7)
    each = F.cross_entropy(network(table.clips), table.labels, reduction="none")
    weights = class_weights("balanced", "abc", table.labels.bincount())[table.labels]
    settings = TrainSettings(epochs=1, batch_size=7, micro_batches=3, lr=1e-9, class_weights="balanced")
    reports = []
    fit(network, table.training(3), None, settings, reports.append, identity=IDENTITY, checkpoints=False)
    assert reports[-1].metrics["train/loss"] == pytest.approx((weights * each).mean().item(), rel=1e-5)
    assert reports[-1].metrics["train/loss"] != pytest.approx(each.mean().item(), rel=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_every_network_takes_what_each_class_counts(case):
    """The losses of labels are those of whole classes; those of a mixture lie between."""
    name, options = CASES[case]
    network = models.build(name, CLASSES, tiny=True, **options).eval()
    clip = torch.randn(3, CHANNELS[network.stream], 4, 32, 32, generator=torch.Generator().manual_seed(0))
    about = models.describe(name, options).training_clip(network.stream)
    more = {"flow": torch.zeros(3, 2, 2, 32, 32)} if about.get("target") == "flow" else {}
    labels = torch.tensor([0, 2, 1])
    hard = F.one_hot(labels, CLASSES).float()

    def losses(target):
        torch.manual_seed(0)
        found = network.losses(clip, target, **more)
        return {name: value for name, value in found.items() if name == "total" or name.startswith("loss_")}

    whole, same, other, mixed = map(losses, (labels, hard, hard.flip(1), (hard + hard.flip(1)) / 2))
    for key, value in whole.items():
        torch.testing.assert_close(same[key], value, msg=key)
        torch.testing.assert_close(mixed[key], (value + other[key]) / 2, msg=key)
    assert len({float(one["total"].detach()) for one in (same, other, mixed)}) == 3
