"""A video in pieces becomes the same record, whatever their order."""

import random

import pytest

from tasks.data.assembly import Assembly, Piece
from tasks.video import VideoError

pytestmark = pytest.mark.quick
LIMIT = 10


def piece(number, total, decoder="decord", known=True):
    first = number * LIMIT
    last = total - first <= LIMIT + 1
    frames = total - first if last else LIMIT
    facts = {"width": 4, "height": 3, "fps": 25.0, "decoder": decoder}
    seconds = {"decode": 1.0, "flow": 2.0, "encode": 0.5}
    members = [(f"{number}", b"")]
    return Piece(first, frames, frames - last, last, total if known else None, facts, members, 0, seconds)


def assemble(outcome, choose):
    """Answer requests in the order of `choose`; return the record, the requests, and the most that were open."""
    assembly = Assembly("v", LIMIT)
    open_requests, asked, most = [assembly.first()], [], 0
    while open_requests:
        most = max(most, len(open_requests))
        request = open_requests.pop(choose(len(open_requests)))
        asked.append((request.number, request.decoder))
        open_requests += assembly.take(request, outcome(request))
    assert assembly.done
    return assembly, asked, most


@pytest.mark.parametrize(
    ("total", "sizes"),
    [(2, [2]), (10, [10]), (11, [11]), (12, [10, 2]), (21, [10, 11]), (22, [10, 10, 2]), (47, [10, 10, 10, 10, 7])],
)
@pytest.mark.parametrize("known", [True, False])
def test_the_order_of_parts_does_not_matter(total, sizes, known):
    records = []
    for seed in range(5):
        shuffle = random.Random(seed)
        assembly, asked, most = assemble(lambda request: piece(request.number, total, known=known), shuffle.randrange)
        assert sorted(asked) == [(n, "auto" if n == 0 else "decord") for n in range(len(sizes))]
        assert most == (max(1, len(sizes) - 1) if known else 1)
        assert [name for name, _ in assembly.members()] == [str(n) for n in range(len(sizes))]
        records.append(assembly.record())
    assert all(record == records[0] for record in records)
    assert [p["frames"] for p in records[0]["pieces"]] == sizes
    assert (records[0]["frames"], records[0]["flows"]) == (total, total - 1)
    assert records[0]["seconds"] == 3.5 * len(sizes)


def test_where_decord_fails_late_pyav_reads_all():
    def outcome(request):
        if request.decoder == "pyav":
            return piece(request.number, 47, "pyav", known=False)
        return VideoError("unreadable", "decord") if request.number == 2 else piece(request.number, 47)

    for seed in range(5):
        assembly, asked, _ = assemble(outcome, random.Random(seed).randrange)
        assert assembly.record()["decoder"] == "pyav"
        assert assembly.record()["frames"] == 47
        assert [number for number, decoder in asked if decoder == "pyav"] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("failing", [0, 3])
def test_what_no_decoder_reads_has_failed_and_no_part_stays(failing):
    def outcome(request):
        if request.number == failing:
            return VideoError("truncated", "here")
        return piece(request.number, 47, "pyav" if request.decoder == "pyav" else "decord")

    for seed in range(5):
        assembly, asked, _ = assemble(outcome, random.Random(seed).randrange)
        record = assembly.record()
        assert (record["status"], record["kind"], record["message"]) == ("failed", "truncated", "here")
        assert (record["frames"], record["pieces"], record["seconds"], assembly.members()) == (0, [], 0, [])
        assert any(decoder == "pyav" for _, decoder in asked) == (failing > 0)


def test_what_comes_late_of_an_earlier_reading_is_not_wanted():
    assembly = Assembly("v", LIMIT)
    later = assembly.take(assembly.first(), piece(0, 47))
    (again,) = assembly.take(later[0], VideoError("unreadable", "decord"))
    assert not assembly.wants(later[1])
    assert assembly.take(later[1], piece(2, 47)) == []
    assert assembly.wants(again)
