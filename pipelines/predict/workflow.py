"""`marey predict`: the action in a video, or in every video of a folder by Ray tasks."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models import describe
from pipelines import recipe as recipes
from pipelines.compute import Progress, bounded, capacity
from pipelines.errors import UserError
from pipelines.recipe import view_settings
from pipelines.text import columns, write_csv
from pipelines.tracking import load_network, resolve
from tasks.clips import ClipSettings, views
from tasks.clips.clips import clip_of
from tasks.data.endings import are_frames, is_no_video
from tasks.data.process import frames_and_flow
from tasks.data.settings import PrepareSettings
from tasks.files import replacing
from tasks.names import as_on_disk
from tasks.remote import reason
from tasks.video import DecoderProcess, VideoError
from tasks.words import counted

if TYPE_CHECKING:
    from tasks.learn import Identity

log = logging.getLogger(__name__)

CHUNK = 8
"""Videos per task."""
BATCH = 16
"""Clips the network sees at once."""


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of a video; none where it could not be read."""

    video: str
    top: list[tuple[str, float]]
    """Most probable classes and their probabilities in percent, best first."""
    kind: str = ""
    """Kind of failure, as in a dataset's records; empty for a good video."""
    message: str = ""


@dataclass(frozen=True)
class _Predictor:
    """What it takes to score a video as a run's training data was prepared."""

    identity: Identity
    settings: PrepareSettings
    clip: ClipSettings
    clips: int
    crops: int
    score_space: str
    top: int

    def predict(self, network: Any, video: str, decoder: DecoderProcess) -> Prediction:
        """Score one video; a bad one is a failed prediction, never an exception."""
        try:
            pieces = [self._score(network, images) for images in self._pieces(video, decoder)]
        except VideoError as error:
            return Prediction(video, [], error.kind, error.message)
        scores = np.mean(pieces, axis=0)
        if self.score_space == "logits":
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
        order = np.argsort(-scores, kind="stable")[: self.top]
        return Prediction(video, [(self.identity.classes[index], 100 * float(scores[index])) for index in order])

    def _pieces(self, video: str, decoder: DecoderProcess) -> Iterator[np.ndarray]:
        """Yield the frames uint8 [T, H, W, 3] in pieces that fit into memory, as in preparation."""
        settings = self.settings
        pieces = decoder.pieces(
            video, settings.max_sample_frames, short_side=settings.short_side, decoder=settings.decoder
        )
        for number, frames in enumerate(pieces):
            if len(frames.images) < self.settings.min_frames:
                if number:
                    return  # a rest too short for a piece of its own
                raise VideoError(
                    "too_short", f"{counted(len(frames.images), 'frame')}, at least {self.settings.min_frames} needed"
                )
            yield frames.images

    def _score(self, network: Any, images: np.ndarray) -> np.ndarray:
        import torch

        frames, flow = frames_and_flow(images, self.settings)
        source = frames if flow is None else flow
        protocol = views(self.clips, self.crops)
        batches = (protocol[first : first + BATCH] for first in range(0, len(protocol), BATCH))
        with torch.inference_mode():
            logits = torch.cat(
                [network(torch.from_numpy(np.stack([clip_of(source, self.clip, v) for v in own]))) for own in batches]
            )
        if self.score_space == "softmax":
            logits = logits.softmax(1)
        mean: np.ndarray = logits.double().mean(0).numpy()
        return mean


def predict(
    run: str | Path,
    videos: Sequence[str | Path],
    *,
    top: int = 5,
    clips: int = 1,
    crops: int = 1,
    address: str | None = None,
    progress: bool = True,
) -> list[Prediction]:
    """Name the action in videos.

    Args:
        run: a run's id or name, `models:/NAME@ALIAS`, `models:/NAME/VERSION` or a checkpoint folder.
        videos: files, URLs, or folders. A folder of numbered images is a video; of any other, all files and folders
            inside are taken, except hidden ones and files that are not videos (`tasks.data.endings`).
        top: number of classes per video.
        clips: clips per video, evenly spread over it; their scores are averaged.
        crops: crops per clip, 1, 3 or 10.
        address: for several videos, head of a Ray cluster, host:port; None takes RAY_ADDRESS, else this machine alone.
        progress: show a progress bar, or log lines where there is no terminal.

    Returns:
        One prediction per video, in order of name within a folder.

    Raises:
        UserError: unknown run, or a folder without videos.
    """
    if not videos:
        raise UserError("no video is named: give files or folders")
    files: list[str] = []
    for video in videos:
        inside, others = videos_at(str(video))
        files += inside
        if others:
            what = counted(len(others), "file that is not a video", "files that are not videos")
            log.info("ignored in %s: %s, such as %s", video, what, others[0])
    found = resolve(str(run))
    from tasks.learn import read_identity

    identity = read_identity(found.checkpoint)
    settings = recipes.recorded(identity.recipe, where=f"the recipe of run {found.name}").prepare
    if identity.stream == "rgb":
        settings = replace(settings, flow="none")
    about = describe(identity.model, identity.options)
    clip = view_settings(ClipSettings(**identity.clip), about)
    predictor = _Predictor(identity, settings, clip, clips, crops, about.score_space, top)
    network = load_network(identity, found.checkpoint)
    if len(files) == 1:
        with DecoderProcess() as decoder:  # Ray takes seconds to start
            return [predictor.predict(network, files[0], decoder)]
    return _predict_on_ray(predictor, network, files, address, progress)


def _predict_on_ray(
    predictor: _Predictor, network: Any, files: list[str], address: str | None, progress: bool
) -> list[Prediction]:
    import ray

    from cluster.attach import attach

    attach(address)
    task = ray.remote(_predict_chunk).options(num_cpus=1)
    reference = ray.put((predictor, network))
    calls = [(reference, files[first : first + CHUNK]) for first in range(0, len(files), CHUNK)]
    done: dict[int, list[Prediction]] = {}
    failed = 0
    with Progress(len(files), "video", shown=progress) as shown:
        for index, predictions in bounded(task, calls, 2 * capacity.max_cpus(), shown.tick):
            done[index] = predictions
            failed += sum(bool(one.kind) for one in predictions)
            shown.update(len(predictions), f"{failed} failed")
    return [one for index in range(len(calls)) for one in done[index]]


def _predict_chunk(loaded: tuple[_Predictor, Any], files: list[str]) -> list[Prediction]:
    from tasks.learn import host

    host.tune_allocator(threads=1)
    predictor, network = loaded
    with DecoderProcess() as decoder:
        return [predictor.predict(network, file, decoder) for file in files]


def videos_at(path: str) -> tuple[list[str], list[str]]:
    """Return the videos that a path or URL names, itself or those in a folder, and the other visible files there.

    Raises:
        UserError: a folder without videos, or with a folder that cannot be read.
    """
    path = as_on_disk(path if "://" in path else os.path.abspath(path))
    if "://" in path:
        return [path], []
    if not os.path.isdir(path):
        return [path], []
    found: list[str] = []
    others: list[str] = []
    for folder, inside, names in os.walk(path, onerror=_refuse_folder):
        inside[:] = (name for name in inside if not name.startswith("."))
        files = [os.path.join(folder, name) for name in names if not name.startswith(".")]
        if are_frames(files):
            found.append(folder)
        else:
            videos = [file for file in files if not is_no_video(file)]
            found += videos
            others += set(files).difference(videos)
    if not found:
        raise UserError(f"there are no videos in {path}: name a video, or a folder of videos")
    return sorted(found, key=lambda file: file.split(os.sep)), sorted(others)


def _refuse_folder(error: OSError) -> None:
    raise UserError(f"{error.filename} cannot be read: {reason(error)}") from error


def to_dict(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as JSON takes it."""
    if prediction.kind:
        return {"video": prediction.video, "status": "failed", "kind": prediction.kind, "message": prediction.message}
    top = [{"label": label, "percent": round(percent, 3)} for label, percent in prediction.top]
    return {"video": prediction.video, "status": "ok", "top": top}


def to_text(predictions: Sequence[Prediction]) -> str:
    """Return the predictions as text: all classes of a single video, one line per video of several."""
    if len(predictions) == 1 and predictions[0].top:
        rows = [(label, f"{percent:6.2f} %") for label, percent in predictions[0].top]
    else:
        rows = [
            (one.video, f"failed ({one.kind}): {one.message}" if one.kind else _line(one.top)) for one in predictions
        ]
    return "\n".join(columns(rows))


def _line(top: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{label} {percent:.1f} %" for label, percent in top)


def check_out(path: Path) -> None:
    """Raise UserError unless predictions can be written to a file of this name."""
    if path.suffix not in (".json", ".csv"):
        raise UserError(f"--out {path}: predictions are written as .csv or .json, so name a file with such an ending")
    check_place("--out", path)


def check_place(flag: str, path: Path) -> None:
    """Raise UserError unless a file can be written at a path, which a flag names."""
    if not path.parent.is_dir():
        raise UserError(f"{flag} {path}: there is no folder {path.parent}; make it, or choose another place")
    if path.is_dir():
        raise UserError(f"{flag} {path}: this is a folder; name a file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"{flag} {path}: the folder {path.parent} cannot be written; choose another place")


def write(predictions: Sequence[Prediction], path: Path) -> None:
    """Write the predictions in one step as CSV or JSON, by the file's ending, which `check_out` has checked."""
    if path.suffix == ".json":
        with replacing(path) as aside:
            Path(aside).write_text(json.dumps([to_dict(one) for one in predictions], indent=1) + "\n")
        return
    ranks = range(max(len(one.top) for one in predictions))
    rows = [["video", "status", *(f"{name}{rank + 1}" for rank in ranks for name in ("label", "percent")), "message"]]
    for one in predictions:
        cells = [cell for label, percent in one.top for cell in (label, f"{percent:.3f}")]
        cells += [""] * (2 * len(ranks) - len(cells))
        rows.append([one.video, one.kind or "ok", *cells, one.message])
    write_csv(path, rows)
