import json
from collections import Counter
from hashlib import sha256
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.protocol import tags
from assay.protocol.encoding import encode
from assay.protocol.evidence.draw import (
    DrawFacts,
    Seat,
    compute_draw_id,
    count_seats,
    draw_quorum,
    draw_seats,
    draw_sub_quorum,
    select_private,
    select_sample,
)
from assay.protocol.evidence.selection import select_intervals
from tools import draw_vectors

VECTORS = json.loads(draw_vectors.PATH.read_text(encoding="utf-8"))
FACTS = DrawFacts(bytes(32), 5, 7, bytes([1] * 32), 4, 3, 20, 5, 0)


def make_seats(stakes):
    """Return seats with these stakes, sorted by account."""
    return tuple(Seat(bytes([i]) * 32, stake) for i, stake in enumerate(stakes))


def make_stream(tag, data):
    """Yield the words of a stream, written out."""
    for block in range(10**6):
        digest = sha256(tag.to_bytes(2, "little") + data + block.to_bytes(8, "little")).digest()
        yield from (int.from_bytes(digest[i : i + 8], "little") for i in (0, 8, 16, 24))


def draw_slowly(tag, data, seats, count):
    """Return the drawn accounts: one list entry for each point of stake, no other trick."""
    words = make_stream(tag, data)
    left = list(seats)
    drawn = []
    while left and len(drawn) < count:
        tickets = [seat for seat in left for _ in range(seat.stake)]
        word = next(words)
        while word >= 2**64 - 2**64 % len(tickets):
            word = next(words)
        chosen = tickets[word % len(tickets)]
        drawn.append(chosen)
        left.remove(chosen)
    return tuple(drawn)


def test_the_id_of_a_draw():
    """DRW-1: every fact changes the id; it is SHA-256 of the tag and the record."""
    assert compute_draw_id(FACTS) == sha256(b"\x30\x00" + encode(FACTS)).digest()
    assert tags.DRAW == 0x30
    values = [getattr(FACTS, name) for name in FACTS.__struct_fields__]
    others = [value + 1 if isinstance(value, int) else bytes([9] * 32) for value in values]
    ids = {compute_draw_id(DrawFacts(*values[:i], others[i], *values[i + 1 :])) for i in range(len(values))} | {
        compute_draw_id(FACTS)
    }
    assert len(ids) == len(values) + 1


@given(st.binary(min_size=32, max_size=32), st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(0, 14))
def test_seats_are_drawn_like_tickets(randomness, stakes, count):
    """DRW-2, DRW-3: the drawn seats are those of an urn with one ticket for each point of stake."""
    seats = make_seats(stakes)
    drawn = draw_seats(tags.QUORUM, randomness, seats, count)
    assert drawn == draw_slowly(tags.QUORUM, randomness, seats, count)
    assert len(set(drawn)) == len(drawn) == min(count, len(seats))


def test_chances_follow_the_stake():
    """DRW-3: over 4,000 draws of one of three, each comes as often as its share of the stake says."""
    seats = make_seats((1, 2, 5))
    seen = Counter(draw_quorum(sha256(b"%d" % i).digest(), seats, 1)[0].stake for i in range(4000))
    # Chi-square with 2 degrees of freedom is above 13.8 in one of 1,000 such tables; this one is fixed.
    assert sum((seen[stake] - 500 * stake) ** 2 / (500 * stake) for stake in (1, 2, 5)) < 13.8


def test_quorum_and_sub_quorum_have_streams_of_their_own():
    """DRW-4, DRW-5, DRW-6: tag, draw, beacon, interval and round each lead to another sub-quorum."""
    seats = make_seats([1] * 40)
    draw, beacon = sha256(b"draw").digest(), sha256(b"beacon").digest()
    assert draw_quorum(draw, seats, 9) == draw_slowly(tags.QUORUM, draw, seats, 9)
    place = (3).to_bytes(8, "little") + (1).to_bytes(8, "little")
    expected = draw_slowly(tags.SUB_QUORUM, draw + beacon + place, seats, 9)
    assert draw_sub_quorum(draw, beacon, 3, 1, seats, 9) == expected
    others = {
        draw_quorum(draw, seats, 9),
        draw_sub_quorum(draw, beacon, 3, 1, seats, 9),
        draw_sub_quorum(draw, beacon, 4, 1, seats, 9),
        draw_sub_quorum(draw, beacon, 3, 0, seats, 9),
        draw_sub_quorum(draw, draw, 3, 1, seats, 9),
        draw_sub_quorum(beacon, beacon, 3, 1, seats, 9),
    }
    assert len(others) == 6


def test_sizes_of_the_rounds():
    """DRW-7: q, then 2q + 1, then everybody; never more than there are."""
    assert [count_seats(5, number, 100) for number in (0, 1, 2)] == [5, 11, 100]
    assert [count_seats(5, number, 8) for number in (0, 1, 2)] == [5, 8, 8]
    assert [count_seats(5, number, 3) for number in (0, 1, 2)] == [3, 3, 3]


def test_the_sample_is_that_of_the_selection():
    """DRW-8: the id of the draw is the randomness of `select_intervals`."""
    draw = compute_draw_id(FACTS)
    assert select_sample(draw, FACTS) == select_intervals(draw, 20, 3)


@given(st.binary(min_size=32, max_size=32), st.integers(1, 40), st.integers(0, 45))
def test_own_intervals_are_a_shuffle(secret, intervals, count):
    """DRW-9: the first entries of a shuffle written out in full; all different, all below N."""
    draw = bytes(32)
    words = make_stream(tags.PRIVATE_INTERVAL, draw + secret)
    order = list(range(intervals))
    for i in range(min(count, intervals)):
        bound = intervals - i
        word = next(words)
        while word >= 2**64 - 2**64 % bound:
            word = next(words)
        j = i + word % bound
        order[i], order[j] = order[j], order[i]
    assert select_private(draw, secret, intervals, count) == tuple(order[: min(count, intervals)])


def test_own_intervals_need_the_secret():
    """DRW-9: over 3,000 secrets each interval comes equally often; the draw alone says nothing."""
    seen = Counter(select_private(bytes(32), sha256(b"%d" % i).digest(), 10, 1)[0] for i in range(3000))
    # Chi-square with 9 degrees of freedom is above 27.9 in one of 1,000 such tables; this one is fixed.
    assert sum((seen[i] - 300) ** 2 / 300 for i in range(10)) < 27.9


@pytest.mark.parametrize("case", VECTORS["draws"], ids=lambda case: case["name"])
def test_draws_of_the_vectors(case):
    """DRW-1 to DRW-9: the draws that another implementation must get."""
    assert case == draw_vectors.compute_case(case["name"])
    seats = [Seat(bytes.fromhex(account), stake) for account, stake in case["seats"]]
    draw = bytes.fromhex(case["draw"])
    assert [seat.account.hex() for seat in draw_slowly(tags.QUORUM, draw, seats, len(case["quorum"]))] == case["quorum"]
    assert case["sample"][-1] == case["facts"]["intervals"] - 1
    assert list(islice(case["private"], 3)) == case["private"][:3]
