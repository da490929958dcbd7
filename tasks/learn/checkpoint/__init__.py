"""Checkpoints: a folder of safetensors and JSON, nothing pickled.

weights.safetensors    the network's state dict, averaged if the training averages it
training.safetensors   only then: the state dict that goes on being trained
optimizer.safetensors  the optimiser's state, `<name of the parameter>.<name of the value>`
checkpoint.json        identity, position, loss scaler, metrics, conditions, and the sha256 of every file and of itself

Random numbers are functions of (seed, step, share), so a position is all that an exact resume needs of them.
"""

from __future__ import annotations

from tasks.learn.checkpoint.document import DOCUMENT_FILE as DOCUMENT_FILE
from tasks.learn.checkpoint.document import FORMAT as FORMAT
from tasks.learn.checkpoint.document import OPTIMIZER_FILE as OPTIMIZER_FILE
from tasks.learn.checkpoint.document import WEIGHTS_FILE as WEIGHTS_FILE
from tasks.learn.checkpoint.document import DamagedError as DamagedError
from tasks.learn.checkpoint.document import Identity as Identity
from tasks.learn.checkpoint.document import Position as Position
from tasks.learn.checkpoint.document import sum_of as sum_of
from tasks.learn.checkpoint.load import load_weights as load_weights
from tasks.learn.checkpoint.load import newest_whole as newest_whole
from tasks.learn.checkpoint.load import read_conditions as read_conditions
from tasks.learn.checkpoint.load import read_identity as read_identity
from tasks.learn.checkpoint.load import read_metrics as read_metrics
from tasks.learn.checkpoint.load import resume as resume
from tasks.learn.checkpoint.load import verify as verify
from tasks.learn.checkpoint.state import Snapshot as Snapshot
from tasks.learn.checkpoint.state import State as State
