"""TV-L1 as tensor operations: it equals the native kernel's, for each pair whatever else is in its batch."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from textures import CHANGES, difference, drawn

from tasks.video import TVL1, tvl1, tvl1_torch
from tasks.video.tvl1_torch import compiler_cache

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("size", [(64, 90), (40, 41), (17, 30), (9, 7), (2, 3), (1, 1)])
def test_agrees_with_the_native_kernel_at_any_size(size):
    gray = drawn(*size)
    assert difference(tvl1(gray, backend="torch"), tvl1(gray)) <= 0.01


@pytest.mark.parametrize("change", CHANGES)
def test_agrees_with_the_native_kernel_under_each_setting(change):
    gray, settings = drawn(40, 50), TVL1(**change)
    flow = tvl1(gray, settings, "torch")
    assert difference(flow, tvl1(gray, settings)) <= 0.01
    assert not np.array_equal(flow, tvl1(gray, backend="torch"))


def test_a_pair_stops_by_itself_in_a_batch():
    fast, still = drawn(48, 50, speed=2), drawn(48, 50, frames=1)
    together = tvl1(np.concatenate([fast, still, still]), backend="torch")
    assert difference(together[:2], tvl1(fast, backend="torch")) <= 1e-4
    assert np.abs(together[-1]).max() == 0


def test_more_pairs_than_fit_at_once(monkeypatch):
    gray = drawn(20, 30, frames=6)
    whole = tvl1(gray, backend="torch")
    monkeypatch.setattr(tvl1_torch, "PAIRS_AT_ONCE", 2)
    assert difference(tvl1(gray, backend="torch"), whole) <= 1e-4


@pytest.mark.parametrize("window", [3, 5])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 9), (33, 40)])
def test_median_is_opencvs(window, size):
    image = np.random.default_rng(0).normal(size=size).astype(np.float32)
    ours = tvl1_torch.median(torch.from_numpy(image)[None, None], window)[0, 0].numpy()
    assert np.array_equal(ours, cv2.medianBlur(image, window))


def test_what_a_gpu_compiles_is_one_graph_for_any_size():
    """None of it may fall back to Python, and another size must not compile it again."""
    graphs = []

    def count(graph, example):
        graphs.append(graph)
        return graph.forward

    iterations, sample = (
        torch.compile(part, backend=count, fullgraph=True, dynamic=True)
        for part in (tvl1_torch.iterations, tvl1_torch.sample)
    )
    for batch, height, width in ((3, 20, 30), (4, 25, 36), (2, 16, 16)):
        u, gradient = torch.rand(2, batch, 2, height, width)
        plane = torch.rand(batch, 1, height, width)
        p, moving = torch.rand(batch, 2, 2, height, width), torch.ones(batch, dtype=torch.bool)
        arguments = (u, p, moving, plane, gradient, plane, 0.045, 0.3, 0.8, 0.5, 2)
        for ours, plain in zip(iterations(*arguments), tvl1_torch.iterations(*arguments), strict=True):
            assert torch.equal(ours, plain)
        assert torch.equal(sample(gradient, u), tvl1_torch.sample(gradient, u))
    assert len(graphs) == 2


def test_compiled_code_lies_where_no_other_account_can_put_any(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = Path(compiler_cache())
    assert folder.is_relative_to(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    other = Path(compiler_cache())
    assert other.name.startswith("marey-inductor-")
    assert other.stat().st_mode & 0o777 == 0o700
    other.rmdir()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/given")
    assert compiler_cache() == "/given"
