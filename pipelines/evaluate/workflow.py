"""`marey evaluate`: the scores of a trained network on a part of a dataset, computed by Ray tasks."""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cluster.attach import attach
from models import describe
from pipelines import recipe as recipes
from pipelines.compute import Progress, bounded, capacity
from pipelines.errors import UserError, did_you_mean
from pipelines.evaluate.errors_page import write_errors
from pipelines.evaluate.protocol import Protocol, protocols
from pipelines.evaluate.result import EvaluateResult, slug, write
from pipelines.recipe import EvaluateSettings, Recipe, view_settings
from pipelines.recipe.dataset import refuse_small, warn_if_enlarged
from pipelines.tracking import (
    ResolvedRun,
    Tracker,
    claim,
    load_network,
    local_folder,
    make_folder,
    resolve,
    tracking_uri,
    workspace,
)
from pipelines.tracking.registry import NETWORK
from pipelines.tracking.workspace import address_of, upload
from tasks.clips import ClipSettings
from tasks.data import storage
from tasks.words import counted

if TYPE_CHECKING:
    from tasks.data import Dataset
    from tasks.learn import Identity

log = logging.getLogger(__name__)

SLICES = 4
"""Slices of the videos per worker: progress is visible, and no worker waits long for the slowest."""


def evaluate(
    run: str | Path,
    dataset: str | Path | None = None,
    settings: EvaluateSettings | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    split: str | None = None,
    fold: str | None = None,
    workers: int | None = None,
    address: str | None = None,
    progress: bool = True,
) -> EvaluateResult:
    """Score a run by one view and by the N views of its network's paper.

    Args:
        run: a run's id or name, `models:/NAME@ALIAS`, `models:/NAME/VERSION` or a checkpoint folder.
        dataset: folder or URL; None is the one the run was trained on.
        settings: None takes those of the run's recipe.
        overrides: fields of the settings to change.
        split: None is the run's own, on its own dataset.
        fold: `group=NAME` instead of a split.
        workers: tasks at once; None is one per GPU, or one per CPU where there are no GPUs.
        address: head of a Ray cluster, host:port; None takes RAY_ADDRESS, else this machine alone.
        progress: show a progress bar, or log lines where there is no terminal.

    Raises:
        UserError: unknown run or field, other classes than the run's, or a part without videos.
    """
    chosen = plan(run, dataset, settings, overrides=overrides, split=split, fold=fold)
    return carry_out(chosen, workers=workers, address=address, progress=progress)


@dataclass(frozen=True)
class Plan:
    """An evaluation before any work: what is scored, and how."""

    run: ResolvedRun
    identity: Identity
    trained: Recipe
    """Recipe of the run."""
    data: Dataset
    split: str | None
    fold: str | None
    settings: EvaluateSettings
    clip: ClipSettings
    protocols: list[Protocol]
    space: Literal["logits", "softmax"]
    """Score space."""

    @property
    def division(self) -> str:
        """Name of the split, or the fold."""
        return self.data.split

    @property
    def videos(self) -> dict[str, int]:
        """Label of each video that is scored."""
        videos = self.data.samples(self.settings.part).first_pieces
        return dict(zip(videos.video_ids, videos.label_ids.tolist(), strict=True))

    @property
    def folder(self) -> Path:
        """Folder of the result, on this machine."""
        name = f"{Path(self.data.uri).name}-{self.division}-{self.settings.part}"
        return local_folder() / "evaluations" / self.run.name / slug(name)


def plan(
    run: str | Path,
    dataset: str | Path | None = None,
    settings: EvaluateSettings | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    split: str | None = None,
    fold: str | None = None,
) -> Plan:
    """Return what `evaluate` does with these arguments, having refused what it would refuse; starts nothing."""
    from tasks.data.dataset import open_once

    found = resolve(str(run))
    from tasks.learn import read_identity

    identity = read_identity(found.checkpoint)
    trained = recipes.recorded(identity.recipe, where=f"the recipe of run {found.name}")
    changed = {f"evaluate.{name}": value for name, value in (overrides or {}).items()}
    settings = recipes.replaced(replace(trained, evaluate=settings or trained.evaluate), changed).evaluate
    refuse_small(settings.size, "evaluate.size")
    uri = trained.data.dataset if dataset is None else storage.absolute(str(dataset))
    if uri == trained.data.dataset and split is None and fold is None:
        split, fold = trained.data.split, trained.data.fold
    if dataset is None and storage.is_local(uri) and not Path(uri).exists():
        raise UserError(f"run {found.name} was trained on {uri}, which does not exist: name a dataset after the run")
    data = open_once(uri, split=split, fold=fold)
    _check(data, identity, settings.part, found.name)
    about = describe(identity.model, identity.options)
    clip = view_settings(ClipSettings(**identity.clip), about, settings.snippet)
    chosen = protocols(about, settings, clip)
    warn_if_enlarged(max(protocol.size for protocol in chosen), data, "evaluate.size")
    space = settings.score_space or about.score_space
    return Plan(found, identity, trained, data, split, fold, settings, clip, chosen, space)


def carry_out(
    chosen: Plan, *, workers: int | None = None, address: str | None = None, progress: bool = True
) -> EvaluateResult:
    """Score the videos of a plan, write the result's files and log it to the run.

    Raises:
        UserError: another process is doing so.
    """
    make_folder(chosen.folder)
    beside = chosen.folder.with_name(f".{chosen.folder.name}")  # all that is in the folder goes to MLflow
    with claim.hold(address_of(beside)):
        attach(address)
        return _carry_out(chosen, workers, progress)


def _carry_out(chosen: Plan, workers: int | None, progress: bool) -> EvaluateResult:
    from tasks.learn import measure

    settings, data, uri = chosen.settings, chosen.data, chosen.data.uri
    network = load_network(chosen.identity, chosen.run.checkpoint)
    scored, name = {}, uuid.uuid4().hex
    for protocol in chosen.protocols:
        own = replace(chosen.clip, segments=protocol.segments, size=protocol.size)
        part = _Part(uri, chosen.split, chosen.fold, settings.part, own, settings.batch_size, name)
        scored[protocol] = _score(network, part, protocol, chosen.space, workers, progress)
    assert all(set(scores) == chosen.videos.keys() for scores in scored.values())
    result = EvaluateResult(
        run_id=chosen.run.run_id,
        run_name=chosen.run.name,
        model=chosen.identity.model,
        stream=chosen.identity.stream,
        dataset=uri,
        division=chosen.division,
        part=settings.part,
        videos=len(chosen.videos),
        classes=list(data.classes),
        score_space=chosen.space,
        results={str(protocol): measure(scores, chosen.space) for protocol, scores in scored.items()},
        views={str(protocol): protocol.views for protocol in chosen.protocols},
        majority_percent=_majority(data, settings.part),
        folder=chosen.folder,
    )
    by_views = {protocol.views: scores for protocol, scores in scored.items()}
    write(result, by_views)
    write_errors(result, by_views[max(by_views)], data)
    upload(result.folder)
    if chosen.run.run_id is not None:
        _track(result, data.digest, own=uri == chosen.trained.data.dataset)
    return result


def _check(data: Dataset, identity: Identity, part: str, name: str) -> None:
    if list(data.classes) != identity.classes:
        gone = [label for label in identity.classes if label not in data.classes]
        new = [label for label in data.classes if label not in identity.classes]
        differences = [f"{', '.join(gone[:5])} only in the run"] * bool(gone)
        differences += [f"{', '.join(new[:5])} only in the dataset"] * bool(new)
        raise UserError(
            f"run {name} was trained on other classes than {data.uri} has: "
            f"{'; '.join(differences) or 'the same ones in another order'}"
        )
    if not data.parts.get(part):
        known = [known for known, videos in data.parts.items() if videos]
        raise UserError(f"{data.uri} has no {part} part{did_you_mean(part, known)}")
    if identity.stream == "flow" and data.settings.flow == "none":
        raise UserError(f"run {name} reads flow and {data.uri} holds none: prepare it with --flow tvl1")


@dataclass(frozen=True)
class _Part:
    """The part of a dataset that the workers open."""

    uri: str
    split: str | None
    fold: str | None
    part: str
    clip: ClipSettings
    batch_size: int
    evaluation: str
    """Random name of the evaluation, within which each process opens the dataset once."""


def _score(
    network: Any, part: _Part, protocol: Protocol, space: str, workers: int | None, progress: bool
) -> dict[str, tuple[int, np.ndarray]]:
    """Score every video of the part once, in slices of its batches, whose number changes no bit."""
    import ray

    from tasks.learn.score import Part, average

    gpus = capacity.max_gpus()
    workers = workers or gpus or capacity.max_cpus()
    # One CPU is asked for beside the GPU, to decode on.
    task = ray.remote(_score_slice).options(num_cpus=1, num_gpus=int(gpus > 0))
    reference = ray.put(network)
    count = workers * SLICES
    calls = ((reference, part, protocol, space, index, count) for index in range(count))
    parts: dict[int, Part] = {}
    with Progress(count, "slice", shown=progress) as shown:
        for index, found in bounded(task, calls, workers, shown.tick):
            parts[index] = found
            videos = {video_id for one in parts.values() for video_id, _, _ in one.videos}
            shown.update(note=f"{protocol}: {counted(len(videos), 'video')}")
    return average(parts[index] for index in range(count))


def _score_slice(network: Any, part: _Part, protocol: Protocol, space: Any, index: int, count: int) -> Any:
    import ray

    from tasks.clips import ViewLoader, views
    from tasks.learn import host
    from tasks.learn.score import score_part

    host.tune_allocator(threads=1)
    device = "cuda" if ray.get_gpu_ids() else "cpu"
    dataset = _open(part.uri, part.split, part.fold, part.evaluation)
    shown = views(protocol.clips, protocol.crops, protocol.seed)
    loader = ViewLoader(dataset, part.part, part.clip, shown, part.batch_size, 1)
    return score_part(network.to(device), loader.batches(index, count), device, space=space)


@lru_cache(maxsize=1)
def _open(uri: str, split: str | None, fold: str | None, evaluation: str) -> Dataset:
    from tasks.data import open_dataset

    return open_dataset(uri, split=split, fold=fold)


def _majority(data: Dataset, part: str) -> float | None:
    train = Counter(data.samples("train").first_pieces.label_ids.tolist())
    labels: list[int] = data.samples(part).first_pieces.label_ids.tolist()
    if not train:
        return None
    most = min(label for label, videos in train.items() if videos == max(train.values()))
    return 100 * labels.count(most) / len(labels)


def _track(result: EvaluateResult, digest: str, *, own: bool) -> None:
    assert result.run_id is not None
    place = result.part if own else f"{result.part}-{slug(Path(result.dataset).name)}-{slug(result.division)}"
    tracker = Tracker(tracking_uri(workspace()), result.run_id)
    values = {f"{place}/{key.partition('/')[2]}": value for key, value in result.metrics.items()}
    tracker.log_metrics(values, step=0)
    logged = [point for key, line in tracker.read_points(values).items() for point in line[-1:]]
    tracker.tie_metrics(NETWORK, logged, result.dataset, digest)
    tracker.note_results(
        {
            f"{place}, {counted(result.views[protocol], 'view')}": asdict(metrics)
            for protocol, metrics in result.results.items()
        }
    )
    tracker.set_tags({f"{place}.score_space": result.score_space})
    tracker.log_artifact(result.folder, f"evaluate/{result.folder.name}")
