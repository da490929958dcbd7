import pytest
from filelock import FileLock

from cluster import local
from cluster.errors import ClusterError

pytestmark = pytest.mark.quick


def test_a_second_start_in_the_workspace_is_refused(tmp_path):
    (tmp_path / "cluster").mkdir()
    with (
        FileLock(tmp_path / "cluster" / "lock"),
        pytest.raises(ClusterError, match="another `marey cluster up` is starting a cluster in this workspace"),
    ):
        local.up(tmp_path, 1)
    assert not (tmp_path / "cluster.json").exists()
