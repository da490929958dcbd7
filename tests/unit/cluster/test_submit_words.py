"""What of a command line is sent, kept or refused."""

import pytest

from cluster.errors import ClusterError
from cluster.jobs import Target
from cluster.submit import LARGEST_FILE, forwarded, sees_folder, send

pytestmark = pytest.mark.quick

HERE = Target("http://127.0.0.1:1", None, local=True)
ELSEWHERE = Target("http://head:8265", None, local=False)


@pytest.fixture
def stage(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    (folder / "videos").mkdir(parents=True)
    (folder / "recipe.yaml").write_text("name: x")
    monkeypatch.chdir(folder)
    stage = tmp_path / "stage"
    stage.mkdir()
    return stage


@pytest.mark.parametrize("word", ["train", "--set", "train.lr=0.02", "s3://bucket/videos", "--out=s3://b/o", "-", ""])
def test_words_that_name_no_file(stage, word):
    assert send(word, stage, []) == word


@pytest.mark.parametrize("word", ["recipe.yaml", "--recipe=recipe.yaml", "../work/recipe.yaml"])
def test_files_are_sent(stage, word):
    path = send(word, stage, []).rpartition("=")[2]
    assert path.endswith("/recipe.yaml")
    assert (stage / path).read_text() == "name: x"


def test_folders_are_refused_unless_shared(stage, tmp_path):
    with pytest.raises(ClusterError, match=r"does not see the folder videos .*--shared"):
        send("videos", stage, [])
    assert send("--source=videos", stage, [tmp_path / "work"]) == f"--source={tmp_path / 'work' / 'videos'}"
    assert not list(stage.iterdir())


def test_large_files_are_refused(stage):
    with open("large.mp4", "wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(ClusterError, match=r"large.mp4 must have at most 10 MiB"):
        send("large.mp4", stage, [])


def test_who_sees_the_current_folder(stage, tmp_path):
    assert sees_folder(HERE)
    assert not sees_folder(ELSEWHERE)
    assert sees_folder(ELSEWHERE, [str(tmp_path)])
    assert not sees_folder(ELSEWHERE, [str(tmp_path / "wor")])


def test_forwarded_addresses_are_absolute(stage, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    assert forwarded(str(tmp_path)) == {
        "MAREY_WORK": str(tmp_path),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'work' / 'runs.db'}",
        "RAY_JOB_STOP_WAIT_TIME_S": "75",  # a stopped training makes a checkpoint
    }
    for uri in ("sqlite:////a/runs.db", "http://server:5000"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert forwarded(str(tmp_path))["MLFLOW_TRACKING_URI"] == uri
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert "MLFLOW_TRACKING_URI" not in forwarded(str(tmp_path))
