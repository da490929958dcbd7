"""`marey bench`, as a plain function."""

import json

import pytest
import torch
from small_dataset import write_dataset

from pipelines.commands.bench import Args, main
from pipelines.errors import UserError

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def small_root(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def recipe(small_root, tmp_path_factory):
    file = tmp_path_factory.mktemp("bench") / "small.yaml"
    file.write_text(
        f"name: small\ndata: {{dataset: {small_root}}}\nmodel: {{name: tsn, options: {{tiny: true}}}}\n"
        "input: {size: 32, segments: 2}\ntrain: {batch_size: 4, micro_batches: 2, loader_threads: 1}\n"
    )
    return str(file)


def told(capsys, **arguments):
    assert main(Args(json=True, **arguments)) == 0
    return json.loads(capsys.readouterr().out)


def test_the_loader_reads_the_clips_of_a_recipe_or_of_tsn(small_root, recipe, capsys):
    found = told(capsys, part="loader", subject=small_root, recipe=recipe, clips=30, threads=3)
    assert (found["frames"], found["size"], found["threads"], found["stream"]) == (2, 32, 3, "rgb")
    assert found["clips"] == 32  # whole steps of 4
    assert min(found["clips_per_s"], found["cpu_ms_per_clip"], found["first_batch_s"], found["augment_percent"]) > 0
    assert 0 < found["decode_percent"] <= 110
    assert told(capsys, part="loader", subject=small_root, clips=1)["size"] == 224
    assert main(Args(part="loader", subject=small_root, clips=1)) == 0
    assert "x 224 x 224, rgb" in capsys.readouterr().out


def test_steps_are_taken_with_clips_in_memory(recipe, capsys):
    found = told(capsys, part="step", subject=recipe, steps=2)
    assert (found["network"], found["device"], found["steps"], found["shares"]) == ("tsn, rgb", "cpu", 2, 2)
    assert 4000 / found["step_ms"] == pytest.approx(found["clips_per_s"])
    assert found["percent"]["upstream"] == 0 < min(found["percent"][name] for name in ("forward", "backward", "copy"))
    assert sum(found["percent"].values()) <= 100
    assert found["loader"]["clips"] == 8
    assert 0 <= found["saved_by_free_loader_percent"] < 100
    assert main(Args(part="step", subject=recipe, steps=1, set=("train.batch_size=2",))) == 0
    text = capsys.readouterr().out
    assert "2 clips per step in 1 share, on cpu" in text
    assert "is the limit" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"part": "step", "steps": 0}, "--steps must be at least 1, not 0"),
        ({"part": "loader", "set": ("input.size=64",)}, "name the recipe with --recipe"),
        pytest.param(
            {"part": "step", "set": ("compute.gpus_per_worker=1",)},
            "asks for a GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
    ],
)
def test_mistakes_are_sentences(recipe, arguments, message):
    with pytest.raises(UserError, match=message):
        main(Args(subject=recipe, **arguments))
