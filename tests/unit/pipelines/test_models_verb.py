"""`marey models`, as a plain function."""

import json

import pytest

import models
from pipelines.commands.models import Args, main


def test_the_table_has_every_network_with_exact_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(Args()) == 0
    text = capsys.readouterr().out
    rows = {line.split()[0]: line for line in text.split("\n\n")[0].splitlines()[1:]}
    assert list(rows) == models.names()
    assert "24,498,740" in rows["stm"]
    assert "24 M [24.04], 66.5 G [66.51], 174 classes" in rows["stm"]
    assert "24,327,632" in rows["tsn"]
    assert "23.87 M [23.86], 32.88 G [32.88], 174 classes" in rows["tsn"]
    assert "50.7 / 80.4" in text


def test_json_holds_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(Args(json=True)) == 0
    by_name = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert list(by_name) == models.names()
    stm = by_name["stm"]
    assert stm["parameters"] == 24_498_740
    assert stm["reference_parameters"] == 24_035_666
    assert stm["gmacs"] == pytest.approx(66.151, rel=1e-3)
    assert stm["gmacs_with_bn"] == pytest.approx(66.510, rel=1e-3)
    assert stm["reference"] == {"classes": 174, "frames": 16, "size": 224, "parameters_m": 24, "gmacs": 66.5}
