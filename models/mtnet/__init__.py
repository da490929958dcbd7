"""MTNet: multi-temporal convolutions in X3D and in a 3-D ResNet-50 (Stergiou and Poppe, IJCNN 2021)."""

from models.mtnet.network import MTConvR50 as MTConvR50
from models.mtnet.network import MTNet as MTNet
from models.mtnet.network import MTNetL as MTNetL
from models.mtnet.network import MTNetOptions as MTNetOptions
