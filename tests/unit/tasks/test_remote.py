"""Addresses of other machines: no credentials in what is shown or stored."""

import pytest

from tasks.errors import UserError
from tasks.remote import open_url, refuse_credentials, without_credentials

pytestmark = pytest.mark.quick

WITH = {
    "http://user:secret@host/a.mp4": "http://host/a.mp4",
    "https://secret@host/a.mp4?part=1": "https://host/a.mp4?part=1",
    "s3://AKIA:secret@bucket/a@b.mp4": "s3://bucket/a@b.mp4",
    "s3://AKIA:sec/ret@bucket/a.mp4": "s3://bucket/a.mp4",
    "postgresql+psycopg2://user:sec@ret@host:5432/runs": "postgresql+psycopg2://host:5432/runs",
    "mysql://host/runs?ssl_ca=/ca.pem&password=secret": "mysql://host/runs?ssl_ca=/ca.pem",
    "https://b.example/a.mp4?X-Amz-Credential=secret&X-Amz-Date=1&X-Amz-Signature=secret": (
        "https://b.example/a.mp4?X-Amz-Date=1"
    ),
    "https://b.example/a.mp4?sig=secret": "https://b.example/a.mp4",
    "https://b.example/a.mp4?token=secret#t=1": "https://b.example/a.mp4#t=1",
    "zip://a.mp4::https://user:secret@host/b.zip": "zip://a.mp4::https://host/b.zip",
    "simplecache::s3://AKIA:secret@bucket/a": "simplecache::s3://bucket/a",
}
WITHOUT = (
    "/data/user:name@host/a.mp4",
    "http://host:8080/user@host/a.mp4",
    "http://[::1]:8080/a.mp4?part=1&&x=",
    "https://host/a.mp4?",
    "s3://bucket/a@b:c@d.mp4",
    "abfs://container@account.dfs.core.windows.net/a.mp4",
    "sftp://user@host/a.mp4",
    "sqlite:////data/mlflow.db?timeout=9",
)


@pytest.mark.parametrize("address", WITH)
def test_credentials_are_taken_out(address):
    assert without_credentials(address) == WITH[address]
    told = without_credentials(f"cannot open '{address}': refused")
    assert "secret" not in told
    assert told.endswith(" refused")


@pytest.mark.parametrize("address", WITHOUT)
def test_everything_else_stays(address):
    assert without_credentials(address) == address
    refuse_credentials(address)


@pytest.mark.parametrize("address", WITH)
def test_an_address_with_credentials_is_not_opened(address):
    with pytest.raises(UserError, match="in the environment") as told:
        open_url(address)
    assert "secret" not in str(told.value)
