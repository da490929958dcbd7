"""Tokens: readable by their owner alone, wherever they lie, and nothing else is taken for one."""

import os
import stat

import pytest

from cluster import token
from cluster.errors import ClusterError

pytestmark = pytest.mark.quick


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_its_owners_alone(home, tmp_path, monkeypatch):
    path = tmp_path / "token"
    value = token.create(path)
    assert mode(path) == 0o600
    assert token.create(path) != value
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    assert token.read() == path.read_text()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "other")
    assert token.read() == "other"
    assert token.header(None) == {}


def test_the_one_in_the_home_is_made_private_before_ray_would_open_it(home, tmp_path):
    before = os.umask(0)
    try:
        assert token.provide(tmp_path / "aside") is None
    finally:
        os.umask(before)
    path = home / ".ray" / "auth_token"
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert list(path.parent.iterdir()) == [path]
    value = token.read()
    assert token.provide(tmp_path / "aside") is None
    assert token.read() == value
    assert not (tmp_path / "aside").exists()


def test_one_that_ray_has_left_open_is_tightened(home, tmp_path):
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.parent.chmod(0o777)
    path.write_text("a" * 64)
    path.chmod(0o644)
    assert token.provide(tmp_path / "aside") is None
    assert (mode(path), mode(path.parent), token.read()) == (0o600, 0o755, "a" * 64)


def test_an_empty_one_is_replaced(home, tmp_path):
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.touch()
    assert token.provide(tmp_path / "aside") is None
    assert len(token.read()) == 64
    assert mode(path) == 0o600


@pytest.mark.parametrize("reason", ["no home", "home is not there", "home is a file", "another account's"])
def test_where_the_home_cannot_hold_it(home, tmp_path, monkeypatch, reason):
    if reason == "no home":
        monkeypatch.delenv("HOME")
    elif reason == "home is not there":
        monkeypatch.setenv("HOME", "/nonexistent")
    elif reason == "home is a file":
        (home / ".ray").touch()
    else:
        if os.geteuid() != 0:
            pytest.skip("only root can make what another account owns")
        (home / ".ray").mkdir()
        (home / ".ray" / "auth_token").write_text("a" * 64)
        os.chown(home / ".ray" / "auth_token", 12345, 12345)
    aside = tmp_path / "aside"
    assert token.provide(aside) == aside
    assert mode(aside) == 0o600


@pytest.mark.parametrize("content", [b"two words", b"one\ntwo", b"caf\xc3\xa9", b"a" * 5000, b"\x00"])
def test_what_is_no_token_is_never_sent(home, tmp_path, monkeypatch, content):
    path = tmp_path / "letter"
    path.write_bytes(content)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    with pytest.raises(ClusterError, match=f"{path} holds no token"):
        token.read()


def test_a_named_file_that_is_not_there(home, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nonexistent")
    with pytest.raises(ClusterError, match="RAY_AUTH_TOKEN_PATH=/nonexistent is not a file"):
        token.read()
