"""What a sample can see: the chance that a check of s of N intervals misses b false ones. Formula version 0.

The last interval is always checked and the other s − 1 are drawn uniformly from the first N − 1, so the sample is not
a uniform one of N. The formula is for the worst placing: whoever plants b < N false intervals keeps them out of the
last one. (A false interval in the last place instead of another multiplies the chance of a miss by c in all cases,
where at another place it does so only if it is drawn.) With M = N − 1 and k = s − 1:

    miss(b) = Σ_j C(b, j) · C(M − b, k − j) / C(M, k) · c^j     for b < N
    miss(N) = c^s                                             because the last interval is false too

c is the chance that the check of one false interval does not report it: 0 for whoever recomputes it themselves (alone),
the chance of a corrupt sub-quorum on a ledger. For b = 1 and N > 1 this is 1 − (s − 1)/(N − 1) · (1 − c).

Source: `spec/selection.md`, SEL-4 to SEL-6.
Differs: the simpler 1 − (s/N)(1 − c) for b = 1 holds for s drawn from all N without a fixed last one.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb
from typing import ClassVar, Final

from assay.errors import MalformedEvidence
from assay.protocol.evidence.selection import verify_sample

FORMULA_VERSION: Final = 0

CERTAINTY: Final = Fraction(95, 100)
"""The certainty with which the printed smallest number of false intervals is caught."""

MAX_SAMPLE_OF_OTHERS: Final = 1024
"""Largest sample for which chances with c > 0 are computed; bounds the work of whoever checks a certificate (SEL-6)."""

MAX_DENOMINATOR: Final = 2**32
"""Largest denominator of c (SEL-6)."""


class ChanceRefused(MalformedEvidence):
    """A number of false intervals outside 1 to N, a chance outside 0 to 1, or one that costs too much to compute."""

    code: ClassVar[str] = "chances.argument"


def compute_miss_chance(total: int, sample: int, false: int, corrupt: Fraction = Fraction(0)) -> Fraction:
    """Return the chance that none of `false` false intervals is reported, exactly (SEL-4).

    Args:
        total: number of intervals N, 1 to 2²⁰.
        sample: number of checked intervals s, 1 to N, the last one always among them.
        false: number of false intervals b, 1 to N, placed as badly for the checker as possible.
        corrupt: chance c that the check of a false interval does not report it, 0 to 1.

    Raises:
        SampleRefused: `total` or `sample` out of range.
        ChanceRefused: `false` or `corrupt` out of range.
    """
    verify_sample(total, sample)
    if not 1 <= false <= total:
        raise ChanceRefused("number of false intervals out of range", expected=f"1 to {total}", actual=false)
    _verify_corrupt(corrupt, sample)
    if false == total:
        return corrupt**sample
    pool, drawn = total - 1, sample - 1
    if corrupt == 0:  # the same number either way; the smaller of the two costs less
        few, many = sorted((false, drawn))
        return Fraction(comb(pool - many, few), comb(pool, few))
    return Fraction(_sum_terms(pool, drawn, false, corrupt), comb(pool, drawn) * corrupt.denominator**drawn)


def compute_smallest_caught(
    total: int, sample: int, certainty: Fraction = CERTAINTY, corrupt: Fraction = Fraction(0)
) -> int | None:
    """Return the smallest number of false intervals that this check reports with `certainty` (SEL-5).

    The chance of a miss never grows with the number of false intervals: doubling, then halving, finds it.

    Returns:
        The number; None if not even a run of which every interval is false is reported with that certainty.

    Raises:
        SampleRefused: `total` or `sample` out of range.
        ChanceRefused: `certainty` or `corrupt` out of range.
    """
    if not 0 <= certainty <= 1:
        raise ChanceRefused("a certainty is out of range", expected="0 to 1", actual=certainty)
    allowed = 1 - certainty
    if compute_miss_chance(total, sample, total, corrupt) > allowed:
        return None
    low = high = 1
    while compute_miss_chance(total, sample, high, corrupt) > allowed:
        low, high = high + 1, min(2 * high, total)
    while low < high:
        middle = (low + high) // 2
        if compute_miss_chance(total, sample, middle, corrupt) <= allowed:
            high = middle
        else:
            low = middle + 1
    return low


def _verify_corrupt(corrupt: Fraction, sample: int) -> None:
    # SEL-6.
    if not 0 <= corrupt <= 1 or corrupt.denominator > MAX_DENOMINATOR:
        raise ChanceRefused("a chance is out of range", expected="0 to 1, denominator up to 2³²", actual=corrupt)
    if corrupt and sample > MAX_SAMPLE_OF_OTHERS:
        raise ChanceRefused("too large a sample for this formula", expected=MAX_SAMPLE_OF_OTHERS, actual=sample)


def _sum_terms(pool: int, drawn: int, false: int, corrupt: Fraction) -> int:
    """Return Σ_j C(b, j) · C(M − b, k − j) · c^j, times the k-th power of the denominator of c."""
    true = pool - false
    first = max(0, drawn - true)
    term = comb(false, first) * comb(true, drawn - first)
    power = corrupt.numerator**first
    result = 0
    for j in range(first, drawn + 1):
        result = result * corrupt.denominator + term * power
        power *= corrupt.numerator
        if j < drawn:  # each term follows from the one before; the division leaves no rest
            term = term * (false - j) * (drawn - j) // ((j + 1) * (true - drawn + j + 1))
    return result


def compute_corrupt_chance(sub_quorum: int, share: Fraction) -> Fraction:
    """Return c: the chance that liars decide about one interval, where `share` of the stake lies (SEL-7).

    Liars decide where they hold two thirds of the assigned stake: of the first sub-quorum, or of the larger one of the
    second round. In the third round everybody is asked, so that less than two thirds of all stake decide nothing. The
    chances are those of seats of equal stake that are drawn independently, added, and rounded up to a multiple of 2⁻³².

    Args:
        sub_quorum: seats of the first round q, 1 to 4096.
        share: of lying stake f, 0 to 1, denominator up to 1000.

    Raises:
        ChanceRefused: an argument is out of range.
    """
    if not 1 <= sub_quorum <= MAX_SUB_QUORUM or not 0 <= share <= 1 or share.denominator > MAX_SHARE_DENOMINATOR:
        raise ChanceRefused(
            "a sub-quorum or a share is out of range",
            expected=f"1 to {MAX_SUB_QUORUM} seats, a share of 0 to 1 in steps of at least 1/{MAX_SHARE_DENOMINATOR}",
            actual=f"{sub_quorum} seats, {share}",
        )
    if 3 * share >= 2:
        return Fraction(1)
    chance = _compute_tail(sub_quorum, share) + _compute_tail(2 * sub_quorum + 1, share)
    return min(Fraction(1), Fraction(-(-chance.numerator * MAX_DENOMINATOR // chance.denominator), MAX_DENOMINATOR))


MAX_SUB_QUORUM: Final = 4096
"""Largest sub-quorum of which a chance is computed (SEL-7)."""

MAX_SHARE_DENOMINATOR: Final = 1000
"""Largest denominator of an assumed share (SEL-7)."""


def _compute_tail(seats: int, share: Fraction) -> Fraction:
    """Return the chance that at least two thirds of the seats lie."""
    lie, honest = share.numerator, share.denominator - share.numerator
    needed = -(-2 * seats // 3)
    ways = sum(comb(seats, k) * lie**k * honest ** (seats - k) for k in range(needed, seats + 1))
    return Fraction(ways, share.denominator**seats)
