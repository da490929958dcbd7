import pytest

from pipelines import recipe as recipes
from pipelines.errors import UserError

pytestmark = pytest.mark.quick


def compute(workers):
    return recipes.load("stm_ssv2", [f"compute.workers={workers}"]).compute


def test_workers_are_a_number_or_a_range():
    assert (compute("4").fewest, compute("4").most) == (4, 4)
    assert (compute("[2, 8]").fewest, compute("[2, 8]").most) == (2, 8)
    recipe = recipes.load("stm_ssv2", ["compute.workers=[2, 8]"])
    assert recipes.to_dict(recipe)["compute"]["workers"] == [2, 8]
    assert recipes.parse(recipes.to_dict(recipe)) == recipe


@pytest.mark.parametrize("workers", ["0", "[0, 2]", "[3, 2]", "[1, 2, 3]", "[2]", "true", "two", "2.5"])
def test_anything_else_is_refused_by_name(workers):
    with pytest.raises(UserError, match=r"compute\.workers"):
        compute(workers)
