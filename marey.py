"""marey as a Python library: `import marey; marey.train("recipe.yaml")`.

What the command line's verbs call, with the settings that go in and the results that come out. Each name is loaded
when it is first used, so that the import itself costs nothing: `docs/python.md` shows how they work together.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import models
    from models import build as build
    from models import describe as describe
    from pipelines import recipe
    from pipelines.errors import USER_ERRORS as USER_ERRORS
    from pipelines.evaluate import EvaluateResult as EvaluateResult
    from pipelines.evaluate import FusedResult as FusedResult
    from pipelines.evaluate import evaluate as evaluate
    from pipelines.evaluate import fuse as fuse
    from pipelines.predict import Prediction as Prediction
    from pipelines.predict import predict as predict
    from pipelines.prepare import PrepareResult as PrepareResult
    from pipelines.prepare import prepare as prepare
    from pipelines.preview import PreviewResult as PreviewResult
    from pipelines.preview import preview as preview
    from pipelines.recipe import ComputeSettings as ComputeSettings
    from pipelines.recipe import DataSettings as DataSettings
    from pipelines.recipe import EvaluateSettings as EvaluateSettings
    from pipelines.recipe import ModelSettings as ModelSettings
    from pipelines.recipe import Recipe as Recipe
    from pipelines.recipe import SearchSettings as SearchSettings
    from pipelines.run import AverageResult as AverageResult
    from pipelines.run import RunResult as RunResult
    from pipelines.run import average as average
    from pipelines.run import run as run
    from pipelines.train import TrainResult as TrainResult
    from pipelines.train import train as train
    from pipelines.tune import TrialOutcome as TrialOutcome
    from pipelines.tune import TuneResult as TuneResult
    from pipelines.tune import tune as tune
    from pipelines.verify import VerifyResult as VerifyResult
    from pipelines.verify import verify as verify
    from tasks.clips import ClipSettings as ClipSettings
    from tasks.data import PrepareSettings as PrepareSettings
    from tasks.data import open_dataset as open_dataset
    from tasks.learn.settings import TrainSettings as TrainSettings
    from tasks.video import TVL1 as TVL1

    networks = models.names
    load_recipe = recipe.load

_NAMES = {
    "models": ("build", "describe"),
    "pipelines.errors": ("USER_ERRORS",),
    "pipelines.evaluate": ("EvaluateResult", "FusedResult", "evaluate", "fuse"),
    "pipelines.predict": ("Prediction", "predict"),
    "pipelines.prepare": ("PrepareResult", "prepare"),
    "pipelines.preview": ("PreviewResult", "preview"),
    "pipelines.recipe": (
        *("ComputeSettings", "DataSettings", "EvaluateSettings", "ModelSettings", "Recipe", "SearchSettings"),
    ),
    "pipelines.run": ("AverageResult", "RunResult", "average", "run"),
    "pipelines.train": ("TrainResult", "train"),
    "pipelines.tune": ("TrialOutcome", "TuneResult", "tune"),
    "pipelines.verify": ("VerifyResult", "verify"),
    "tasks.clips": ("ClipSettings",),
    "tasks.data": ("PrepareSettings", "open_dataset"),
    "tasks.learn.settings": ("TrainSettings",),
    "tasks.video": ("TVL1",),
}
_SOURCE = {name: (module, name) for module, names in _NAMES.items() for name in names} | {
    "load_recipe": ("pipelines.recipe", "load"),
    "networks": ("models", "names"),
}
__all__ = sorted(_SOURCE)


def __getattr__(name: str) -> Any:
    if name not in _SOURCE:
        raise AttributeError(f"module 'marey' has no attribute {name!r}; it offers: {', '.join(__all__)}")
    module, attribute = _SOURCE[name]
    value = globals()[name] = getattr(import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return __all__


def _refuse_other_packages() -> None:
    """Raise ImportError where Python finds a package of one of our four names that is not ours: mixed, the two would
    fail later and without a hint.
    """
    own = Path(__file__).resolve().parent
    for name in ("models", "tasks", "pipelines", "cluster"):
        known = sys.modules.get(name) or find_spec(name)
        places = getattr(known, "__path__", None) or getattr(known, "submodule_search_locations", None)
        found = [*(places or ()), getattr(known, "__file__", None) or getattr(known, "origin", None)][0]
        if found is None or Path(found).resolve() != own / name:
            raise ImportError(
                f"marey needs its own package {name!r}, in {own}, but Python finds {found or 'none'}: rename that one, "
                "or start Python where it is not on the path",
                name=name,
            )


_refuse_other_packages()
