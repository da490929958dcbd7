"""The sbatch files of cluster/slurm, run by a real Slurm whose nodes are hosts of their own."""

import shutil
import stat
import subprocess

import hosts
import long_training
import psutil
import pytest
import slurm
import yaml
from host_training import MODEL, TRAIN, Trainings
from paths import ROOT

from tasks.data import open_dataset
from tasks.stickfigures import FigureSettings
from tasks.stickfigures.videos import list_videos, write

EPOCHS = 2
STEPS = 25 * EPOCHS
STARTED_S = 300.0
"""How long a job may take to its first step: Slurm, Ray on all nodes, and the workers."""
ENDED_S = 300.0
NO_GPU = ("--gpus-per-node=0",)
SHARED = (*NO_GPU, "--nodes=1", "--oversubscribe", "--mem=500M", "--cpus-per-task=1")
FILES = sorted((ROOT / "cluster/slurm").iterdir())


@pytest.fixture(scope="module")
def cluster():
    """Return a Slurm of two nodes."""
    with slurm.cluster(2) as made:
        yield made


@pytest.fixture(scope="module")
def trainings(cluster):
    """Return what knows the workspace and MLflow's server, which runs where users log in."""
    made = Trainings(cluster.network)
    made.start_mlflow()
    cluster.network.environment |= {
        "MAREY_VENV": str(ROOT / ".venv"),
        "MLFLOW_TRACKING_URI": made.url,
        "MAREY_RAY_OPTIONS": "--object-store-memory=100000000",
        "RAY_TMPDIR": str(cluster.network.folder / hosts.OWN),  # another one on each node, as /tmp is elsewhere
    }
    yield made
    made.stop_mlflow()


def train(cluster, name, workers, **options):
    recipe = long_training.write(
        cluster.network.folder, epochs=EPOCHS, name=name, model=MODEL, train=TRAIN, workers=workers
    )
    return cluster.submit("train", recipe, **options)


@pytest.fixture(scope="module")
def undisturbed(cluster, trainings):
    """Return the sha256 of the weights of one worker on one node, which it shares with others and needs no Ray on."""
    train(cluster, "one", 1, options=SHARED).end(ENDED_S)
    return long_training.weights(trainings.work, "one")


def check(trainings, name, undisturbed):
    assert long_training.weights(trainings.work, name) == undisturbed
    long_training.check_tracked(trainings.database, long_training.chosen(trainings.work, name), STEPS, name)


def left_on(host):
    return [path.name for path in host.own.glob("marey-*")], host.runs("raylet"), host.runs("gcs_server")


def token_of(process):
    return next((value for name, value in process.environ().items() if name == "RAY_AUTH_TOKEN"), None)


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_a_training_over_two_nodes(cluster, trainings, undisturbed):
    job = train(cluster, "two", 2, options=NO_GPU)
    job.until(lambda: long_training.reached(trainings.work, "two") > 0, STARTED_S)
    nodes = cluster.network.hosts[1:]
    assert [host.runs("RayTrainWorker") for host in nodes] == [1, 1]
    running = [process for host in cluster.network.hosts for process in host.members()]
    tokens = {token_of(process) for host in nodes for process in host.members() if process.name() == "raylet"}
    assert len(tokens) == 1
    (token,) = tokens
    assert len(token) == 64
    assert token != cluster.network.environment["RAY_AUTH_TOKEN"]
    assert not [process for process in running if token in " ".join(words_of(process))]
    for host in nodes:
        (folder,) = host.own.glob("marey-*")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not [path for path in files(cluster.network.folder) if token.encode() in path.read_bytes()]
    said = job.end(ENDED_S)
    assert "Traceback" not in said
    assert "ray stop" not in said  # what Ray says of its end
    check(trainings, "two", undisturbed)
    assert [left_on(host) for host in nodes] == [([], 0, 0)] * 2


@pytest.mark.campaign
@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_job_whose_time_is_up_goes_on_from_its_checkpoint(cluster, trainings, undisturbed):
    """It gets the signal of its `--signal` line here, not minutes before its limit."""
    job = train(cluster, "limited", 2, options=NO_GPU)
    job.until(lambda: long_training.reached(trainings.work, "limited") > 0, STARTED_S)
    cluster.run("scancel", "--batch", "--signal=USR1", job.number)
    job.until(lambda: job.shows("JobState") == "PENDING", ENDED_S)
    after = long_training.reached(trainings.work, "limited")
    assert 0 < after < STEPS
    assert [left_on(host) for host in cluster.network.hosts[1:]] == [([], 0, 0)] * 2
    # Not hastened: Slurm waits two minutes, lest a late signal to the first start's steps hits those of the second.
    said = job.end(STARTED_S + ENDED_S + 180)
    assert job.shows("Restarts") == "1"
    assert said.count("back into the queue") == 1
    assert f"going on with 2 workers after step {after}" in said
    check(trainings, "limited", undisturbed)


@pytest.mark.campaign
@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_job_that_is_told_to_stop_is_not_started_again(cluster, trainings, undisturbed):
    job = train(cluster, "stopped", 1, options=SHARED)
    job.until(lambda: long_training.reached(trainings.work, "stopped") > 0, STARTED_S)
    cluster.run("scancel", "--batch", "--signal=TERM", job.number)
    said = job.end(ENDED_S, "130:0")
    assert "back into the queue" not in said
    assert long_training.reached(trainings.work, "stopped") < STEPS
    train(cluster, "stopped", 1, options=SHARED).end(ENDED_S)
    check(trainings, "stopped", undisturbed)


@pytest.mark.campaign
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_videos_are_prepared_and_a_sweep_goes_over_both_nodes(cluster, trainings):
    folder = cluster.network.folder
    settings = FigureSettings()
    for video in list_videos(settings):
        write(video, settings, folder / "videos")
    options = ("--short-side", 32, "--flow", "none", "--shard-videos", 32)
    said = cluster.submit("prepare", folder / "videos", folder / "dataset", *options).end(ENDED_S)
    assert "Traceback" not in said
    assert sum(open_dataset(folder / "dataset").parts.values()) == 140
    recipe = {
        "name": "sweep",
        "data": {"dataset": str(folder / "dataset")},
        "model": {"name": "tsn", "options": {"tiny": True}},
        "input": {"size": 32, "segments": 2},
        "train": {"epochs": 2, "loader_threads": 1},
        "search": {"trials": 4, "space": {"train.lr": {"log_uniform": [0.001, 0.1]}}},
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(recipe))
    job = cluster.submit("tune", folder / "sweep.yaml", options=NO_GPU)
    job.until(lambda: all(host.runs("ray::ImplicitFunc") for host in cluster.network.hosts[1:]), STARTED_S)
    assert "best of 4 trials (0 failed)" in job.end(ENDED_S)
    assert (trainings.work / "sweeps/sweep/best.yaml").exists()
    assert [left_on(host) for host in cluster.network.hosts[1:]] == [([], 0, 0)] * 2


@pytest.mark.campaign
def test_nodes_that_others_may_use_too_are_refused(cluster, trainings):
    job = train(cluster, "refused", 2, options=(*NO_GPU, "--oversubscribe", "--mem=500M"))
    assert "marey: 2 nodes must be the job's own: add --exclusive" in job.end(ENDED_S, "2:0")


def words_of(process):
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def files(folder):
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size < 10**7:
            yield path


@pytest.mark.quick
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_file_is_bash(path):
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    if shutil.which("shellcheck"):
        unseen = "--exclude=SC2034,SC1091,SC2317"  # what one file sets for another, and what a trap calls
        done = subprocess.run(["shellcheck", unseen, path], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout
