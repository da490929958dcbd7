import pytest

from cluster.errors import ClusterError
from models.common.errors import ModelError
from pipelines.errors import UserError
from pipelines.tune.trial import is_final
from tasks.learn import DivergedError

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("error", [DivergedError("the loss is no longer finite"), ModelError("no option alpha")])
def test_what_comes_of_the_values_of_a_trial_is_final(error):
    assert is_final(error)
    wrapper = RuntimeError("the worker has failed")
    wrapper.__cause__ = error
    assert is_final(wrapper)


@pytest.mark.parametrize(
    "error", [UserError("no space left"), ClusterError("MLflow is away"), MemoryError(), KeyError("defect")]
)
def test_what_comes_of_where_a_trial_runs_is_not(error):
    assert not is_final(error)
