"""STIN: two streams, with differences between frames and self-attention (Cao et al., SIViP 2023)."""

from models.stin.network import STIN as STIN
from models.stin.network import SpatialStream as SpatialStream
from models.stin.network import TemporalStream as TemporalStream
from models.stin.options import SpatialOptions as SpatialOptions
from models.stin.options import STINOptions as STINOptions
from models.stin.options import TemporalOptions as TemporalOptions
