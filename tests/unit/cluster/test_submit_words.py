"""What of a command line is sent, kept or refused."""

from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.jobs import Target
from cluster.submit import LARGEST_FILE, LARGEST_PACKAGE, forwarded, refuse_large, sees_folder, send
from cluster.versions import Versions, here, refuse_unfit
from pipelines.commands import submit
from pipelines.errors import UserError
from pipelines.submitted import recipes_of, refuse_unseen

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


def paths(*words):
    return submit.paths(words)


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "s3://bucket/videos"),
        ("evaluate", "videos"),  # a run may be called as a folder is that holds neither a checkpoint nor a dataset
        ("evaluate", "./nothing", "--fold", "group=videos"),
        ("train", "demo_tsn", "--set", "name=videos", "--set=name=videos"),
        ("prepare", "s3://bucket/videos", "s3://bucket/out", "--group", "videos"),
    ],
)
def test_words_that_are_no_paths_stay_whatever_files_there_are(stage, words):
    assert paths(*words) == {}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("train", "recipe.yaml", "--debug"), {1: "recipe.yaml"}),
        (("train", "--debug", "recipe.yaml", "--workers", "2"), {2: "recipe.yaml"}),
        (("prepare", "videos", "s3://bucket/out", "--group", "videos"), {1: "videos"}),
        (("evaluate", "./videos", "--fold", "group=videos"), {1: "./videos"}),
        (("train", "demo_tsn", "--set", "data.dataset=videos"), {3: "videos"}),
        (("train", "demo_tsn", "--set=data.dataset=videos", "--set", "name=videos"), {2: "videos"}),
        (("bench", "loader", "./videos", "--recipe=recipe.yaml"), {2: "./videos", 3: "recipe.yaml"}),
        (("verify", "a=b"), {1: "a=b"}),
    ],
)
def test_the_types_of_the_arguments_say_what_is_a_path(stage, words, found):
    Path("a=b").mkdir()
    assert paths(*words) == found


@pytest.mark.parametrize("word", ["recipe.yaml", "--recipe=recipe.yaml", "../work/recipe.yaml"])
def test_files_are_sent(stage, word):
    path = send(word, word.rpartition("=")[2], stage, []).rpartition("=")[2]
    assert path.endswith("/recipe.yaml")
    assert (stage / path).read_text() == "name: x"


def test_folders_are_refused_unless_shared(stage, tmp_path):
    with pytest.raises(ClusterError, match=r"does not see the folder videos .*--shared"):
        send("videos", "videos", stage, [])
    assert send("--source=videos", "videos", stage, [tmp_path / "work"]) == f"--source={tmp_path / 'work' / 'videos'}"
    assert not list(stage.iterdir())


def test_a_large_package_is_refused_with_its_largest_files(stage):
    for name, size in (("small.py", 10), ("weights.pt", LARGEST_PACKAGE), ("more.bin", 2 * 2**20)):
        with open(stage / name, "wb") as file:
            file.truncate(size)
    said = r"may have 64 MiB, and has 66\.0, most of it in weights\.pt \(64\.0 MiB\), more\.bin \(2\.0 MiB\)"
    with pytest.raises(ClusterError, match=said):
        refuse_large(stage)
    (stage / "weights.pt").unlink()
    refuse_large(stage)


RECIPE = "name: waves\ndata: {{dataset: {dataset}}}\nmodel: {{name: tsn}}\n"


def test_a_recipe_names_the_run_and_data_that_the_cluster_sees(stage, tmp_path):
    for dataset in ("videos", "not-yet-made", tmp_path / "work"):
        Path("recipe.yaml").write_text(RECIPE.format(dataset=dataset))
        recipes = recipes_of("train", submit.check(("train", "recipe.yaml", "--set", "name=other")))
        assert [recipe.name for recipe in recipes] == ["other"]
        with pytest.raises(UserError, match=r"the cluster does not see .*, which recipe other names: .*--shared"):
            refuse_unseen(recipes, [])
        refuse_unseen(recipes, [tmp_path])
    for dataset in ("s3://bucket/dataset", "/nonexistent/there"):
        Path("recipe.yaml").write_text(RECIPE.format(dataset=dataset))
        refuse_unseen(recipes_of("run", submit.check(("run", "recipe.yaml"))), [])
    assert recipes_of("train", submit.check(("train", "/nonexistent/recipe.yaml"))) == []
    assert recipes_of("verify", submit.check(("verify", "videos"))) == []


def test_an_mlflow_on_loopback_is_refused_for_a_cluster_elsewhere(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    with pytest.raises(UserError, match=r"at which the machines of http://head:8265 find themselves: serve it"):
        submit.refuse_loopback(ELSEWHERE.url)
    submit.refuse_loopback(HERE.url)  # the cluster is on this machine, or its dashboard is forwarded to it
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    submit.refuse_loopback(ELSEWHERE.url)


def test_an_mlflow_in_a_file_that_the_cluster_does_not_see_is_refused(stage, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    with pytest.raises(UserError, match=rf"does not see {tmp_path}/work/runs\.db, the database in MLFLOW_TRACKING_URI"):
        submit.refuse_unseen_store([])
    submit.refuse_unseen_store([tmp_path])
    for uri in ("http://server:5000", "postgresql://host/db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        submit.refuse_unseen_store([])
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    submit.refuse_unseen_store([])  # the job makes one in its own workspace


@pytest.mark.parametrize(
    ("there", "says"),
    [
        (Versions("2.40.0", "3.11.7"), r"has Ray 2\.40\.0, and this marey needs 2\.\d+: install that there"),
        (Versions(here().ray, "3.10.2"), r"has Python 3\.10\.2, and marey needs 3\.11 or newer"),
    ],
)
def test_a_cluster_of_other_versions_is_refused(there, says):
    with pytest.raises(ClusterError, match=says):
        refuse_unfit(there)
    refuse_unfit(Versions(here().ray, "3.12.1"))


def test_large_files_are_refused(stage):
    with open("large.mp4", "wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(ClusterError, match=r"large.mp4 must have at most 10 MiB"):
        send("large.mp4", "large.mp4", stage, [])


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
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
        "RAY_JOB_STOP_WAIT_TIME_S": "75",  # a stopped training makes a checkpoint
    }
    for uri in ("sqlite:////a/runs.db", "http://server:5000"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert forwarded(str(tmp_path))["MLFLOW_TRACKING_URI"] == uri
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert "MLFLOW_TRACKING_URI" not in forwarded(str(tmp_path))
