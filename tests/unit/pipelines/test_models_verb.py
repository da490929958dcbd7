"""`marey models`, as a plain function."""

import json
import re

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
    assert "36.7 M [36.72], 400 classes" in rows["r3d50"]
    assert "none" in rows["dsts_swin_b"]


def accuracies(capsys: pytest.CaptureFixture[str], network: str) -> list[list[str]]:
    """Data, figures and conditions of a network in the second table."""
    assert main(Args()) == 0
    lines = capsys.readouterr().out.rpartition("\n\n")[2].splitlines()
    cells = [re.split(r" {2,}", line) for line in lines]
    return [row for name, *row in cells if name == network]


def test_conditions_are_those_that_a_source_states(capsys: pytest.CaptureFixture[str]) -> None:
    assert accuracies(capsys, "mtnet_l") == [
        ["HACS", "86.6 / 96.7", "from scratch"],
        ["Kinetics-400", "78.1 / 93.2", "from HACS"],
        ["UCF101", "97.4 / 99.2", "from HACS"],
        ["Moments in Time", "35.2", "from HACS"],
    ]
    assert ["Diving48", "86.2, mean class 76", "v2 labels, as DSTS lists it"] in accuracies(capsys, "tpn")
    assert ["Something-Something v2", "67.2 / 89.2", "not stated"] in accuracies(capsys, "dsts_tpn")


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
