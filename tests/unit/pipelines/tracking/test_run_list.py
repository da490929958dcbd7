import json

import pytest

from pipelines.tracking.run_list import VIEW_TAG, about, first_tags, page_of

pytestmark = pytest.mark.quick


def test_tags_say_what_a_run_is_and_hide_passwords():
    assert about("stm rgb 8x224x224", "/data/ucf101", "split2") == {
        "what": "stm rgb 8x224x224",
        "dataset": "ucf101 (split2)",
    }
    assert about("x", "s3://key:secret@host/bucket/set")["dataset"] == "set"


def test_the_page_names_the_view_that_the_experiment_has():
    view = json.loads(first_tags()[VIEW_TAG])
    assert set(view["selectedColumns"]) < set(view["columnOrder"]) == set(view["columnWidths"])
    assert page_of("7", first_tags()).endswith("/7/runs?workflowType=machine_learning&viewStateShareKey=marey")
    assert page_of("7", {}).endswith("/7/runs?workflowType=machine_learning")
    assert page_of(None, {}) == "/#/experiments?workflowType=machine_learning"
