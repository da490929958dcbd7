"""All verbs as jobs, submitted from a nested folder with paths that lead out of it."""

import pytest
from walk import MADE, WALK, lay_out

pytestmark = pytest.mark.cluster


@pytest.mark.campaign  # eight jobs, of which each starts a driver: minutes
def test_every_verb_as_a_job_finds_what_lies_beside_its_folder(marey, workspace, tmp_path):
    here = lay_out(tmp_path)
    for words in WALK:
        done = marey("submit", "--", *words, cwd=here, MAREY_WORK=workspace)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    assert {entry.name for entry in tmp_path.iterdir()} == MADE
    assert list(here.iterdir()) == []
