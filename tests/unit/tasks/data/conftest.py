"""Small copies of the published datasets."""

import shutil

import published_layouts as published
import pytest
from published_lists import LAYOUTS


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    """A copy of each, which tests only read."""
    root = tmp_path_factory.mktemp("published")
    return {name: getattr(published, name)(root / name) for name in LAYOUTS}


@pytest.fixture
def copy(originals, tmp_path):
    """A dataset that the test may change."""

    def make(name):
        shutil.copytree(originals[name], tmp_path / name)
        return tmp_path / name

    return make
