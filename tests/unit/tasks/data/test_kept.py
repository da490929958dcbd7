"""What is kept of videos whose shard is not committed: found again, or as good as absent."""

from dataclasses import replace

import pyarrow as pa
import pytest

from tasks.data import kept, storage
from tasks.data.assembly import Assembly, Piece, Request
from tasks.data.kept import KeptVideo
from tasks.data.shard import ShardPlan
from tasks.errors import UserError
from tasks.video import VideoError

pytestmark = pytest.mark.quick
ROW = {"video_id": "a%2F行動", "uri": "/a/行動.mp4", "label": "a", "start_s": None, "end_s": 1.5}
LIMIT = 8
FIRST = Request(0, "auto")


def piece(number=0, last=True, total=None):
    facts = {"width": 32, "height": 24, "fps": 29.97, "decoder": "pyav"}
    members = [(f"v{number}.json", b"{}"), (f"v{number}.rgb.arrow", bytes(range(256)) * 9), (f"v{number}.empty", b"")]
    seconds = {"decode": 0.1, "flow": 0.2, "encode": 1 / 3}
    size = sum(len(content) for _, content in members)
    return Piece(number * LIMIT, LIMIT, LIMIT - last, last, total, facts, members, size, seconds)


@pytest.fixture(params=["local", "remote"])
def root(request, tmp_path):
    yield str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"
    kept.remove(f"memory://{tmp_path.name}")


def video(root, number=0, row=ROW, settings="settings", retry_failed=False):
    return KeptVideo.of(root, 3, number, row, settings, retry_failed)


def test_a_piece_comes_back_with_every_byte(root):
    place, made = video(root), piece()
    assert place.read(FIRST) is None
    place.write(FIRST, made)
    assert place.read(FIRST) == place.glance(FIRST) == replace(made, members=[])
    (members,) = kept.read_members([place.path(FIRST)])
    assert [(name, bytes(content)) for name, content in members] == made.members
    assert place.read(Request(0, "pyav", 1)) is None


def test_a_failure_is_kept_unless_it_may_pass(root):
    place = video(root)
    place.write(FIRST, VideoError("timeout", "took too long"))
    assert place.read(FIRST) is None
    place.write(FIRST, VideoError("truncated", "ends early"))
    found = place.read(FIRST)
    assert (found.kind, found.message) == ("truncated", "ends early")
    assert video(root, retry_failed=True).read(FIRST) is None


def test_what_was_made_of_something_else_is_absent(root):
    video(root).write(FIRST, piece())
    for other in (video(root, settings="others"), video(root, row=ROW | {"label": "b"}), video(root, number=1)):
        assert other.read(FIRST) is None
        assert other.glance(FIRST) is None


def test_what_is_damaged_is_absent(root):
    place = video(root)
    place.write(FIRST, piece())
    whole = storage.read_bytes(place.path(FIRST))
    places = [0, 5, 9, 12, 18, 40, whole.index(b'"frames"'), whole.index(b"\n", 20), len(whole) // 2, len(whole) - 1]
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in places]
    cut = [whole[:size] for size in (0, 1, 17, 18, 19, 100, len(whole) // 2, len(whole) - 1)]
    for damaged in [*flipped, *cut, whole + b"x", b"\n\n\n", bytes(len(whole))]:
        storage.publish(place.path(FIRST), damaged)
        assert place.read(FIRST) is None
        place.glance(FIRST)
        with pytest.raises(UserError, match=r"is damaged: run the same `marey prepare` again"):
            list(kept.read_members([place.path(FIRST)]))
    with pytest.raises(UserError, match="was removed while it was needed"):
        list(kept.read_members([video(root, number=9).path(FIRST)]))


def test_the_videos_of_which_all_pieces_are_kept_are_counted(root):
    rows = [ROW | {"video_id": str(number)} for number in range(6)]
    manifest = pa.Table.from_pylist(rows)
    plans = [ShardPlan(3, (4, 0, 1, 2, 3)), ShardPlan(4, (5,))]

    def count(settings="settings", retry_failed=False):
        return kept.finished(root, plans, manifest, settings, LIMIT, retry_failed)

    assert count() == set()
    whole, half, failed = (video(root, number, rows[number]) for number in (0, 1, 4))
    for place, numbers in ((whole, (0, 1, 2)), (half, (0, 2))):
        assembly = Assembly("", LIMIT)
        following = [assembly.first(), *assembly.take(assembly.first(), piece(0, False, 3 * LIMIT))]
        for number in numbers:
            place.write(following[number], piece(number, number == 2, 3 * LIMIT))
    failed.write(FIRST, VideoError("empty", "no bytes"))
    storage.publish(storage.join(root, kept.FOLDER, "000003", ".tmp"), b"")
    storage.publish(storage.join(root, kept.FOLDER, "stray"), b"")
    assert count() == {0, 4}
    assert count(retry_failed=True) == {0}
    assert count(settings="others") == set()
    kept.remove(root, 3)
    assert count() == set()
    kept.remove(root)
    kept.remove(root)
    assert not storage.exists(storage.join(root, kept.FOLDER))
