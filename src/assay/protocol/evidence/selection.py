"""Which intervals are recomputed: a function of 32 random bytes that nobody could choose.

Source: `spec/selection.md`, SEL-1 to SEL-3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

from assay.errors import MalformedEvidence
from assay.protocol import tags
from assay.protocol.evidence.fields import verify_digest
from assay.protocol.hashing import compute_digest

MAX_INTERVALS: Final = 2**20


class SampleRefused(MalformedEvidence):
    """A sample of no interval, of more intervals than there are, or of more than can be drawn."""

    code: ClassVar[str] = "selection.sample"


def select_intervals(randomness: bytes, total: int, sample: int) -> tuple[int, ...]:
    """Return the numbers of `sample` of `total` intervals, ascending; the last one is always among them.

    The other `sample` − 1 are drawn uniformly without replacement from the first `total` − 1, by the first steps of a
    Fisher–Yates shuffle (SEL-2).

    Args:
        randomness: 32 bytes.
        total: number of intervals N, 1 to 2²⁰; they are numbered from 0.
        sample: number of intervals to choose s, 1 to N.

    Raises:
        DigestLengthRefused: `randomness` is not 32 bytes.
        SampleRefused: `total` or `sample` out of range.
    """
    verify_digest(randomness, "randomness of a selection")
    verify_sample(total, sample)
    numbers = draw_numbers(randomness)
    moved: dict[int, int] = {}
    chosen = [total - 1]
    for place in range(sample - 1):
        other = place + draw_below(numbers, total - 1 - place)
        chosen.append(moved.get(other, other))
        moved[other] = moved.get(place, place)
    return tuple(sorted(chosen))


def verify_sample(total: int, sample: int) -> None:
    """Check that 1 ≤ sample ≤ total ≤ 2²⁰ (SEL-1).

    Raises:
        SampleRefused: they are not.
    """
    if not 1 <= total <= MAX_INTERVALS:
        raise SampleRefused("number of intervals out of range", expected=f"1 to {MAX_INTERVALS}", actual=total)
    if not 1 <= sample <= total:
        raise SampleRefused("number of sampled intervals out of range", expected=f"1 to {total}", actual=sample)


def draw_numbers(randomness: bytes) -> Iterator[int]:
    """Yield the words of the stream (SEL-3).

    Block i, from 0, is SHA-256(tag ‖ randomness ‖ i as little-endian u64); it gives four little-endian u64.
    """
    block = 0
    while True:
        digest = compute_digest(tags.SELECTION, randomness + block.to_bytes(8, "little"))
        yield from (int.from_bytes(digest[i : i + 8], "little") for i in range(0, 32, 8))
        block += 1


def draw_below(numbers: Iterator[int], bound: int) -> int:
    """Return a number in [0, bound), each equally likely; words of the incomplete last multiple are skipped (SEL-3)."""
    limit = 2**64 - 2**64 % bound
    while True:
        number = next(numbers)
        if number < limit:
            return number % bound
