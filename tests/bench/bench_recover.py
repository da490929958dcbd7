"""How long a training stands still after a loss, beside a bare start of Ray Train.

    .venv/bin/python tests/bench/bench_recover.py [--repeats 3]

Two hosts in network namespaces train, a third is their head; as root. In turns: the start of a Ray Train of two workers
whose loop does nothing, by the time between `fit` and the loop; one of two workers is killed; one of two hosts is taken
away at a deadline. The last two by the time from the kill, or the deadline, to the first step that follows.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import time

import hosts
from host_training import SOON, Training, Trainings

ALLOWED_S = 10.0
"""Beyond a bare start."""
ELASTIC = {"workers": [1, 2], "resize_every_s": 3}
NOTICE_S = 8
BARE = """
import sys, time, ray, ray.train
from ray.train.torch import TorchTrainer
ray.init(log_to_driver=False, logging_level=40, runtime_env={"env_vars": {"GLOO_SOCKET_IFNAME": "eth0"}})
def loop(config):
    if ray.train.get_context().get_world_rank() == 0:
        open(config["began"], "w").write(str(time.time()))
trainer = TorchTrainer(
    loop,
    train_loop_config={"began": sys.argv[1]},
    scaling_config=ray.train.ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
    run_config=ray.train.RunConfig(storage_path=sys.argv[2]),
)
start = time.time()
trainer.fit()
print(float(open(sys.argv[1]).read()) - start)
"""


def bare(trainings: Trainings) -> float:
    """Seconds from `fit` to the loop of a Ray Train that does nothing."""
    trainings.pair()
    folder = trainings.network.folder
    words = [sys.executable, "-c", BARE, folder / "began", folder / "bare"]
    done = trainings.head.run(words, RAY_ADDRESS=trainings.network.head)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])


def after_a_kill(trainings: Trainings, name: str) -> float:
    """Seconds from the kill of a worker to the next step."""
    pair = trainings.pair()
    with trainings.started(name, **ELASTIC) as training:
        training.reach(10)
        assert all(host.runs("RayTrainWorker") for host in pair), training.said()
        before = starts(training)
        (worker,) = [each for each in pair[1].members() if each.name().startswith("ray::RayTrainW")]
        worker.kill()
        return until_a_step(training, before, time.monotonic())


def after_a_drain(trainings: Trainings, name: str) -> float:
    """Seconds from the deadline at which a host is taken away to the next step."""
    pair = trainings.pair()
    with trainings.started(name, **ELASTIC) as training:
        training.reach(10)
        assert all(host.runs("RayTrainWorker") for host in pair), training.said()
        before = starts(training)
        return until_a_step(training, before, pair[1].drain(NOTICE_S))


def starts(training: Training) -> int:
    """How often its workers have said that they go on."""
    return sum("going on with" in str(entry) for entry in entries(training))


def until_a_step(training: Training, before: int, since: float) -> float:
    """Wait for the first step after the workers have gone on once more; return how long after `since` it was made."""
    found: list[float] = []

    def stepped() -> bool:
        listed = entries(training)
        notes = [number for number, entry in enumerate(listed) if "going on with" in str(entry)]
        if len(notes) > before and any("step" in entry for entry in listed[notes[-1] + 1 :]):
            found.append(time.monotonic() - since)
        return bool(found)

    training.until(stepped, 300.0)
    stop(training)
    return found[0]


def stop(training: Training) -> None:
    """Stop a training that has been measured."""
    training.send(signal.SIGINT)
    training.process.wait(120)


def entries(training: Training) -> list[dict[str, object]]:
    """What rank 0 has reported."""
    path = training.work / "runs" / training.name / "progress.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    rows: dict[str, list[float]] = {"bare": [], "a worker is killed": [], "a host is taken away": []}
    with hosts.network(1) as network:
        trainings = Trainings(network)
        with trainings.up(SOON):
            for turn in range(repeats):
                rows["bare"].append(bare(trainings))
                rows["a worker is killed"].append(after_a_kill(trainings, f"killed-{turn}"))
                rows["a host is taken away"].append(after_a_drain(trainings, f"drained-{turn}"))
    start = statistics.median(rows.pop("bare"))
    print(f"A bare start of Ray Train takes {start:.1f} s; at most {ALLOWED_S:.0f} s more are allowed\n")
    print("| beyond a bare start, s | after | s to the next step | each |\n|---|---|---|---|")
    for what, times in rows.items():
        middle = statistics.median(times)
        each = ", ".join(f"{seconds:.1f}" for seconds in times)
        print(f"| **{middle - start:.1f}** | {what} | {middle:.1f} | {each} |")


if __name__ == "__main__":
    main()
