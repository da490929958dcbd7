"""The short form of the campaign of damaged recipes; `make fuzz` is the long one."""

from collections import Counter

import damaged_recipes
import pytest

ROUND = 200


@pytest.mark.quick
def test_the_same_number_is_the_same_recipe_and_word():
    for make in (damaged_recipes.text, damaged_recipes.word):
        made = [make(number) for number in range(ROUND)]
        assert made == [make(number) for number in range(ROUND)]
        assert len(set(made)) > 0.6 * ROUND


@pytest.mark.quick
def test_a_damaged_recipe_is_a_recipe_or_a_sentence(tmp_path):
    ends = Counter()
    for number in range(ROUND):
        try:
            ends[damaged_recipes.hold(number, tmp_path)] += 1
        except Exception as error:  # noqa: BLE001 - with the number, which leads back to the file
            again = f"again: python tests/fuzz --only recipes --case {number}"
            pytest.fail(f"recipe {number}: {type(error).__name__}: {error}; {again}")
    assert {"read read", "read refused", "refused read", "refused refused"} == ends.keys()
