import numpy as np
import pytest

from tasks.seeds import generator, seed

pytestmark = pytest.mark.quick


def test_the_numbers_are_those_of_philox_with_the_hashed_key():
    key = (3, 1, "video", 0)
    expected = np.random.Generator(np.random.Philox(key=seed(*key)))
    drawn = generator(*key)
    np.testing.assert_array_equal(drawn.integers(0, 1 << 40, 9), expected.integers(0, 1 << 40, 9))
    np.testing.assert_array_equal(drawn.random(9), expected.random(9))
    assert generator(*key).random() != generator(*key[:-1], 1).random()
