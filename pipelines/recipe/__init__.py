"""Recipes: their settings, reading and writing them as YAML, and the clips that they describe."""

from pipelines.recipe.clips import clip_settings as clip_settings
from pipelines.recipe.clips import published_clip as published_clip
from pipelines.recipe.clips import view_settings as view_settings
from pipelines.recipe.dataset import check_dataset as check_dataset
from pipelines.recipe.dataset import open_data as open_data
from pipelines.recipe.dataset import refuse_impossible as refuse_impossible
from pipelines.recipe.file import BUILT_IN as BUILT_IN
from pipelines.recipe.file import assignment as assignment
from pipelines.recipe.file import digest as digest
from pipelines.recipe.file import dump as dump
from pipelines.recipe.file import load as load
from pipelines.recipe.file import parse as parse
from pipelines.recipe.file import recorded as recorded
from pipelines.recipe.file import replaced as replaced
from pipelines.recipe.file import to_dict as to_dict
from pipelines.recipe.settings import ComputeSettings as ComputeSettings
from pipelines.recipe.settings import DataSettings as DataSettings
from pipelines.recipe.settings import EvaluateSettings as EvaluateSettings
from pipelines.recipe.settings import ModelSettings as ModelSettings
from pipelines.recipe.settings import ProtocolSettings as ProtocolSettings
from pipelines.recipe.settings import Recipe as Recipe
from pipelines.recipe.settings import SearchSettings as SearchSettings
