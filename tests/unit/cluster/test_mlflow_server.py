"""The MLflow UI: a page that answers, and sentences where it cannot."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from mlflow import MlflowClient
from processes import find_line, started

from cluster.attach import ROOT
from cluster.errors import ClusterError
from cluster.mlflow import serve


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


def test_the_page_answers_and_ctrl_c_ends_it(tmp_path):
    experiment = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").create_experiment("waving")
    environment = os.environ | {"MAREY_WORK": str(tmp_path)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "pipelines", "ui", "--port", "0"]
    with started(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as ui:
        url = find_line(ui.stdout, r"http://127\.0\.0\.1:\d+")[0]
        with urllib.request.urlopen(url, timeout=60) as page:
            assert b"MLflow" in page.read()
        api = f"{url}/api/2.0/mlflow/experiments/get?experiment_id={experiment}"
        with urllib.request.urlopen(api, timeout=60) as answer:
            assert b"waving" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(api, headers={"Host": "elsewhere.example"}), timeout=60)
        ui.send_signal(signal.SIGINT)
        assert ui.wait(60) == 0
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(url, timeout=60)
