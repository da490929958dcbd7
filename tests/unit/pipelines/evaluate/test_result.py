"""Names of an evaluation's folders."""

import pytest

from pipelines.evaluate.result import LONGEST_NAME, joined

pytestmark = pytest.mark.quick


def test_many_names_make_no_name_that_a_disk_refuses():
    assert joined(["rgb", "flow"]) == "rgb+flow"
    people = [f"person-{number}" for number in range(100)]
    assert joined(people) == joined(list(people)) != joined([*people[:-1], "other"])
    assert len(joined(people).encode()) <= LONGEST_NAME
    assert joined(people).startswith("100-")
