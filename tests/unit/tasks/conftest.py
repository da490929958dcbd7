import pytest
from small_dataset import write_dataset


@pytest.fixture(scope="session")
def small_root(tmp_path_factory):
    """A prepared dataset of 12 small videos of two classes: one failed, one in two pieces."""
    return write_dataset(tmp_path_factory.mktemp("small") / "data")
