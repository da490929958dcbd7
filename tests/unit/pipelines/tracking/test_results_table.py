import pytest

from pipelines.tracking.results_table import with_results

pytestmark = pytest.mark.quick
VAL = {"loss": 0.6325, "top1_percent": 76.25, "top5_percent": 100.0, "mean_class_percent": 75.04}
TABLE = """\
```
measured on    top-1 %  top-5 %  mean class %   loss
test, 2 views     50.0     80.0          50.0  1.000
val               76.2    100.0          75.0  0.632
train             72.5        -             -  0.711
```"""


def test_rows_are_added_and_replaced_and_other_words_stay():
    first = with_results("**stm**.", {"val": VAL, "train": {"top1_percent": 72.5, "loss": 0.711}})
    assert first.startswith("**stm**.\n\n```\nmeasured on")
    mine = first.replace("**stm**.", "**stm**, my best.") + "\n\nKept for the paper.\n\n```\nother code\n```"
    tested = {"loss": 1.0, "top1_percent": 25.0, "top5_percent": 80.0, "mean_class_percent": 50.0}
    again = with_results(
        with_results(mine, {"test, 2 views": tested}), {"test, 2 views": {**tested, "top1_percent": 50.0}}
    )
    assert again == f"**stm**, my best.\n\n{TABLE}\n\nKept for the paper.\n\n```\nother code\n```"


def test_a_description_without_a_table_gets_one():
    assert with_results("", {"val": VAL}).count("\n") == 3
    assert with_results("Mine.", {"val": VAL}).startswith("Mine.\n\n```\n")
