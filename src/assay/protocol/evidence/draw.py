"""Who judges a submission, and which intervals: functions of facts that were all fixed before their beacon was known.

Source: `spec/draw.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from assay.protocol import tags
from assay.protocol.encoding import Record
from assay.protocol.evidence.selection import draw_below, select_intervals
from assay.protocol.hashing import compute_digest, compute_id

ESCALATION: Final = 2
"""The second round seats so many times the sub-quorum, and one more; the third seats everybody (DRW-7)."""


class Seat(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A verifier and the weight of its vote."""

    account: bytes
    stake: int


class DrawFacts(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Everything that a draw is a function of."""

    submission: bytes
    availability_height: int
    draw_height: int
    beacon: bytes  # of the draw height
    snapshot_height: int
    sample: int
    intervals: int
    sub_quorum: int
    parameters: int  # version of the parameters


class Draw(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who judges, and which intervals were drawn."""

    facts: DrawFacts
    quorum: tuple[Seat, ...]  # in the order of the draw
    sample: tuple[int, ...]  # ascending


def compute_draw_id(facts: DrawFacts) -> bytes:
    """Return the id of a draw: the seed of everything drawn from it (DRW-1)."""
    return compute_id(tags.DRAW, facts)


def draw_seats(tag: int, randomness: bytes, seats: Sequence[Seat], count: int) -> tuple[Seat, ...]:
    """Return `count` of the seats, drawn one after the other by stake, without replacement (DRW-2, DRW-3).

    Args:
        tag: of the stream.
        randomness: bytes that nobody could choose.
        seats: sorted by account, each with a stake of at least 1.
        count: all seats, in the order of the draw, if there are not more.
    """
    numbers = _stream(tag, randomness)
    left = list(seats)
    total = sum(seat.stake for seat in left)
    drawn = []
    for _ in range(min(count, len(left))):
        place, ticket = 0, draw_below(numbers, total)
        while ticket >= left[place].stake:
            ticket -= left[place].stake
            place += 1
        total -= left[place].stake
        drawn.append(left.pop(place))
    return tuple(drawn)


def draw_quorum(draw: bytes, seats: Sequence[Seat], count: int) -> tuple[Seat, ...]:
    """Return the quorum of a submission in the order of its draw (DRW-4); `draw` is the id of the draw."""
    return draw_seats(tags.QUORUM, draw, seats, count)


def draw_sub_quorum(
    draw: bytes, beacon: bytes, interval: int, voting_round: int, seats: Sequence[Seat], count: int
) -> tuple[Seat, ...]:
    """Return those who judge one interval (DRW-5, DRW-6).

    Args:
        draw: id of the draw.
        beacon: of the height at which it was settled that this interval is judged in this round: nobody who flagged or
            accused an interval could know who would judge it.
        interval: its number.
        voting_round: 0 to 2.
        seats: who can be drawn, sorted by account.
        count: how many are drawn.
    """
    place = interval.to_bytes(8, "little") + voting_round.to_bytes(8, "little")
    return draw_seats(tags.SUB_QUORUM, draw + beacon + place, seats, count)


def count_seats(sub_quorum: int, voting_round: int, eligible: int) -> int:
    """Return how many verifiers judge an interval in a round, those of earlier rounds counted (DRW-7)."""
    if voting_round == 0:
        return min(sub_quorum, eligible)
    return min(ESCALATION * sub_quorum + 1, eligible) if voting_round == 1 else eligible


def draw_further(
    draw: bytes,
    beacon: bytes,
    interval: int,
    voting_round: int,
    sub_quorum: int,
    seated: Sequence[Seat],
    eligible: Sequence[Seat],
) -> tuple[Seat, ...]:
    """Return the seats that a later round adds to an interval (DRW-7).

    Args:
        draw: id of the draw.
        beacon: of the height of this round's draw.
        interval: its number.
        voting_round: 1 or 2.
        sub_quorum: q.
        seated: who has a seat already, and keeps it.
        eligible: all who can be drawn, sorted by account.
    """
    taken = frozenset(seat.account for seat in seated)
    others = tuple(seat for seat in eligible if seat.account not in taken)
    wanted = count_seats(sub_quorum, voting_round, len(eligible)) - len(seated)
    return draw_sub_quorum(draw, beacon, interval, voting_round, others, max(0, wanted))


def select_sample(draw: bytes, facts: DrawFacts) -> tuple[int, ...]:
    """Return the intervals that are judged by chance, the last one among them, ascending (DRW-8)."""
    return select_intervals(draw, facts.intervals, facts.sample)


def select_private(draw: bytes, secret: bytes, intervals: int, count: int) -> tuple[int, ...]:
    """Return a verifier's own intervals, in the order of their draw, all different (DRW-9).

    The secret was committed before the draw: whoever knows every beacon still cannot know these.

    Args:
        draw: id of the draw.
        secret: 32 bytes.
        intervals: number of intervals N.
        count: all of them, if there are not more.
    """
    numbers = _stream(tags.PRIVATE_INTERVAL, draw + secret)
    moved: dict[int, int] = {}
    chosen = []
    for place in range(min(count, intervals)):
        other = place + draw_below(numbers, intervals - place)
        chosen.append(moved.get(other, other))
        moved[other] = moved.get(place, place)
    return tuple(chosen)


def _stream(tag: int, randomness: bytes) -> Iterator[int]:
    """Yield little-endian u64 of the blocks SHA-256(tag ‖ randomness ‖ i as u64) (DRW-2)."""
    block = 0
    while True:
        digest = compute_digest(tag, randomness + block.to_bytes(8, "little"))
        yield from (int.from_bytes(digest[i : i + 8], "little") for i in range(0, 32, 8))
        block += 1
