"""All verbs as jobs, submitted from a nested folder with paths that lead out of it."""

import numpy as np
import pytest
from walk import MADE, WALK, lay_out

from tasks.video.codecs import write_mp4

pytestmark = pytest.mark.cluster


@pytest.fixture
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    random = np.random.default_rng(0)
    for label in ("left", "right"):
        (folder / label).mkdir()
        for index in range(10):
            frames = random.integers(0, 255, (8, 48, 48, 3), dtype=np.uint8)
            write_mp4(folder / label / f"{index}.mp4", frames, 25, crf=30, keyframe_every=8)
    return folder


def test_every_verb_as_a_job_finds_what_lies_beside_its_folder(marey, workspace, small, tmp_path):
    here = lay_out(tmp_path, small)
    for words in WALK:
        done = marey("submit", "--", *words, cwd=here, MAREY_WORK=workspace)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    assert {entry.name for entry in tmp_path.iterdir()} == MADE
    assert list(here.iterdir()) == []
