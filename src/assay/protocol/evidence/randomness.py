"""Counter-based randomness: the definition, in integers.

A draw is a function of a key, the ordinal of the random node in its program, and nothing else. Real numbers travel as
bit patterns. `training/randomness.py` computes the same with NumPy, and adds `normal`, which needs binary64 arithmetic.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC'11), Philox4x64-10;
`spec/randomness.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from assay.errors import MalformedEvidence
from assay.protocol import tags
from assay.protocol.evidence.rounding import bits_to_fraction, get_predecessor, round_half_even, round_to_bits
from assay.protocol.hashing import compute_digest

INIT, STEP, ORDER, EVALUATION = range(1, 5)
"""Purposes of a key."""

Key = tuple[int, int]
"""The two words of a key, each an unsigned 64-bit integer."""

ROUNDS = 10
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
MASK = 2**64 - 1

COMPUTED_IN = {"f16": "f32", "bf16": "f32", "f32": "f32", "f64": "f64"}
"""The format in which `uniform` computes, by the format of its result."""


class RandomArgument(MalformedEvidence):
    """An argument for which a draw is not defined."""

    code = "randomness.argument"


def derive_key(seed: bytes, purpose: int, step: int, microbatch: int = 0) -> Key:
    """Return the key of a step (RND-2): two u64 of SHA-256(tag ‖ seed ‖ purpose ‖ step ‖ microbatch).

    Args:
        seed: 32 bytes.
        purpose: INIT, STEP, ORDER or EVALUATION.
        step: the step, counted from 1; of ORDER the epoch, counted from 0; of INIT 0; each below 2⁶⁴.
        microbatch: the microbatch in the step, counted from 0.

    Raises:
        RandomArgument: a seed of another length, an unknown purpose, a number out of range.
    """
    if len(seed) != 32:
        raise RandomArgument("a seed has 32 bytes", expected=32, actual=len(seed))
    if not INIT <= purpose <= EVALUATION or not 0 <= step <= MASK or not 0 <= microbatch <= MASK:
        raise RandomArgument("no key for these numbers", actual=(purpose, step, microbatch))
    words = b"".join(number.to_bytes(8, "little") for number in (purpose, step, microbatch))
    digest = compute_digest(tags.RANDOM_KEY, seed + words)
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")


def compute_philox(counter: tuple[int, int, int, int], key: Key) -> tuple[int, int, int, int]:
    """Return the Philox4x64-10 block of a counter, four u64 (RND-1)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        left, right = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (right >> 64) ^ c1 ^ k0, right & MASK, (left >> 64) ^ c3 ^ k1, left & MASK
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return c0, c1, c2, c3


def generate_words(key: Key, ordinal: int, attempt: int = 0) -> Iterator[int]:
    """Yield the u64 words of a random node (RND-3): the blocks of the counters (1, 0, attempt, ordinal), (2, 0, …), ….

    The first counter word starts at 1, as NumPy's does, which increments before each block.
    """
    block = 0
    while True:
        block += 1
        yield from compute_philox((block, 0, attempt, ordinal), key)


def get_lanes(key: Key, ordinal: int, count: int, width: int) -> list[int]:
    """Return the first `count` lanes of `width` bits (16, 32 or 64), lowest bits of a word first (RND-4)."""
    per_word = 64 // width
    lanes: list[int] = []
    words = generate_words(key, ordinal)
    while len(lanes) < count:
        word = next(words)
        lanes += [(word >> (width * i)) & ((1 << width) - 1) for i in range(per_word)]
    return lanes[:count]


def compute_threshold(p_keep: int) -> int:
    """Return round-half-even(p_keep · 65536), 0 to 65536 (RND-6).

    Args:
        p_keep: bits of a binary64 in [0, 1].

    Raises:
        RandomArgument: not a probability.
    """
    try:
        value = bits_to_fraction(p_keep, "f64")
    except ValueError:
        raise RandomArgument("a probability is finite", actual=hex(p_keep)) from None
    if not 0 <= value <= 1:
        raise RandomArgument("a probability is in [0, 1]", actual=hex(p_keep))
    return round_half_even(value * 65536)


def draw_bernoulli(key: Key, ordinal: int, count: int, threshold: int) -> list[int]:
    """Return `count` values 0 or 1: element i is 1 where u16 lane i is below `threshold` (RND-5)."""
    if not 0 <= threshold <= 65536:
        raise RandomArgument("a threshold is 0 to 65536", actual=threshold)
    return [int(lane < threshold) for lane in get_lanes(key, ordinal, count, 16)]


def draw_uniform(key: Key, ordinal: int, count: int, low: int, high: int, dtype: str) -> list[int]:
    """Return the bits of `count` numbers of `dtype` in [low, high); all `low` where both round to one number (RND-7).

    u = (lane >> 8)·2⁻²⁴ of u32 lanes, for f64 (lane >> 11)·2⁻⁵³ of u64 lanes. With C the format of `COMPUTED_IN`,
    every operation rounded to C: low + span·u, where span is high − low in binary64, rounded to C. The result is
    rounded to `dtype`; one that is not below `high`, rounded likewise, becomes the largest number below it.

    Args:
        key: of `derive_key`.
        ordinal: of the random node in its program.
        count: number of elements.
        low: bits of a binary64.
        high: bits of a binary64.
        dtype: "f16", "bf16", "f32" or "f64".

    Raises:
        RandomArgument: bounds that are not finite in both formats, or in the wrong order; another dtype.
    """
    start, end, span = get_uniform_bounds(low, high, dtype)
    inner = COMPUTED_IN[dtype]
    narrow = round_to_bits(start, dtype)
    limit = round_to_bits(end, dtype)
    if narrow == limit:
        return [narrow] * count
    drop, width = (11, 64) if dtype == "f64" else (8, 32)
    bits = []
    for lane in get_lanes(key, ordinal, count, width):
        scaled = _round(span * Fraction(lane >> drop, 1 << (width - drop)), inner)
        value = round_to_bits(_round(start + scaled, inner), dtype)
        too_high = bits_to_fraction(value, dtype) >= bits_to_fraction(limit, dtype)
        bits.append(get_predecessor(limit, dtype) if too_high else value)
    return bits


def get_uniform_bounds(low: int, high: int, dtype: str) -> tuple[Fraction, Fraction, Fraction]:
    """Return start, end and span of a uniform draw, exact, in the format that it is computed in.

    Raises:
        RandomArgument: one of them is not finite, or a bound is not in `dtype`; low above high; another dtype.
    """
    inner = COMPUTED_IN.get(dtype)
    if inner is None:
        raise RandomArgument("uniform is defined for real numbers", expected=", ".join(COMPUTED_IN), actual=dtype)
    try:
        exact_low, exact_high = bits_to_fraction(low, "f64"), bits_to_fraction(high, "f64")
        start, end = _round(exact_low, inner), _round(exact_high, inner)
        span = _round(_round(exact_high - exact_low, "f64"), inner)
        _round(start, dtype)
        _round(end, dtype)
    except ValueError:
        raise RandomArgument("bounds are finite", actual=(hex(low), hex(high))) from None
    if exact_low > exact_high:
        raise RandomArgument("bounds are in order", actual=(hex(low), hex(high)))
    return start, end, span


def draw_integers(key: Key, ordinal: int, count: int, low: int, high: int) -> list[int]:
    """Return `count` integers in [low, high), exactly uniform (RND-9).

    n = high − low. A u64 lane x is rejected where x·n mod 2⁶⁴ < 2⁶⁴ mod n; else it gives low + ⌊x·n / 2⁶⁴⌋. Lane i is
    element i's; then, in rounds, the rejected elements in ascending order take the next unused lanes.

    Raises:
        RandomArgument: an empty range, or bounds outside int64.

    Source: Lemire, "Fast random integer generation in an interval" (2019).
    """
    if not -(2**63) <= low < high <= 2**63 - 1:
        raise RandomArgument("bounds are in order and fit in int64", actual=(low, high))
    extent = high - low
    least = 2**64 % extent
    result = [0] * count
    waiting = list(range(count))
    words = generate_words(key, ordinal)
    while waiting:
        rejected = []
        for element in waiting:
            product = next(words) * extent
            if product & MASK < least:
                rejected.append(element)
            result[element] = low + (product >> 64)
        waiting = rejected
    return result


def draw_permutation(key: Key, ordinal: int, size: int) -> list[int]:
    """Return an exactly uniform permutation of 0 … size − 1 (RND-10).

    Element i has as sort key word i of the attempt (counter word 2); the result lists the elements by ascending sort
    key. Where two sort keys are equal, all are drawn again with the next attempt.
    """
    attempt = 0
    while True:
        words = generate_words(key, ordinal, attempt)
        sort_keys = [next(words) for _ in range(size)]
        if len(set(sort_keys)) == size:
            return sorted(range(size), key=sort_keys.__getitem__)
        attempt += 1


def _round(value: Fraction, dtype: str) -> Fraction:
    """Return `value` rounded to `dtype`.

    Raises:
        ValueError: it overflows.
    """
    return bits_to_fraction(round_to_bits(value, dtype), dtype)
