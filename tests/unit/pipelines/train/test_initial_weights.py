"""Finding, checking and reading the weights that a recipe names."""

import contextlib
import hashlib
import http.server
import stat
import threading
import urllib.error
import urllib.request
from functools import partial

import pytest
import torch
from safetensors.torch import save_file

import models
from models.common.errors import ModelError
from pipelines.errors import UserError
from pipelines.recipe import ModelSettings
from pipelines.train.download import _Redirects
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


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder, and under other paths what a test asks for."""

    def __init__(self, folder, special=None):
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.special = special or {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        name = self.path.partition("?")[0].strip("/")
        if name in self.server.special:
            self.server.special[name](self)
        else:
            super().do_GET()

    def log_message(self, format, *args):
        pass


@pytest.fixture
def served(tmp_path, state):
    folder = tmp_path / "served"
    folder.mkdir()
    torch.save(state, folder / "net.pth")
    return folder


def test_a_url_is_fetched_once(served, work):
    wanted = sha256(served / "net.pth")[:16]
    with Server(served) as server:
        url = server.url("net.pth?download=true")
        first = load_initial_weights(model(url, weights_sha256=wanted), 4)
        with pytest.raises(UserError, match=r"cannot be downloaded \(.*404"):
            load_initial_weights(model(server.url("gone.pth"), weights_sha256=wanted), 4)
        server.shutdown()
    again = load_initial_weights(model(url, weights_sha256=wanted), 4)
    assert again.tags == first.tags
    (kept,) = (work / "weights").iterdir()
    assert kept.name.partition("-")[2] == "net.pth"
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(("name", "digits"), [("net.pth", 0), ("net.pth", 15), ("net-0676ba61.pth", 0)])
def test_what_comes_without_encryption_needs_its_sha256(served, work, name, digits):
    with Server(served) as server:
        wanted = sha256(served / "net.pth")[:digits] or None
        with pytest.raises(UserError, match=r"without encryption.*: give at least 16 digits of its sha256"):
            load_initial_weights(model(server.url(name), weights_sha256=wanted), 4)
        server.shutdown()
    assert not work.exists()


def cut(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    handler.wfile.write(b"x" * 1000)


def huge(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(2**40))
    handler.end_headers()


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"x" * 2**20)


def page(handler):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"<html>no weights</html>")


@pytest.mark.parametrize(
    ("answer", "digits", "message"),
    [
        (cut, "0" * 16, "ended after 1000 of 1000000 bytes"),
        (huge, "0" * 16, "must have at most 4 GiB"),
        (endless, "0" * 16, "must have at most 4 GiB"),
        (page, "0" * 16, r"has sha256 \w{64}, not 0000000000000000: it is another file"),
        (page, hashlib.sha256(b"<html>no weights</html>").hexdigest(), "holds more than weights, or is damaged"),
    ],
)
def test_a_refused_download_leaves_nothing(served, work, monkeypatch, answer, digits, message):
    if answer is endless:
        monkeypatch.setattr("pipelines.train.download.LARGEST_BYTES", 2**24)
        message = "must have at most 0 GiB"
    with Server(served, {"net.pth": answer}) as server:
        with pytest.raises(UserError, match=message):
            load_initial_weights(model(server.url("net.pth"), weights_sha256=digits), 4)
        server.shutdown()
    assert not list((work / "weights").iterdir())


def test_a_redirect_away_from_encryption_is_refused():
    request = urllib.request.Request("https://host/net.pth")
    redirects = _Redirects()
    for code in (301, 302, 303, 307, 308):
        with pytest.raises(urllib.error.URLError, match="without encryption"):
            redirects.redirect_request(request, None, code, "moved", {}, "http://host/net.pth")
        assert redirects.redirect_request(request, None, code, "moved", {}, "https://other/net.pth").host == "other"


def test_credentials_in_a_url_are_refused(work):
    with pytest.raises(UserError, match="in the environment") as told:
        load_initial_weights(model("https://user:secret@127.0.0.1:9/net.pth"), 4)
    assert "secret" not in str(told.value)
    assert not work.exists()


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
