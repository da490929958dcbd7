"""Finding, checking and reading the weights that a recipe names."""

import hashlib
import http.server
import threading
from functools import partial

import pytest
import torch
from safetensors.torch import save_file

import models
from models.common.errors import ModelError
from pipelines.errors import UserError
from pipelines.recipe import ModelSettings
from pipelines.train.initial_weights import load_initial_weights

pytestmark = pytest.mark.quick


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "work"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "work"


@pytest.fixture
def state():
    return models.build("tsn", 6, tiny=True).state_dict()


def model(weights, **fields):
    return ModelSettings(name="stm", options={"tiny": True}, weights=str(weights), **fields)


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_no_weights_are_no_weights():
    assert load_initial_weights(ModelSettings(name="stm"), 4) is None


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_a_file_is_read_and_told_about(tmp_path, state, kind):
    file = tmp_path / f"weights.{kind}"
    torch.save({"state_dict": state}, file) if kind == "pth" else save_file(state, file)
    start = load_initial_weights(model(file, weights_sha256=sha256(file)[:12]), 4)
    assert all(torch.equal(start.state[name], value) for name, value in state.items())
    assert start.tags["weights"] == str(file)
    assert start.tags["weights.sha256"] == sha256(file)
    assert "left over: fc.bias, fc.weight" in start.tags["weights.taken"]


def test_a_url_is_fetched_once(tmp_path, state, work):
    served = tmp_path / "served"
    served.mkdir()
    torch.save(state, served / "net.pth")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/net.pth"
        first = load_initial_weights(model(url), 4)
        with pytest.raises(UserError, match="cannot be downloaded"):
            load_initial_weights(model(url.replace("net", "gone")), 4)
        server.shutdown()
    again = load_initial_weights(model(url), 4)
    assert again.tags == first.tags
    assert [file.name.partition("-")[2] for file in (work / "weights").iterdir()] == ["net.pth"]


@pytest.mark.parametrize("where", ["setting", "name"])
def test_another_sha256_is_refused(tmp_path, state, where):
    file = tmp_path / ("net-0676ba61.pth" if where == "name" else "net.pth")
    torch.save(state, file)
    wanted = "0676ba61" if where == "setting" else None
    with pytest.raises(UserError, match=r"has sha256 \w{64}, not 0676ba61: it is another file"):
        load_initial_weights(model(file, weights_sha256=wanted), 4)


def test_what_holds_no_weights_is_refused(tmp_path, state):
    with pytest.raises(UserError, match="there is no file"):
        load_initial_weights(model(tmp_path / "none.pth"), 4)
    with pytest.raises(UserError, match="there is no run 'nobody'"):
        load_initial_weights(model("nobody"), 4)
    for name in ("page.pth", "page.safetensors"):
        (tmp_path / name).write_text("<html>no weights</html>")
        with pytest.raises(UserError, match="page"):
            load_initial_weights(model(tmp_path / name), 4)
    torch.save({"network": models.build("tsn", 2, tiny=True)}, tmp_path / "pickled.pth")
    with pytest.raises(UserError, match="holds more than weights"):
        load_initial_weights(model(tmp_path / "pickled.pth"), 4)
    torch.save(models.build("tsn", 6).state_dict(), tmp_path / "full.pth")
    with pytest.raises(ModelError, match="of another network"):
        load_initial_weights(model(tmp_path / "full.pth"), 4)
