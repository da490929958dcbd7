import pytest
import torch
from torch import Tensor


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Each test draws the same numbers in whatever order and process it runs."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def rgb() -> Tensor:
    """Two clips of three pairs of frames."""
    return torch.randn(2, 3, 6, 48, 48, generator=torch.Generator().manual_seed(1))
