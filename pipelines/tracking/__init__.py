"""MLflow runs, their folders in the workspace, and their plots."""

from pipelines.tracking.address import tracking_uri as tracking_uri
from pipelines.tracking.find_run import ResolvedRun as ResolvedRun
from pipelines.tracking.find_run import load_network as load_network
from pipelines.tracking.find_run import resolve as resolve
from pipelines.tracking.run_folder import RunFolder as RunFolder
from pipelines.tracking.store import open_store as open_store
from pipelines.tracking.tracker import Tracker as Tracker
from pipelines.tracking.workspace import local_folder as local_folder
from pipelines.tracking.workspace import make_folder as make_folder
from pipelines.tracking.workspace import mask_of as mask_of
from pipelines.tracking.workspace import masked as masked
from pipelines.tracking.workspace import workspace as workspace
