import pytest

from tasks.files import move_into_place, replacing

pytestmark = pytest.mark.quick


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path):
    path = tmp_path / "state.json"
    path.write_text("old")
    with replacing(path) as aside, open(aside, "w") as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


def test_a_file_stays_as_it_was_when_the_block_fails(tmp_path):
    path = tmp_path / "state.json"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), replacing(path) as aside, open(aside, "w", encoding="ascii") as file:
        file.writelines(["half of it", "é"])
    with pytest.raises(ValueError, match="nothing"), replacing(path):
        raise ValueError("nothing was written")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


def test_a_path_without_a_folder_is_replaced_in_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with replacing("state.json") as aside, open(aside, "w") as file:
        file.write("new")
    assert (tmp_path / "state.json").read_text() == "new"


def test_a_folder_takes_the_place_of_the_one_before(tmp_path):
    for name, content in (("checkpoint", "old"), ("aside", "new")):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / content).write_text(content)
    move_into_place(tmp_path / "aside", tmp_path / "checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert [path.read_text() for path in (tmp_path / "checkpoint" / "deep").iterdir()] == ["new"]
