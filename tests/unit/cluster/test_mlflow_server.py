"""The MLflow UI: a page that answers whom it should, ends with its owner, and sentences where it cannot."""

import base64
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import psutil
import pytest
from mlflow import MlflowClient
from processes import find_line, run, started

from cluster.attach import ROOT
from cluster.errors import ClusterError
from cluster.login import keep, other_accounts
from cluster.mlflow import serve
from pipelines.tracking import Tracker


@pytest.mark.quick
def test_no_database_yet(tmp_path):
    with pytest.raises(ClusterError, match=r"there are no runs yet: .*mlflow.db does not exist"):
        serve(f"sqlite:///{tmp_path}/mlflow.db", 0, tmp_path).__enter__()


@pytest.mark.quick
def test_port_taken(tmp_path):
    (tmp_path / "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ClusterError, match=f"port {port} cannot be used .*--port"):
            serve(f"sqlite:///{tmp_path}/mlflow.db", port, tmp_path).__enter__()


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MAREY_WORK", str(tmp_path))
    MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").create_experiment("waving")
    return tmp_path


@contextmanager
def ui(*flags):
    command = [sys.executable, "-m", "pipelines", "ui", "--port", "0", *flags]
    with started(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        yield process


def answer(url, login="", **headers):
    if login:
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as page:
        return page.read()


EXPERIMENT = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=waving"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_page_answers_and_a_signal_ends_it_in_one_line(work, number):
    with ui("--no-login") as process:
        told = find_line(process.stdout, r"without a login, others on this machine can .*: (.*)")[1]
        assert told
        url = find_line(process.stdout, r"http://127\.0\.0\.1:\d+")[0]
        assert b"MLflow" in answer(url)
        assert b"waving" in answer(url + EXPERIMENT)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            answer(url + EXPERIMENT, Host="elsewhere.example")
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
        assert (process.returncode, said.count("\n")) == (0, 1)
        assert said.startswith("the MLflow UI has ended;")
    with pytest.raises(urllib.error.URLError, match="refused"):
        answer(url)


def test_a_login_is_made_and_asked_for(work, monkeypatch):
    with ui("--login") as process:
        name, password = find_line(process.stdout, r"login: user (\w+), password (\S+) ").groups()
        url = find_line(process.stdout, r"http://127\.0\.0\.1:\d+")[0]
        for path in ("/", EXPERIMENT, "/graphql", "/api/2.0/mlflow-artifacts/artifacts", "/get-artifact?path=x"):
            for login in ("", f"{name}:wrong"):
                with pytest.raises(urllib.error.HTTPError, match="401"):
                    answer(url + path, login)
        assert b"MLflow" in answer(url, f"{name}:{password}")
        assert b"waving" in answer(url + EXPERIMENT, f"{name}:{password}")

        commands = [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
        assert not [command for command in commands if password in command]
        (file,) = [path for path in work.iterdir() if path.is_file() and password in path.read_text(errors="replace")]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        with pytest.raises(ClusterError, match="asks for a login: set MLFLOW_TRACKING_USERNAME"):
            Tracker.start(work, "far", params={}, tags={})
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        tracker = Tracker.start(work, "far", params={}, tags={})
        tracker.log_metrics({"loss": 1.0}, 1)
        tracker.log_artifact(file, "note")
        tracker.end("FINISHED")
        assert tracker.read_history() == {"loss": [(1, 1.0)]}


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_it_ends_with_its_terminal_and_with_its_parent(work, number):
    with ui("--no-login") as process:
        url = find_line(process.stdout, r"http://127\.0\.0\.1:\d+")[0]
        below = psutil.Process(process.pid).children(recursive=True)
        assert below
        process.send_signal(number)
        assert process.wait(60) == (0 if number == signal.SIGHUP else -signal.SIGKILL)
        psutil.wait_procs(below, timeout=60)
        with pytest.raises(urllib.error.URLError, match="refused"):
            answer(url)
        assert not [one for one in below if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.quick
def test_a_login_that_others_could_read_is_refused(tmp_path):
    login = keep(tmp_path / "ui-login")
    assert login.new
    assert keep(tmp_path / "ui-login").password == login.password
    (tmp_path / "ui-login").chmod(0o644)
    with pytest.raises(ClusterError, match="can be read by others: delete it for a new one"):
        keep(tmp_path / "ui-login")
    (tmp_path / "ui-login").chmod(0o600)
    (tmp_path / "ui-login").write_text("nothing")
    with pytest.raises(ClusterError, match="holds no login"):
        keep(tmp_path / "ui-login")
    (tmp_path / "link").symlink_to(tmp_path / "ui-login")
    with pytest.raises(ClusterError, match="cannot be read"):
        keep(tmp_path / "link")


@pytest.mark.quick
def test_login_and_no_login_exclude_each_other(tmp_path):
    done = run([sys.executable, "-m", "pipelines", "ui", "--login", "--no-login"], cwd=ROOT)
    assert (done.returncode, re.sub(r" \(.*", "", done.stderr)) == (
        2,
        "marey: --login and --no-login exclude each other: give one\n",
    )


@pytest.mark.quick
@pytest.mark.skipif(os.geteuid() != 0, reason="root is another account for everyone else")
def test_accounts_of_programs_are_nobody_who_logs_in():
    assert not {"root", "nobody", "daemon", "bin", "sync", "www-data"} & set(other_accounts())


@pytest.mark.quick
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_is_another_account_for_everyone_else():
    become = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
    done = run([*become, sys.executable, "-c", "from cluster.login import *; print(other_accounts())"], cwd=ROOT)
    assert "'root'" in done.stdout, done.stderr
