import json
import math
import time
from dataclasses import replace

import pytest
import torch
from learn_toys import IDENTITY, Table, Toy, written

from models.common.network import Group
from tasks.errors import UserError
from tasks.learn.divergence import DivergedError
from tasks.learn.laps import STEP
from tasks.learn.loop import fit
from tasks.learn.optim import smallest_share
from tasks.learn.settings import TrainSettings

pytestmark = pytest.mark.quick
QUIET = TrainSettings(epochs=2, batch_size=4, lr=0.02, log_every=2)


class Stop(Exception):
    """The machine is lost."""


def train(tmp_path, settings, *, network=None, resume=None, stop_at=None, validation=True, table=None):
    """Train a toy and return its state and what was reported."""
    network, table, reports = network or Toy(), table or Table(), []
    training = table.training(settings.shares, smallest_share(network))

    def report(entry):
        reports.append(written(entry, tmp_path))
        if entry.checkpoint is not None and entry.step == stop_at:
            raise Stop

    valid = Table(n=9, seed=1) if validation else None
    try:
        fit(network, training, valid, settings, report, identity=IDENTITY, resume=resume)
    except Stop:
        assert stop_at is not None
    return network.state_dict(), reports


def test_it_learns_and_reports(tmp_path):
    settings = TrainSettings(epochs=15, batch_size=4, lr=0.02, schedule="constant", log_every=2)
    _, reports = train(tmp_path, settings)
    # 22 samples in batches of 4 are 6 steps; the sixth is reported with the epoch.
    assert [(p.kind, p.epoch, p.step) for p in reports[:4]] == [
        ("step", 0, 2),
        ("step", 0, 4),
        ("epoch", 1, 6),
        ("step", 1, 8),
    ]
    common = {"epoch", "train/loss", "train/top1_percent", "train/lr", "train/grad_norm"}
    common |= {f"workers/{name}" for name in ("clips_per_s", "clips_per_s_per_worker", "step_ms", "data_wait_percent")}
    assert set(reports[0].metrics) == common
    assert reports[0].checkpoint is None
    last = reports[-1]
    assert {name for name in last.metrics if not name.startswith("workers/epoch/")} - common == {
        "val/loss",
        "val/top1_percent",
        "val/top5_percent",
        "val/mean_class_percent",
    }
    assert last.metrics["epoch"] == 15
    assert last.metrics["val/top1_percent"] == 100
    assert last.metrics["train/loss"] < 0.5 * reports[0].metrics["train/loss"]
    assert last.metrics["train/lr"] == 0.02
    assert 0 <= last.metrics["workers/data_wait_percent"] < 100
    assert last.checkpoint == tmp_path / "checkpoint-00000090"


def test_figures_are_weighted_by_samples(tmp_path):
    """With a rate next to nothing the weights stand still: the loss of an epoch is the mean over its samples."""
    network = Toy(dropout=0.0, norm=False)
    table = Table()
    expected = network.losses(table.clips, table.labels)["total"].item()
    settings = TrainSettings(epochs=1, batch_size=4, lr=1e-12, weight_decay=0, log_every=100)
    _, reports = train(tmp_path, settings, network=network, table=table)
    assert [p.kind for p in reports] == ["epoch"]
    assert reports[0].metrics["train/loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "warm_up"), [("sgd", {"warmup_steps": 8}), ("adamw", {"warmup_epochs": 0.5})], ids=str
)
@pytest.mark.parametrize("stop_at", [2, 6, 10, 12])
def test_a_resumed_training_is_bit_for_bit_the_uninterrupted_one(tmp_path, optimizer, warm_up, stop_at):
    settings = TrainSettings(
        epochs=3,
        batch_size=4,
        lr=0.02,
        optimizer=optimizer,
        schedule="cosine",
        **warm_up,
        clip_norm=1.0,
        checkpoint_steps=2,
        log_every=1,
    )
    whole, reports = train(tmp_path / "whole", settings)
    _, before = train(tmp_path / "first", settings, stop_at=stop_at)
    checkpoint = before[-1].checkpoint
    assert json.loads((checkpoint / "checkpoint.json").read_text())["position"]["step"] == stop_at
    torch.manual_seed(12345)  # whatever the new process did before
    resumed, after = train(tmp_path / "second", settings, resume=checkpoint)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert [p.step for p in before + after] == [p.step for p in reports]
    for ours, theirs in zip(before + after, reports, strict=True):
        assert {k: v for k, v in ours.metrics.items() if not k.startswith("workers/")} == {
            k: v for k, v in theirs.metrics.items() if not k.startswith("workers/")
        }


class Told(Toy):
    """Records the epoch passed before every step."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def begin_step(self, epoch):
        assert self.training
        self.epochs.append(epoch)


def test_a_network_is_told_where_training_stands(tmp_path):
    """Steps are sixths of an epoch; a resumed training continues from there, not from 0."""
    settings = TrainSettings(epochs=2, batch_size=4, checkpoint_steps=2)
    whole = Told()
    train(tmp_path / "whole", settings, network=whole)
    assert whole.epochs == pytest.approx([step / 6 for step in range(12)])
    first, second = Told(), Told()
    _, reports = train(tmp_path / "first", settings, network=first, stop_at=8)
    train(tmp_path / "second", settings, network=second, resume=reports[-1].checkpoint)
    assert first.epochs == whole.epochs[:8]
    assert second.epochs == whole.epochs[8:]


class Shrinking(Table):
    """The first epoch has batches twice as large as the others, and twice their learning rate."""

    def sizes(self, epoch):
        return [8, 8, 6] if epoch == 0 else super().sizes(epoch)

    def lr(self, count):
        return 2.0 if count > 4 else 1.0


@pytest.mark.parametrize("stop_at", [1, 3, 5, 9])
def test_epochs_may_have_different_numbers_of_steps(tmp_path, stop_at):
    settings = replace(QUIET, epochs=3, schedule="constant", checkpoint_steps=1)
    whole, reports = train(tmp_path / "whole", settings, table=Shrinking())
    assert [p.step for p in reports if p.step == 0 or p.metrics["epoch"] in (1, 2, 3)] == [3, 9, 15]
    assert [p.metrics["train/lr"] for p in reports] == [0.04] * 3 + [0.02] * 12
    assert reports[3].metrics["epoch"] == pytest.approx(1 + 1 / 6)
    _, before = train(tmp_path / "first", settings, stop_at=stop_at, table=Shrinking())
    resumed, after = train(tmp_path / "second", settings, resume=before[-1].checkpoint, table=Shrinking())
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert [p.step for p in before + after] == [p.step for p in reports]


def test_a_finished_training_resumes_to_nothing(tmp_path):
    settings = TrainSettings(epochs=1, batch_size=4)
    whole, reports = train(tmp_path, settings)
    again, none = train(tmp_path, settings, resume=reports[-1].checkpoint)
    assert none == []
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_checkpoints_can_be_left_out():
    reports, settings = [], TrainSettings(epochs=1, batch_size=4)
    fit(Toy(), Table().training(), None, settings, reports.append, identity=IDENTITY, checkpoints=False)
    assert [(p.kind, p.checkpoint) for p in reports] == [("epoch", None)]


def test_the_seed_decides_dropout(tmp_path):
    runs = [train(tmp_path, TrainSettings(epochs=1, batch_size=4, seed=seed))[0] for seed in (0, 0, 1)]
    assert torch.equal(runs[0]["fc.weight"], runs[1]["fc.weight"])
    assert not torch.equal(runs[0]["fc.weight"], runs[2]["fc.weight"])


def test_validation_comes_every_so_many_epochs_and_at_the_end(tmp_path):
    _, reports = train(tmp_path, TrainSettings(epochs=5, batch_size=4, validate_every=2))
    assert [p.epoch for p in reports if "val/loss" in p.metrics] == [2, 4, 5]
    _, reports = train(tmp_path, TrainSettings(epochs=1, batch_size=4), validation=False)
    assert "val/loss" not in reports[-1].metrics


def test_gradients_are_clipped_to_the_norm(tmp_path):
    """One step of plain SGD at rate 1 moves the weights by the gradient, whose norm is clipped."""
    for clip_norm, expected in [(0.125, 0.125), (None, None)]:
        network = Toy(dropout=0.0)
        network.parameter_groups = plain_groups(network)
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        settings = TrainSettings(
            epochs=1, batch_size=22, lr=1.0, momentum=0, weight_decay=0, schedule="constant", clip_norm=clip_norm
        )
        _, reports = train(tmp_path, settings, network=network, table=Table(batch_size=22))
        moved = math.sqrt(sum((p - before[name]).square().sum().item() for name, p in network.named_parameters()))
        assert moved == pytest.approx(expected or reports[-1].metrics["train/grad_norm"], rel=1e-4)
        assert reports[-1].metrics["train/grad_norm"] > 0.2  # as it was before clipping


def plain_groups(network):
    from models.common.network import Group

    return lambda: [Group([name for name, _ in network.named_parameters()], 1.0, True, "ordinary")]


@pytest.mark.parametrize("sums", ["exact", "fast"])
@pytest.mark.parametrize("micro_batches", [2, 3, 7])
def test_shares_of_a_step_train_as_the_whole(tmp_path, micro_batches, sums):
    """Without batch norm and dropout; the last step has a single share, as its 2 clips leave none alone."""
    whole, reports = train(tmp_path / "whole", QUIET, network=Toy(dropout=0.0, norm=False))
    settings = replace(QUIET, micro_batches=micro_batches, sums=sums)
    parts, others = train(tmp_path / "parts", settings, network=Toy(dropout=0.0, norm=False))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(others, reports, strict=True):
        for name in theirs.metrics.keys() & {"train/loss", "train/top1_percent", "train/grad_norm", "val/loss"}:
            assert ours.metrics[name] == pytest.approx(theirs.metrics[name], rel=1e-4), name


class Upstream(Toy):
    """Its last layer is upstream; records every call."""

    def __init__(self):
        super().__init__(dropout=0.0, norm=False)
        self.calls = []

    def parameter_groups(self):
        names = [name for name, _ in self.named_parameters()]
        upstream = [name for name in names if name.startswith("fc.")]
        return [
            Group([name for name in names if name not in upstream], 1.0, True, "ordinary"),
            Group(upstream, 1.0, False, "upstream"),
        ]

    def gradients(self, shares, add, *, lr):
        self.calls.append(
            {
                "train": [share.train.video_ids for share in shares],
                "held_out": [share.held_out.video_ids for share in shares],
                "fractions": [(share.train.fraction, share.held_out.fraction) for share in shares],
                "lr": lr,
                "weights": {name: value.clone() for name, value in self.state_dict().items()},
                "gradients": {name: p.grad for name, p in self.named_parameters()},
            }
        )
        for parameter in self.fc.parameters():
            parameter.grad = torch.ones_like(parameter)
        return {"own": torch.tensor(float(len(self.calls)))}

    def losses(self, clip, labels, sample_weights=None):
        self.calls[-1]["between"] = {name: value.clone() for name, value in self.state_dict().items()}
        return super().losses(clip, labels, sample_weights)


def test_upstream_parameters_learn_by_the_networks_own_gradients(tmp_path):
    """Each step moves them first, and then the others, on the first half only."""
    settings = replace(
        QUIET, epochs=1, batch_size=8, micro_batches=2, lr=0.1, schedule="constant", momentum=0.0, weight_decay=0.0
    )
    network = Upstream()
    after, _ = train(tmp_path, settings, network=network, validation=False, table=Table(batch_size=8))
    assert len(network.calls) == 3
    for number, call in enumerate(network.calls):
        train_ids, held_out_ids = ([i for part in call[key] for i in part] for key in ("train", "held_out"))
        assert (len(train_ids), len(held_out_ids)) == ((4, 4) if number < 2 else (3, 3))
        assert len({*train_ids, *held_out_ids}) == len(train_ids) + len(held_out_ids)
        assert call["fractions"] == ([(0.5, 0.5)] * 2 if number < 2 else [(1.0, 1.0)])
        assert call["lr"] == 0.1
        assert set(call["gradients"].values()) == {None}
        before, between = call["weights"], call["between"]
        then = network.calls[number + 1]["weights"] if number < 2 else after
        for name in before:
            if name.startswith("fc."):
                torch.testing.assert_close(between[name], before[name] - 0.1)
                assert torch.equal(then[name], between[name])
            else:
                assert torch.equal(between[name], before[name])
                assert not torch.equal(then[name], between[name])


def test_what_a_network_tells_of_its_own_gradients_is_logged(tmp_path):
    """The mean over the clips of the ordinary steps: 4, 4 and 3 of them."""
    settings = replace(QUIET, epochs=1, batch_size=8, micro_batches=2, log_every=10)
    _, reports = train(tmp_path, settings, network=Upstream(), validation=False, table=Table(batch_size=8))
    assert reports[-1].metrics["train/own"] == pytest.approx((1 * 4 + 2 * 4 + 3 * 3) / 11)


def test_one_clip_alone_holds_nothing_out(tmp_path):
    network = Upstream()
    network.calls.append({})
    train(tmp_path, replace(QUIET, epochs=1), network=network, validation=False, table=Table(n=1))
    assert len(network.calls) == 1


def test_upstream_gradients_that_are_no_numbers_are_a_sentence(tmp_path):
    class Broken(Upstream):
        def gradients(self, shares, add, *, lr):
            for parameter in self.fc.parameters():
                parameter.grad = torch.full_like(parameter, math.nan)
            return {}

    with pytest.raises(UserError, match="no longer finite at step 1 "):
        train(tmp_path, QUIET, network=Broken(), validation=False)


def test_a_loss_that_is_no_number_is_a_sentence(tmp_path):
    settings = TrainSettings(epochs=9, batch_size=8, lr=1e30, schedule="constant")
    words = (
        r"^the loss or its gradient is no longer finite at step \d+ \(learning rate 1e\+30, "
        r"videos (video\d+, ){4}video\d+ and 3 more\): lower train\.lr, lengthen train\.warmup_epochs or set "
        r"train\.clip_norm$"
    )
    with pytest.raises(DivergedError, match=words):
        train(tmp_path, settings, table=Table(batch_size=8))


def test_the_videos_of_a_bad_loss_are_named(tmp_path):
    table = Table(n=16, batch_size=16)
    table.clips[5] = math.nan
    with pytest.raises(DivergedError, match=r"at step 1 \(learning rate 0\.02, videos (video\d+(, )?){2}\)") as raised:
        train(tmp_path, replace(QUIET, micro_batches=8), network=Toy(norm=False), table=table)
    assert "video005" in str(raised.value)  # and the other of its share


def test_weights_that_are_not_finite_are_never_written(tmp_path):
    """Their loss would say so one step later, and the checkpoint be there by then."""

    class Hidden(Toy):
        def begin_step(self, epoch):
            if epoch >= 1:
                self.register_buffer("unused", torch.tensor(math.inf))

    with pytest.raises(DivergedError, match=r"^a weight is no longer finite at step \d+ \(learning rate"):
        train(tmp_path, replace(QUIET, epochs=3), network=Hidden())
    assert [file.name for file in tmp_path.glob("checkpoint-*")] == ["checkpoint-00000006"]


def test_one_clip_alone_in_batch_norm_is_a_sentence(tmp_path):
    class Pooled(Toy):
        def forward(self, clip):
            return self.fc(
                self.norm(self.conv(clip.mean(2)).mean((2, 3), keepdim=True)).expand(-1, -1, 6, 6).flatten(1)
            )

    with pytest.raises(UserError, match=r"single value in each channel.* train\.batch_size two clips or more"):
        train(tmp_path, QUIET, network=Pooled(), table=Table(n=5))
    train(tmp_path, QUIET, network=Pooled(), table=Table(n=6))


def test_so_is_one_held_out(tmp_path):
    class Single(Upstream):
        def gradients(self, shares, add, *, lr):
            torch.nn.functional.batch_norm(torch.zeros(1, 2), None, None, training=True)

    with pytest.raises(UserError, match="single value in each channel"):
        train(tmp_path, QUIET, network=Single(), validation=False)


def test_a_deterministic_training_allows_nothing_else_while_it_lasts(tmp_path):
    seen = set()

    class Noted(Toy):
        def forward(self, clip):
            seen.add((torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic))
            return super().forward(clip)

    class Unfit(Toy):
        def forward(self, clip):
            torch.zeros(3).put_(torch.tensor([0]), torch.tensor([1.0]))
            return super().forward(clip)

    settings = replace(QUIET, epochs=1, deterministic=True)
    here, _ = train(tmp_path, settings, network=Noted())
    there, _ = train(tmp_path, replace(settings, deterministic=False))
    assert seen == {(True, True)}
    assert all(torch.equal(here[name], there[name]) for name in here)
    with pytest.raises(UserError, match=r"train\.deterministic: torch has no implementation of put_ for this device"):
        train(tmp_path, settings, network=Unfit())
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic


def test_mixed_precision_needs_a_gpu(tmp_path):
    with pytest.raises(UserError, match=r"train\.amp=bf16 needs a GPU and this worker runs on the CPU"):
        train(tmp_path, TrainSettings(epochs=1, batch_size=4, amp="bf16"))


def test_batches_are_closed_when_the_caller_stops(tmp_path):
    closed = []

    class Watched:
        def __init__(self):
            self.source = Table().training()
            self.steps = self.source.steps

        def batches(self, *args):
            try:
                yield from self.source.batches(*args)
            finally:
                closed.append(True)

    def report(entry):
        raise Stop

    settings = TrainSettings(epochs=1, batch_size=4, log_every=1)
    with pytest.raises(Stop):
        fit(Toy(), Watched(), None, settings, report, identity=IDENTITY)
    assert closed == [True]


def test_waiting_for_data_is_told(tmp_path):
    class Slow(Table):
        def batch(self, *args):
            until = time.perf_counter() + 0.03
            while time.perf_counter() < until:
                pass
            return super().batch(*args)

    _, reports = train(tmp_path, TrainSettings(epochs=3, batch_size=4), table=Slow())
    metrics = reports[-1].metrics
    waited_ms = metrics["workers/data_wait_percent"] / 100 * metrics["workers/step_ms"]
    assert 30 <= waited_ms < metrics["workers/step_ms"]
    assert metrics["workers/clips_per_s"] == pytest.approx(22 / 6 * 1000 / metrics["workers/step_ms"])
    assert metrics["workers/clips_per_s_per_worker"] == metrics["workers/clips_per_s"]
    shares = {name: metrics[f"workers/epoch/{name}_percent"] for name in STEP}
    assert sum(shares.values()) == pytest.approx(100)
    assert 0 == shares["upstream"] < min(shares[name] for name in STEP if name != "upstream")
    assert shares["wait"] == metrics["workers/epoch/saved_by_free_loader_percent"] == max(shares.values())
    assert metrics["workers/epoch/first_batch_s"] >= 0.03
