"""Damaged checkpoints: a round of each damage to each file, and a campaign."""

import pytest
from checkpoints import DAMAGES, FILES, hold, make

ROUND = len(DAMAGES) * len(FILES)


@pytest.mark.quick
def test_each_damage_is_refused(tmp_path):
    whole = make(tmp_path / "whole")
    assert all(hold(whole, tmp_path / "damaged", number) for number in range(4 * ROUND))


@pytest.mark.campaign
def test_thousands_of_damaged_checkpoints_are_refused_unless_they_say_the_same(tmp_path):
    whole = make(tmp_path / "whole")
    for number in range(4 * ROUND, 300 * ROUND):
        try:
            hold(whole, tmp_path / "damaged", number)
        except Exception as error:  # noqa: BLE001 - with the number, which makes the damage again
            pytest.fail(f"case {number}: {type(error).__name__}: {error}")
