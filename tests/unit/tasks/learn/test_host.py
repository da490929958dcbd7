import subprocess
import sys

import pytest

pytestmark = pytest.mark.quick

FAULTS = """
import resource, sys
import torch
from tasks.learn import host

if sys.argv[1] == "tuned":
    host.tune_allocator(threads=1)
def faults(mb):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(mb, 2**18).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(10):  # aligned blocks find their place after a few rounds
    faults(64)
print(faults(64), torch.get_num_threads())
"""


def faults(how: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True, timeout=600)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_a_tuned_process_asks_the_kernel_for_memory_once():
    usual, _ = faults("usual")
    tuned, threads = faults("tuned")
    assert usual > 1_000  # otherwise there is nothing to tune here
    assert (tuned, threads) == (0, 1)
