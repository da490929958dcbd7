"""Speed of STM against TSN and where the difference goes, of compiled networks and of channels-last weights, and of the
equal forms of STM's temporal filter. Prints markdown.

    .venv/bin/python tests/bench/bench_models.py [--repeats 9]

One thread, CPU time, medians; the networks take turns, so that other load on the machine affects all alike.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import models
from tasks.learn import host

CASES = [("tiny", 16, 8, 56), ("tiny", 4, 8, 224), ("full", 1, 8, 224)]


def seconds(functions: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median CPU seconds of each function, called in turns after two turns of warm-up."""
    taken: list[list[float]] = [[] for _ in functions]
    for turn in range(repeats + 2):
        for function, times in zip(functions, taken, strict=True):
            start = time.process_time()
            function()
            if turn >= 2:
                times.append(time.process_time() - start)
    return [statistics.median(times) for times in taken]


def step(
    name: str, tiny: bool, clip: Tensor, *, compiled: bool = False, channels_last: bool = False, **options: object
) -> Callable[[], None]:
    network = models.build(name, 16, tiny=tiny, **options)
    if channels_last:
        network.to(memory_format=torch.channels_last)
    losses = torch.compile(network.losses) if compiled else network.losses
    labels = torch.zeros(len(clip), dtype=torch.int64)

    def run() -> None:
        losses(clip, labels)["total"].backward()
        network.zero_grad()

    return run


def steps(repeats: int) -> None:
    print(
        "| network | clips x frames x size | STM / TSN step | TSN ms per clip | STM ms per clip |\n" + "|---" * 5 + "|"
    )
    for size, batch, frames, side in CASES:
        clip = torch.randn(batch, 3, frames, side, side)
        tsn, stm = seconds([step(name, size == "tiny", clip) for name in ("tsn", "stm")], repeats)
        print(
            f"| {size} | {batch} x {frames} x {side} | **{stm / tsn:.2f}** | {1e3 * tsn / batch:.1f} "
            f"| {1e3 * stm / batch:.1f} |",
            flush=True,
        )


def branches(repeats: int) -> None:
    """Time that each branch of STM adds to TSN's step, from steps without the other."""
    print("\n| network | CSTM / TSN step | CMM / TSN step | both |\n|---|---|---|---|")
    for size, batch, frames, side in CASES:
        clip = torch.randn(batch, 3, frames, side, side)
        tiny = size == "tiny"
        kinds = [step("stm", tiny, clip, branches=which) for which in ("cstm", "cmm_static", "both")]
        tsn, *each = seconds([step("tsn", tiny, clip), *kinds], repeats)
        ratios = " | ".join(f"**{value / tsn:.2f}**" for value in each)
        print(f"| {size}, {batch} x {frames} x {side} | {ratios} |", flush=True)


def forms_of_a_step(repeats: int) -> None:
    """`torch.compile` (compiled during warm-up) and weights in channels-last memory."""
    print(
        "\n| network | compiled / eager step | channels-last / plain weights | eager ms per clip |\n|---|---|---|---|"
    )
    for size, batch, frames, side in CASES[::2]:
        clip = torch.randn(batch, 3, frames, side, side)
        for name in ("tsn", "stm", "tada2d", "stam"):
            make = partial(step, name, size == "tiny", clip)
            plain, compiled, last = seconds([make(), make(compiled=True), make(channels_last=True)], repeats)
            case = f"{name}, {size}, {batch} x {frames} x {side}"
            ratios = f"**{compiled / plain:.2f}** | **{last / plain:.2f}**"
            print(f"| {case} | {ratios} | {1e3 * plain / batch:.1f} |", flush=True)


def conv2d_channels_last(x: Tensor, weight: Tensor, frames: int) -> Tensor:
    """The form in `models.stm.CSTM`."""
    _, channels, height, width = x.shape
    positions = x.permute(0, 2, 3, 1).reshape(-1, frames, height * width, channels).permute(0, 3, 1, 2)
    y = F.conv2d(positions, weight.unsqueeze(-1), padding=(1, 0), groups=channels)
    return y.permute(0, 2, 3, 1).reshape(-1, height, width, channels).permute(0, 3, 1, 2)


def conv1d(x: Tensor, weight: Tensor, frames: int) -> Tensor:
    _, channels, height, width = x.shape
    lines = x.view(-1, frames, channels, height, width).permute(0, 3, 4, 2, 1).reshape(-1, channels, frames)
    y = F.conv1d(lines, weight, padding=1, groups=channels)
    return y.view(-1, height, width, channels, frames).permute(0, 4, 3, 1, 2).reshape(x.shape)


def conv3d(x: Tensor, weight: Tensor, frames: int) -> Tensor:
    _, channels, height, width = x.shape
    clips = x.view(-1, frames, channels, height, width).transpose(1, 2)
    y = F.conv3d(clips, weight[..., None, None], padding=(1, 0, 0), groups=channels)
    return y.transpose(1, 2).reshape(x.shape)


def three_products(x: Tensor, weight: Tensor, frames: int) -> Tensor:
    _, channels, height, width = x.shape
    clips = F.pad(x.view(-1, frames, channels, height, width), (0, 0, 0, 0, 0, 0, 1, 1))
    past, now, future = weight.view(channels, 3, 1, 1).unbind(1)
    y = torch.addcmul(torch.addcmul(clips[:, 1:-1] * now, clips[:, :-2], past), clips[:, 2:], future)
    return y.reshape(x.shape)


def forward_and_backward(
    form: Callable[[Tensor, Tensor, int], Tensor], x: Tensor, weight: Tensor, pull: Tensor
) -> None:
    torch.autograd.grad(form(x, weight, 8), (x, weight), pull)


def temporal_filters(repeats: int) -> None:
    """Time each form in the memory order that suits it, forward and backward; check that all agree."""
    forms = [conv2d_channels_last, conv1d, conv3d, three_products]
    print(f"\n| feature map | {' | '.join(f'{form.__name__} ms' for form in forms)} |\n|---{'|---' * len(forms)}|")
    for shape in ((128, 16, 14, 14), (16, 64, 56, 56), (16, 256, 14, 14)):
        weight = torch.randn(shape[1], 1, 3, requires_grad=True)
        pull, runs, results = torch.randn(shape), [], []
        for form in forms:
            memory = torch.channels_last if form is conv2d_channels_last else torch.contiguous_format
            x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(memory_format=memory)
            x.requires_grad_()
            there = pull.to(memory_format=memory)
            results.append(form(x, weight, 8).detach())
            runs.append(partial(forward_and_backward, form, x, weight, there))
        for other in results[1:]:
            torch.testing.assert_close(other, results[0], rtol=1e-4, atol=1e-4)
        times = " | ".join(f"{1e3 * value:.1f}" for value in seconds(runs, repeats))
        print(f"| {'x'.join(map(str, shape))} | {times} |", flush=True)


def in_a_process(call: str) -> Any:
    """Return the result, through JSON, of a call such as `bench_host.measured(True)` in its own process."""
    code = f"import json; import {call.partition('.')[0]}; print(json.dumps({call}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def peak_growth(step: Callable[[], object]) -> float:
    """MB that a step adds to the peak memory of a process that has taken none."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak in getrusage includes that of the parent process
    before = peak_kb()
    step()
    return (peak_kb() - before) / 1e3


def peak_kb(pid: int | str | None = "self") -> int:
    """Peak memory of a process, or since clear_refs."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


def run(doc: str | None, repeats: int, *parts: Callable[[int], None]) -> None:
    """Read the command line of a benchmark and run its parts on one thread."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=repeats, help="timed turns, of which the median is shown")
    arguments = parser.parse_args()
    host.tune_allocator(threads=1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, one thread, median of {arguments.repeats}\n")
    for part in parts:
        part(arguments.repeats)


if __name__ == "__main__":
    run(__doc__, 9, steps, branches, forms_of_a_step, temporal_filters)
