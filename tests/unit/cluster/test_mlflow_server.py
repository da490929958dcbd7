"""The MLflow UI: a page that answers, and sentences where it cannot."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from mlflow import MlflowClient

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
    ui = subprocess.Popen(
        [sys.executable, "-m", "pipelines", "ui", "--port", "0"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = ui.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", line)[0]
        with urllib.request.urlopen(url) as page:
            assert b"MLflow" in page.read()
        api = f"{url}/api/2.0/mlflow/experiments/get?experiment_id={experiment}"
        with urllib.request.urlopen(api) as answer:
            assert b"waving" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(api, headers={"Host": "elsewhere.example"}))
    finally:
        ui.send_signal(signal.SIGINT)
        code = ui.wait(30)
    assert code == 0
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(url)
