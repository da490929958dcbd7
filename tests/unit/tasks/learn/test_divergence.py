"""When it is said that a training diverges: at once, or for the first bad step where nothing waits for the device."""

import pytest
import torch
from learn_toys import Table

from tasks.learn.batch import Portion
from tasks.learn.divergence import DivergedError, Watch

pytestmark = pytest.mark.quick
TABLE = Table(n=9)


def take(watch, step, *losses):
    """Watch a step of one worker, whose shares have two clips each and these losses."""
    shares = [TABLE.batch(torch.tensor([2 * step + i, 2 * step + i + 1])) for i in range(len(losses))]
    watch.start(step, step / 10, Portion(shares, 0, len(shares), 2 * len(shares)))
    for share, loss in zip(shares, losses, strict=True):
        watch.add(share, torch.tensor(loss))
    watch.expect_finite(torch.tensor(losses).sum())


def test_steps_after_a_bad_one_are_taken_in_vain_and_the_first_is_named():
    watch = Watch(torch.device("cpu"), None, "off", at_once=False)
    take(watch, 0, 1.0, 2.0)
    watch.check()
    take(watch, 1, 1.0, 2.0)
    take(watch, 2, 1.0, float("nan"))
    take(watch, 3, float("nan"), float("inf"))
    with pytest.raises(DivergedError, match=r"at step 2 \(learning rate 0\.2, videos video005, video006\)"):
        watch.check()


def test_what_has_been_finite_is_not_asked_again():
    watch = Watch(torch.device("cpu"), None, "off", at_once=False)
    for step in range(3):
        take(watch, step, 1.0)
        watch.check()
    with pytest.raises(DivergedError, match=r"^a weight is no longer finite at step 2 "):
        watch.refuse_infinite_weights(torch.nn.ParameterList([torch.tensor([float("inf")])]))


def test_where_nothing_has_to_be_waited_for_it_is_said_at_once():
    watch = Watch(torch.device("cpu"), None, "fp16", at_once=True)
    take(watch, 0, 1.0)
    with pytest.raises(DivergedError, match=r"at step 1 .* or use train\.amp=bf16"):
        take(watch, 1, float("inf"))
