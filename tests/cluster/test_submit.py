"""Verbs as jobs on a real cluster: exit codes, logs, paths, code, interruption."""

import json
import re
import shutil
import signal
import socket
import textwrap

import pytest
from processes import find_line

from cluster import dashboard, jobs, local
from cluster.attach import ROOT
from cluster.errors import ClusterError
from cluster.submit import PACKAGES, SURFACE
from pipelines.commands.jobs import row

pytestmark = pytest.mark.cluster
RECIPE = """
name: other
data: {dataset: out}
model: {name: tsn, options: {tiny: true}}
input: {segments: 2, size: 32}
train: {epochs: 2, batch_size: 4, micro_batches: 2}
compute: {workers: 2}
"""
SMALL = ("--flow", "none", "--short-side", "32")


@pytest.fixture
def client(workspace):
    return jobs.target(None, None, workspace).client()


def test_exit_codes_and_relative_paths(marey, workspace, client, videos, tmp_path):
    shutil.copytree(videos, tmp_path / "videos")
    done = marey("submit", "--", "prepare", "videos", "out", *SMALL, cwd=tmp_path, MAREY_WORK=workspace)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 of 8 ok" in done.stdout
    assert (tmp_path / "out" / "dataset.json").is_file()

    refused = marey("submit", "--", "verify", "nothing-here", cwd=tmp_path, MAREY_WORK=workspace)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stdout
    assert "nothing-here" in refused.stdout
    assert "job_manager.py" not in done.stdout + refused.stdout
    assert not re.search("^Running entrypoint", done.stdout + refused.stdout, re.MULTILINE)
    assert re.search(r"^job verify-\S+: FAILED; `marey logs verify-", refused.stderr, re.MULTILINE)

    (tmp_path / "videos" / "left" / "broken.mp4").write_bytes(b"no video")
    failed = marey("submit", "--", "prepare", "videos", "other", *SMALL, cwd=tmp_path, MAREY_WORK=workspace)
    assert failed.returncode == 3, failed.stdout + failed.stderr

    told = json.loads(marey("jobs", "--json", MAREY_WORK=workspace).stdout)[-3:]
    assert [job["progress"] for job in told] == ["8 of 8 videos", None, "9 of 9 videos"]
    listed = jobs.jobs(client)[-3:]
    assert [(job.status, job.exit_code) for job in listed] == [("SUCCEEDED", 0), ("FAILED", 2), ("FAILED", 3)]
    assert [job.command.split()[0] for job in listed] == ["prepare", "verify", "prepare"]
    assert "verify nothing-here" in row(listed[1])
    followed = marey("logs", "-f", listed[1].job_id, MAREY_WORK=workspace)
    assert followed.returncode == 2
    assert refused.stdout.endswith(followed.stdout)
    printed = marey("logs", listed[1].job_id, MAREY_WORK=workspace)
    assert (printed.returncode, printed.stdout) == (0, followed.stdout)
    near = listed[1].job_id[:-1]
    unknown = marey("logs", near, MAREY_WORK=workspace)
    assert unknown.returncode == 2
    assert f"did you mean '{listed[1].job_id}'" in unknown.stderr
    with pytest.raises(ClusterError, match=f"unknown job '{near}'; did you mean '{listed[1].job_id}'"):
        jobs.stop(client, near)
    with pytest.raises(ClusterError, match="has already ended: SUCCEEDED"):
        jobs.stop(client, listed[0].job_id)


def test_a_training_is_listed_with_its_run_its_progress_and_who_sent_it(marey, workspace, videos, tmp_path):
    prepared = marey("prepare", videos, "out", *SMALL, cwd=tmp_path, MAREY_WORK=workspace)
    assert prepared.returncode == 0, prepared.stderr
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    words = ("submit", "--", "train", "recipe.yaml", "--set", "name=sent_away")
    done = marey(*words, cwd=tmp_path, MAREY_WORK=workspace)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = json.loads(marey("jobs", "--json", MAREY_WORK=workspace).stdout)[-1]
    assert (listed["run"], listed["progress"]) == ("sent_away", "epoch 2/2")
    assert listed["submitted_by"].endswith(f"@{socket.gethostname()}")
    line = marey("jobs", MAREY_WORK=workspace).stdout.splitlines()[-1]
    assert all(each in line for each in ("sent_away", "epoch 2/2", listed["submitted_by"], "train recipe.yaml"))
    url, token = jobs.target(None, None, workspace).url, local.current(workspace).token
    shown = dashboard.get(url, "/api/train/v2/runs/v1", token)
    assert "sent_away" in {run["name"] for run in shown["train_runs"]}
    names = [job["metadata"]["job_name"] for job in dashboard.get(url, "/api/jobs/", token) if job["submission_id"]]
    assert "train sent_away" in names


def test_a_typing_error_is_told_before_a_job_starts(marey, workspace, client):
    before = len(jobs.jobs(client))
    wrong = marey("submit", "--", "prepre", "a", "b", MAREY_WORK=workspace)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "did you mean 'prepare'?" in wrong.stderr
    missing = marey("submit", "--", "prepare", "a", MAREY_WORK=workspace)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert len(jobs.jobs(client)) == before


def test_ctrl_c_leaves_the_job_running_until_it_is_stopped(start, workspace, client, videos, tmp_path):
    for label in ("left", "right"):
        (tmp_path / "videos" / label).mkdir(parents=True)
        for index in range(30):
            shutil.copy(videos / label / "0.mp4", tmp_path / "videos" / label / f"{index}.mp4")
    with start("submit", "--", "prepare", "videos", "out", cwd=tmp_path, MAREY_WORK=workspace) as following:
        find_line(following.stdout, "60 videos in 2 classes")
        following.send_signal(signal.SIGINT)
        _, said = following.communicate()
    assert following.returncode == 130
    job_id = re.search(r"marey stop (\S+)", said)[1].rstrip("`")
    assert jobs.find(client, job_id).status == "RUNNING"
    assert jobs.stop(client, job_id).status == "STOPPED"
    assert not list((tmp_path / "out" / "shards").glob("*.tar"))


def test_what_is_sent_wins_everywhere(client, foreign, tmp_path):
    """In the driver, in tasks and in Ray Train workers, though another copy is installed and foreign ones are near."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / "stage" / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / SURFACE, tmp_path / "stage")
    (tmp_path / "stage" / "models" / "marker.py").write_text("")
    (tmp_path / "stage" / "driver.py").write_text(
        textwrap.dedent(
            f"""
            import os
            from pathlib import Path

            import models.marker, ray, ray.train
            from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
            from cluster.attach import attach

            attach()
            nodes = [node["NodeID"] for node in ray.nodes()]

            @ray.remote(num_cpus=1)
            def task():
                import marey, models.marker, tasks
                assert Path(marey.__file__).parent == Path(tasks.__file__).parents[1], marey.__file__
                return ray.get_runtime_context().get_node_id(), Path(marey.__file__).parent.name

            def loop():
                import models.marker, tasks
                assert Path(tasks.__file__).parents[1].name == sent.name, tasks.__file__

            sent = Path(models.__file__).parents[1]
            unpacked = os.stat(sent).st_ino
            places = ray.get([task.options(scheduling_strategy=On(id, soft=False)).remote() for id in nodes])
            assert [node for node, _ in places] == nodes
            assert set(name for _, name in places) == {{sent.name}}
            assert os.stat(sent).st_ino == unpacked  # no node has deleted it and unpacked it anew under this driver
            scaling = ray.train.ScalingConfig(num_workers=2)
            run = ray.train.RunConfig(storage_path="{tmp_path / "runs"}", name="sent")
            DataParallelTrainer(loop, scaling_config=scaling, run_config=run).fit()
            print("nodes:", len(ray.nodes()))
            """
        )
    )
    job_id = client.submit_job(
        entrypoint=f"cd {foreign} && exec python -P -m driver", runtime_env={"working_dir": str(tmp_path / "stage")}
    )
    log = []
    job = jobs.follow(client, job_id, log.append)
    assert job.exit_code == 0, "".join(log)
    assert "nodes: 3" in "".join(log)
