"""Scores of videos and metrics of them."""

from __future__ import annotations

import json
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
    videos and gets the scores of all. The network is left in eval mode.
    """
    device = torch.device(device)
    network.eval()
    sums: dict[str, tuple[int, int, np.ndarray]] = {}
    with torch.inference_mode():
        for batch in batches:
            with autocast(device, amp):
                logits = network(batch.clip.to(device)).float()
            rows = (logits.softmax(1) if space == "softmax" else logits).cpu().numpy().astype(np.float64)
            for video_id, label, row in zip(batch.video_ids, batch.labels.tolist(), rows, strict=True):
                _, clips, total = sums.get(video_id, (label, 0, 0.0))
                sums[video_id] = (label, clips + 1, total + row)
    own = {video_id: (label, total / clips) for video_id, (label, clips, total) in sums.items()}
    return own if group is None else _gather(own, device, group)


def _gather(own: Scores, device: torch.device, group: ProcessGroup) -> Scores:
    """Return the scores of all ranks on every rank; what identifies them goes as JSON."""
    names = json.dumps([[video_id, label] for video_id, (label, _) in own.items()]).encode()
    rows = np.concatenate([row for _, row in own.values()]) if own else np.zeros(0)
    texts = parallel.gather(torch.frombuffer(bytearray(names), dtype=torch.uint8).to(device), group)
    listed = [json.loads(bytes(text.cpu().numpy())) for text in texts]
    scores: Scores = {}
    for some, flat in zip(listed, parallel.gather(torch.from_numpy(rows).to(device), group), strict=True):
        table = flat.cpu().numpy().reshape(len(some), -1 if some else 0)
        scores |= {str(name): (int(label), row) for (name, label), row in zip(some, table, strict=True)}
    return scores


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
    probabilities = torch.from_numpy(table).softmax(1).numpy() if space == "logits" else table
    own = np.clip(probabilities[np.arange(num_videos), labels], np.finfo(np.float64).tiny, 1)  # rounding passes 1
    return Metrics(
        videos=num_videos,
        loss=float(-np.log(own).mean()) + 0.0,  # without the sign of a zero
        top1_percent=100 * float(hits[:, 0].mean()),
        top5_percent=100 * float(hits[:, :5].any(1).mean()),
        mean_class_percent=100 * float((confusion.diagonal()[present] / totals[present]).mean()),
        confusion=confusion,
    )
