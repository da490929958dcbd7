"""Which tests share a process of pytest-xdist: those beside tests/unit start clusters and servers, one at a time."""

from pathlib import Path

import pytest

UNIT = Path(__file__).parent / "unit"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group them for `--dist loadgroup`; the tests of tests/unit go wherever there is room."""
    for item in items:
        if not item.path.is_relative_to(UNIT):
            item.add_marker(pytest.mark.xdist_group("machine"))
