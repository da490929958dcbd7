"""Scores of videos and metrics of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.distributed import ProcessGroup

from tasks.learn import parallel
from tasks.learn.batch import Batch
from tasks.learn.precision import Amp, autocast

ScoreSpace = Literal["logits", "softmax"]
Scores = dict[str, tuple[int, np.ndarray]]
"""video_id -> (label, float64 [K] mean over the video's clips)."""


def score(
    network: nn.Module,
    batches: Iterable[Batch],
    device: torch.device | str = "cpu",
    *,
    space: ScoreSpace = "logits",
    amp: Amp = "off",
    group: ProcessGroup | None = None,
) -> Scores:
    """Run the network over the batches and average each video's clips (views and pieces).

    The mean is over logits or over softmax probabilities, as `space` says. With a group, every rank scores its own
    batches, which follow those of the rank before, and gets the scores of all. The network is left in eval mode.
    """
    device = torch.device(device)
    part = score_part(network, batches, device, space=space, amp=amp)
    return average([part] if group is None else _gather(part, device, group))


@dataclass(frozen=True)
class Part:
    """Scores of consecutive batches, whose first video may have begun before, and whose last one may go on after."""

    videos: list[tuple[str, int, int]]
    """video_id, label and number of clips of each video."""
    rows: np.ndarray
    """float64 [n, K]: each clip of the first video, and then the sum of each other video."""


def score_part(
    network: nn.Module,
    batches: Iterable[Batch],
    device: torch.device | str = "cpu",
    *,
    space: ScoreSpace = "logits",
    amp: Amp = "off",
) -> Part:
    """Score some of the batches of a part's views; `average` puts all of them together."""
    device = torch.device(device)
    network.eval()
    first: list[np.ndarray] = []
    sums: dict[str, tuple[int, int, np.ndarray]] = {}
    with torch.inference_mode():
        for batch in batches:
            with autocast(device, amp):
                logits = network(batch.to(device).clip).float()
            rows = (logits.softmax(1) if space == "softmax" else logits).cpu().numpy().astype(np.float64)
            for video_id, label, row in zip(batch.video_ids, batch.labels.tolist(), rows, strict=True):
                if not sums or video_id == next(iter(sums)):
                    first.append(row)
                _, clips, total = sums.get(video_id, (label, 0, 0.0))
                sums[video_id] = (label, clips + 1, total + row)
    videos = [(video_id, label, clips) for video_id, (label, clips, _) in sums.items()]
    others = [total for _, _, total in list(sums.values())[1:]]
    return Part(videos, np.stack([*first, *others]) if first else np.zeros((0, 0)))


def average(parts: Iterable[Part]) -> Scores:
    """Return the mean scores of each video from parts in order: clips are added in turn, however they are cut."""
    sums: dict[str, tuple[int, int, np.ndarray]] = {}
    for part in parts:
        cut = part.videos[0][2] if part.videos else 0
        rows = [(part.videos[0], row) for row in part.rows[:cut]]
        rows += zip(part.videos[1:], part.rows[cut:], strict=True)
        for number, ((video_id, label, clips), row) in enumerate(rows):
            _, before, total = sums.get(video_id, (label, 0, 0.0))
            sums[video_id] = (label, before + (1 if number < cut else clips), total + row)
    return {video_id: (label, total / clips) for video_id, (label, clips, total) in sums.items()}


def _gather(own: Part, device: torch.device, group: ProcessGroup) -> list[Part]:
    """Return the parts of all ranks on every rank; what identifies them goes as JSON."""
    listed = parallel.gather_json(own.videos, device, group)
    flat = parallel.gather(torch.from_numpy(own.rows.reshape(-1)).to(device), group)
    parts = []
    for named, values in zip(listed, flat, strict=True):
        videos = [(str(video_id), int(label), int(clips)) for video_id, label, clips in named]
        rows = videos[0][2] + len(videos) - 1 if videos else 0
        parts.append(Part(videos, values.cpu().numpy().reshape(rows, -1 if rows else 0)))
    return parts


@dataclass(frozen=True)
class Metrics:
    """Metrics of a set of scores."""

    videos: int
    loss: float
    """Mean cross-entropy of the videos' mean scores."""
    top1_percent: float
    top5_percent: float
    mean_class_percent: float
    """Mean recall of the classes that have videos."""
    confusion: np.ndarray
    """int64 [K, K], videos by label (row) and prediction (column)."""

    @property
    def recall_percent(self) -> np.ndarray:
        """float64 [K], nan for a class without videos."""
        totals = self.confusion.sum(1)
        return 100 * np.divide(self.confusion.diagonal(), totals, out=np.full(len(totals), np.nan), where=totals > 0)


def measure(scores: Scores, space: ScoreSpace = "logits") -> Metrics:
    """Return the metrics of at least one video's scores, which are in `space`."""
    labels = np.array([label for label, _ in scores.values()])
    table = np.stack([row for _, row in scores.values()])
    num_videos, num_classes = table.shape
    # Stable: among equal scores, the class listed first wins on every machine.
    ranking = np.argsort(-table, axis=1, kind="stable")
    hits = ranking == labels[:, None]
    confusion = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(confusion, (labels, ranking[:, 0]), 1)
    totals = confusion.sum(1)
    present = totals > 0
    own = probabilities(table, space)[np.arange(num_videos), labels]
    return Metrics(
        videos=num_videos,
        loss=float(-np.log(own).mean()) + 0.0,  # without the sign of a zero
        # Times 100 before the division: 0.55 times 100 is 55.000000000000007.
        top1_percent=float((100 * hits[:, 0]).mean()),
        top5_percent=float((100 * hits[:, :5].any(1)).mean()),
        mean_class_percent=float((100 * confusion.diagonal()[present] / totals[present]).mean()),
        confusion=confusion,
    )


def probabilities(scores: np.ndarray, space: ScoreSpace) -> np.ndarray:
    """Return the probability of each class, float64 [n, K], above 0 and at most 1, of scores [n, K] in `space`."""
    found = torch.from_numpy(scores).softmax(1).numpy() if space == "logits" else scores
    return np.clip(found, np.finfo(np.float64).tiny, 1)  # rounding passes 1
