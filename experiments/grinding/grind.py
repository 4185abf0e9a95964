"""What grinding gains: a submitter, and the operator of a solo ledger, against the draw, with and without own samples.

A submitter of a run with one false interval can choose the context nonce and nothing else before the beacon is known;
the operator knows every beacon beforehand. So the operator tries nonces until the sample misses the false interval; the
submitter, who must commit first, gains nothing by it. The own intervals of verifiers follow from secrets that honest
ones committed to before the draw, which the operator does not know either.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from assay.protocol.evidence.draw import DrawFacts, compute_draw_id, select_private, select_sample
from assay.protocol.evidence.transcript import compute_context


@dataclass(frozen=True)
class Ground:
    """A submission that was chosen among many.

    Attributes:
        nonce: context nonce with which it succeeded.
        draw: id of its draw.
        sample: its sample, without the false interval.
    """

    nonce: int
    draw: bytes
    sample: tuple[int, ...]


@dataclass(frozen=True)
class PrivateHits:
    """How often a false interval was seen.

    Attributes:
        ground_sample_hits: by the uniform sample that the operator chose.
        private_hits: by at least one own interval of an honest verifier.
    """

    ground_sample_hits: int
    private_hits: int


def make_facts(nonce: int, beacon: bytes, intervals: int, sample: int) -> DrawFacts:
    """Return the facts of the draw of one of many submissions."""
    submission = compute_context(bytes(32), bytes([1] * 32), nonce)
    return DrawFacts(submission, 5, 7, beacon, 4, sample, intervals, 5, 0)


def draw_sample(nonce: int, beacon: bytes, intervals: int, sample: int) -> tuple[bytes, tuple[int, ...]]:
    """Return the id of a draw and its sample."""
    facts = make_facts(nonce, beacon, intervals, sample)
    draw = compute_draw_id(facts)
    return draw, select_sample(draw, facts)


def grind_as_operator(
    intervals: int, sample: int, false: int, tries: int, beacon: bytes = bytes([2] * 32), first: int = 0
) -> Ground | None:
    """Return the first of `tries` submissions whose sample misses the false interval; None: there is none.

    The last interval is in every sample, so an attacker puts the false one elsewhere.
    """
    for nonce in range(first, first + tries):
        draw, chosen = draw_sample(nonce, beacon, intervals, sample)
        if false not in chosen:
            return Ground(nonce, draw, chosen)
    return None


def measure_submitter(intervals: int, sample: int, false: int, rounds: int) -> int:
    """Return how often a sample misses the false interval if the beacon comes after the nonce was chosen."""
    misses = 0
    for number in range(rounds):
        beacon = sha256(b"later beacon %d" % number).digest()
        misses += false not in draw_sample(number % 7, beacon, intervals, sample)[1]
    return misses


def measure_private_hits(intervals: int, sample: int, honest: int, rounds: int, private: int = 1) -> PrivateHits:
    """Return how often an operator's ground submission is seen by the sample, and by honest own intervals."""
    sampled = hidden = 0
    for number in range(rounds):
        false = number % (intervals - 1)
        beacon = sha256(b"known beacon %d" % number).digest()
        ground = grind_as_operator(intervals, sample, false, 10_000, beacon)
        if ground is None:
            raise LookupError("no submission missed the false interval")
        sampled += false in ground.sample
        secrets = (sha256(b"secret %d of %d" % (seat, number)).digest() for seat in range(honest))
        hidden += any(false in select_private(ground.draw, secret, intervals, private) for secret in secrets)
    return PrivateHits(sampled, hidden)
