import pytest
import torch
from torch import Tensor


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seed each test, so that its numbers do not depend on order or process."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def rgb() -> Tensor:
    """Two clips of three pairs of frames."""
    return torch.randn(2, 3, 6, 48, 48, generator=torch.Generator().manual_seed(1))
