"""The short form of the fuzz test of lists; `make fuzz` is the long form."""

import pytest
from lists import SOURCES, Sources

pytestmark = pytest.mark.quick


def test_what_is_damaged_was_whole(tmp_path):
    sources = Sources(tmp_path)
    assert all(sources.read(layout) for layout in SOURCES)


def test_damaged_lists_make_a_dataset_or_one_line(tmp_path):
    sources = Sources(tmp_path)
    read = 0
    for number in range(600):
        try:
            read += sources.hold(number)
        except Exception as error:  # noqa: BLE001 - with the number, which leads back to the damage
            pytest.fail(
                f"case {number}: {type(error).__name__}: {error}; again: python tests/fuzz --only lists --case {number}"
            )
    assert 20 < read < 580
