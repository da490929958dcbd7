import pytest

from tasks.words import counted

pytestmark = pytest.mark.quick


def test_one_is_not_several():
    assert [counted(number, "video") for number in (0, 1, 2, 1000)] == [
        "0 videos",
        "1 video",
        "2 videos",
        "1,000 videos",
    ]
    assert [counted(number, "class") for number in (1, 2)] == ["1 class", "2 classes"]
    assert [counted(number, "shard holds", "shards hold") for number in (1, 2)] == ["1 shard holds", "2 shards hold"]
