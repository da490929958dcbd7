"""`marey predict RUN VIDEO...`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional

from pipelines.places import LocalFile, Place, RunName
from pipelines.shared_arguments import OnCluster, WithJSON


@dataclass(frozen=True, kw_only=True)
class Args(OnCluster, WithJSON):
    """Name the action in videos.

    Exit 3: some of the videos could not be read; 2: none could.
    """

    run: Positional[RunName]
    """A run's id or name, models:/NAME@ALIAS, models:/NAME/VERSION or a checkpoint folder."""
    videos: Positional[tuple[Place, ...]]
    """Video files, or folders of them; a folder of numbered images is a video."""
    top: int = 5
    """Classes to name per video."""
    clips: int = 1
    """Clips per video whose scores are averaged."""
    crops: Literal[1, 3, 10] = 1
    """Crops per clip."""
    out: LocalFile | None = None
    """Also write the predictions to this .csv or .json file."""
    annotate: LocalFile | None = None
    """Also write a single video, with its prediction drawn on it, to this .mp4."""


def main(args: Args) -> int:
    """Predict, print, and return by the exit code whether videos failed."""
    from pipelines.predict import predict
    from pipelines.predict.annotate import annotate, check
    from pipelines.predict.workflow import check_out, to_dict, to_text, write
    from pipelines.text import show, to_json

    if args.out is not None:
        check_out(args.out)
    if args.annotate is not None:
        check(args.videos, args.annotate)
    predictions = predict(args.run, args.videos, top=args.top, clips=args.clips, crops=args.crops, address=args.address)
    if args.out is not None:
        write(predictions, args.out)
    if args.annotate is not None and not predictions[0].kind:
        annotate(predictions[0], args.annotate)
    show(to_json([to_dict(one) for one in predictions]) if args.json else to_text(predictions))
    failed = sum(bool(one.kind) for one in predictions)
    return 0 if not failed else 2 if failed == len(predictions) else 3
