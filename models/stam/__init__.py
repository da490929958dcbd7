"""STAM: omni-dimensional calibration of convolutions, and their aggregation (Li et al., The Visual Computer 2023)."""

from models.stam.network import STAM as STAM
from models.stam.network import STAMOptions as STAMOptions
