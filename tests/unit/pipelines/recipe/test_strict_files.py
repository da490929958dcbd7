"""What the file of a recipe may be: its structure, its size, its encoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from strict_recipes import BASE, refusal

from pipelines import recipe as recipes
from pipelines.recipe.strict_yaml import LARGEST_FILE

pytestmark = pytest.mark.quick


def test_merge_keys_are_read(file: Path) -> None:
    file.write_text(
        f"{BASE}train: {{lr: 0.1, epochs: 3}}\n"
        "prepare:\n  <<: {short_side: 64, rgb_quality: 90}\n  flow: none\n  short_side: 72\n"
        "evaluate:\n  <<: [{clips: 2}, {clips: 3, crops: 1}]\n"
    )
    recipe = recipes.load(file)
    assert (recipe.prepare.short_side, recipe.prepare.rgb_quality, recipe.prepare.flow) == (72, 90, "none")
    assert (recipe.evaluate.clips, recipe.evaluate.crops) == (2, 1)
    file.write_text(f"{BASE}model.options: 3\n")
    assert "unknown field 'model.options'" in refusal(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train:\n  <<: 3\n", "line 5: << takes a section, or a list of sections"),
        ("train:\n  <<: {lr: 1}\n  <<: {lr: 2}\n", "line 6: << is given twice"),
        ("train: {lr: 1}\ntrain: {lr: 2}\n", "line 5: train is given twice"),
        ("train: {'lr': 1, lr: 2}\n", "line 4: lr is given twice"),
        ("train: {1: 2}\n", "line 4: a name must be text, not 1"),
        ("? [a]\n: 1\n", "line 4: a name must be text"),
        ("train: {null: 2}\n", "line 4: a name must be text, not None"),
        ("train:\n", "train is empty (null): give it fields, or leave it out"),
        ("train: !!map {}\n", "recipes have no tags such as tag:yaml.org,2002:map"),
        ("train: {lr: !!float 1}\n", "line 4: recipes have no tags"),
        ("train: {lr: !own 1}\n", "line 4: recipes have no tags such as !own"),
        ("--- \nname: other\n", "is not YAML: line 4: but found another document"),
        ("train: *base\n", "is not YAML: line 4: found undefined alias 'base'"),
    ],
)
def test_the_structure_is_read_strictly_too(file: Path, text: str, says: str) -> None:
    file.write_text(BASE + text)
    assert says in refusal(file)


BOMB = "".join(f"    a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))

HOSTILE = {
    "aliases": f"  options:\n    a0: &a0 [{', '.join('x' * 10)}]\n{BOMB}",
    "merged aliases": "  options:\n    m0: &m0 {a: 1}\n"
    + "".join(f"    m{i}: &m{i}\n      <<: [{', '.join([f'*m{i - 1}'] * 10)}]\n" for i in range(1, 9)),
    "an alias of itself": "  options: &a [*a]\n",
    "aliases of itself": "  options: &a [*a, *a, *a]\n",
    "a merge of itself": "  options: &a\n    <<: *a\n",
    "depth": f"  options: {'[' * 2000}{']' * 2000}\n",
    "deep sections": f"  options: {'{a: ' * 1000}1{'}' * 1000}\n",
    "size": f"  # {'x' * LARGEST_FILE}\n",
    "values": f"  options: [{', '.join('1' * 20_000)}]\n",
    "a long number": f"  options: {{a: {'9' * 50_000}}}\n",
    "a long key": f"  options: {{[{'a, ' * 9000}]: 1}}\n",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_would_cost_much_is_refused_at_once(file: Path, kind: str, cpu_s: Any) -> None:
    file.write_text(f"name: bomb\ndata: {{dataset: d}}\nmodel:\n  name: tsn\n{HOSTILE[kind]}")
    with cpu_s(10):
        said = refusal(file)
    assert len(said) < 400


@pytest.fixture
def cpu_s():
    """A block that may take so many seconds of the CPU: a bomb takes minutes, what is refused a fraction of one."""
    from contextlib import contextmanager
    from time import process_time

    @contextmanager
    def within(limit: float):
        begin = process_time()
        yield
        assert process_time() - begin < limit

    return within


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfen\x00a\x00", "is not UTF-8 text (byte 1): save it as UTF-8"),
        (b"name: a\x00b\n", "is not YAML"),
        (b"name: \x1b[31m\n", "is not YAML"),
        (b'name: "a\\0b"\ndata: {dataset: d}\n', "name holds a NUL character"),
        (b'name: "\\uD800"\ndata: {dataset: d}\n', "name is text that UTF-8 cannot write"),
        (b"", "holds no fields"),
        (b"# nothing\n", "holds no fields"),
        (b"- a\n", "holds no fields"),
        (b"name\n", "holds no fields"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_sentence(file: Path, content: bytes, says: str) -> None:
    file.write_bytes(content)
    assert says in refusal(file)


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    assert "no recipe at" in refusal(tmp_path / "folder.yaml")
    assert "no recipe" in refusal("x" * 5000)


def test_a_byte_order_mark_is_no_part_of_a_name(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    assert recipes.load(file).name == "strict"
