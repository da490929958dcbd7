import pytest

from pipelines.text import columns

pytestmark = pytest.mark.quick


def test_columns_are_aligned():
    rows = [("network", "top-1 %", "data"), ("stm", "9.50", "k400"), ("a longer name", "88.10", "")]
    assert columns(rows, right=(1,)) == [
        "network        top-1 %  data",
        "stm               9.50  k400",
        "a longer name    88.10",
    ]
