"""The short form of the fuzz test: each kind of damage to each video; `make fuzz` is the long form."""

import pytest
from damage import ROUND, case
from promises import Promises
from whole import WHOLES, content

from tasks.video import decode


@pytest.mark.quick
def test_the_same_number_is_the_same_damage():
    data = [case(number).data for number in range(ROUND)]
    assert data == [case(number).data for number in range(ROUND)]
    assert len(set(data)) == ROUND
    assert not {content(whole) for whole in WHOLES} & set(data)


@pytest.mark.quick
@pytest.mark.parametrize("whole", WHOLES, ids=lambda whole: whole.name)
def test_what_is_damaged_was_whole(whole, tmp_path):
    (tmp_path / "video").write_bytes(content(whole))
    frames = decode(str(tmp_path / "video"))
    assert frames.images.shape == (12, *whole.size, 3)


@pytest.mark.campaign
def test_damaged_videos_keep_every_promise(tmp_path):
    kinds = set()
    with Promises(tmp_path) as promises:
        for number in range(ROUND):
            try:
                kinds.add(promises.hold(case(number)).kind)
            except Exception as error:  # noqa: BLE001 - with the number, which leads back to the file
                pytest.fail(
                    f"case {number}: {error}; again: python tests/fuzz --only videos --case {number}; in {tmp_path}"
                )
    assert {"ok", "truncated", "unreadable", "no_video"} <= kinds
