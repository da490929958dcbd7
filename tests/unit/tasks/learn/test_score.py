import numpy as np
import pytest
import torch
from learn_toys import Table, Toy

from tasks.learn.batch import Batch
from tasks.learn.score import measure, score

pytestmark = pytest.mark.quick


class Echo(torch.nn.Module):
    """Returns the first values of a clip as logits."""

    def forward(self, clip):
        return clip.flatten(1)[:, :3]


def batch(rows, video_ids, labels):
    clip = torch.tensor(rows, dtype=torch.float32).view(len(rows), 3, 1, 1, 1)
    return Batch(clip, torch.tensor(labels), video_ids, torch.arange(len(rows)))


def test_views_of_a_video_are_averaged_wherever_they_lie():
    rows, ids, labels = [[4.0, 0, 0], [0, 2, 0], [0, 0, 9], [0, 4, 2]], ["a", "b", "a", "b"], [0, 1, 0, 1]
    batches = [batch(rows[:3], ids[:3], labels[:3]), batch(rows[3:], ids[3:], labels[3:])]
    logits = score(Echo(), batches, space="logits")
    assert {k: (label, list(mean)) for k, (label, mean) in logits.items()} == {
        "a": (0, [2, 0, 4.5]),
        "b": (1, [0, 3, 1]),
    }
    softmax = score(Echo(), batches, space="softmax")
    expected = (torch.tensor([4.0, 0, 0]).softmax(0) + torch.tensor([0.0, 0, 9]).softmax(0)) / 2
    np.testing.assert_allclose(softmax["a"][1], expected.numpy(), rtol=1e-6)


def test_scores_depend_neither_on_batch_size_nor_on_order():
    network = Toy()
    scores = [score(network, Table(batch_size=size).batches(0, 1)) for size in (1, 4, 22)]
    backwards = reversed(list(Table(batch_size=5).batches(0, 1)))
    for other in [*scores[1:], score(network, backwards)]:
        assert other.keys() == scores[0].keys()
        for video_id, (label, mean) in other.items():
            assert label == scores[0][video_id][0]
            np.testing.assert_allclose(mean, scores[0][video_id][1], atol=1e-5)


def test_mean_class_accuracy_on_unbalanced_classes():
    """Protocol test 6: classes with 1/1 and 1/3 right; a third class without videos is left out."""
    rows = {"a": (0, [3, 1, 0]), "b": (1, [0, 2, 1]), "c": (1, [2, 1, 0]), "d": (1, [0, 1, 5])}
    metrics = measure({k: (label, np.array(row, float)) for k, (label, row) in rows.items()})
    assert metrics.mean_class_percent == pytest.approx(66.67, abs=0.01)
    assert metrics.top1_percent == 50
    assert metrics.top5_percent == 100
    assert metrics.videos == 4
    assert metrics.confusion.tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0]]
    np.testing.assert_allclose(metrics.recall_percent, [100, 100 / 3, np.nan])


def test_loss_is_the_cross_entropy_in_either_space():
    rows = np.array([[1.0, 2, 3], [0, -1, 4]])
    labels = [2, 0]
    expected = torch.nn.functional.cross_entropy(torch.tensor(rows), torch.tensor(labels)).item()
    probabilities = torch.tensor(rows).softmax(1).numpy()
    assert measure({str(i): (labels[i], rows[i]) for i in (0, 1)}).loss == pytest.approx(expected)
    assert measure({str(i): (labels[i], probabilities[i]) for i in (0, 1)}, "softmax").loss == pytest.approx(expected)


def test_top5_among_many_classes():
    row = np.arange(10.0)
    metrics = measure({"in": (5, row), "out": (4, row)})
    assert (metrics.top1_percent, metrics.top5_percent) == (0, 50)


@pytest.mark.parametrize("space", ["logits", "softmax"])
def test_a_loss_of_nothing_is_zero_without_a_sign(space):
    metrics = measure({"only": (0, np.array([1.0]))}, space)
    assert str(metrics.loss) == "0.0"
    above = measure({"only": (0, np.array([1 + 2e-16, 0.0]))}, "softmax")  # as rounding leaves it
    assert str(above.loss) == "0.0"
