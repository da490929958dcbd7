"""DSTS: neurons that specialise in space or in time, trained upstream-downstream (Li et al., ECCV 2022)."""

from models.dsts.network import DSTSTPN as DSTSTPN
from models.dsts.network import DSTSSwin as DSTSSwin
