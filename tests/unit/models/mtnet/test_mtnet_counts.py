"""Sizes and costs of MTNet: the tables of docs/papers/mtnet.md, section 8. Each cost takes seconds to count."""

import pytest
import torch

import models
from models.common.cost import cost, parameters
from models.mtnet.recurrent_gate import RecurrentGate


@pytest.mark.parametrize(
    ("ratio", "expected", "gmacs", "with_bn"),
    [
        (None, 29_645_024, 10.998, 11.055),
        (0.875, 25_949_291, 8.504, 8.557),
        (0.75, 21_706_574, 6.422, 6.470),
        (0.625, 19_160_507, 4.715, 4.759),
        (0.5, 18_316_274, 3.446, 3.486),
        (0.375, 19_171_577, 2.519, 2.555),
        (0.25, 21_725_240, 1.994, 2.025),
    ],
)
def test_ratios_of_m(ratio: float | None, expected: int, gmacs: float, with_bn: float) -> None:
    with torch.device("meta"):
        network = models.build("mtnet_m", 200, ratio=ratio)
        macs, batch_norm = cost(network, torch.empty(1, 3, 16, 224, 224))
    assert parameters(network) == expected
    assert macs / 1e9 == pytest.approx(gmacs, rel=1e-3)
    assert (macs + batch_norm) / 1e9 == pytest.approx(with_bn, rel=1e-3)


@pytest.mark.parametrize(
    ("ratio", "expected", "gmacs"),
    [
        (None, 67_016_192, 22.118),
        (0.875, 58_374_039, 17.067),
        (0.75, 48_720_152, None),
        (0.5, 41_005_166, None),
        (0.375, 42_950_577, None),
        (0.25, 48_760_214, 3.972),
    ],
)
def test_ratios_of_l(ratio: float | None, expected: int, gmacs: float | None) -> None:
    """The costs between differ in nothing that the others do not show."""
    with torch.device("meta"):
        network = models.build("mtnet_l", 200, ratio=ratio)
        assert parameters(network) == expected
        if gmacs is not None:
            macs, _ = cost(network, torch.empty(1, 3, 16, 224, 224))
            assert macs / 1e9 == pytest.approx(gmacs, rel=1e-3)


def test_s_is_m_at_another_size() -> None:
    with torch.device("meta"):
        network = models.build("mtnet_s", 200)
        assert parameters(network) == 25_949_291
        assert parameters(models.build("mtnet_m", 400)) == 26_035_891
        found = cost(network, torch.empty(1, 3, 16, 182, 182))
        assert found.macs / 1e9 == pytest.approx(5.932, rel=1e-3)
        assert (found.macs + found.batch_norm) / 1e9 == pytest.approx(5.968, rel=1e-3)


def test_mtconv_in_resnet_50() -> None:
    with torch.device("meta"):
        network = models.build("mtconv_r50", 400)
        macs, _ = cost(network, torch.empty(1, 3, 16, 224, 224))
        gates = sum(parameters(module) for module in network.modules() if isinstance(module, RecurrentGate))
        plain = models.build("mtconv_r50", 400, ratio=None)
    assert parameters(network) == 36_730_528
    assert macs / 1e9 == pytest.approx(21.702, rel=1e-3)
    assert parameters(network) - gates == 29_163_040
    with torch.device("meta"):
        assert parameters(plain) == parameters(models.build("r3d50", 400))
