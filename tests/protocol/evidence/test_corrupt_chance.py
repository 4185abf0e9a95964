"""The chance that liars decide about an interval, against a count over all seats, and at its limits."""

import random
from fractions import Fraction
from itertools import product

import pytest

from assay.protocol.evidence.chances import ChanceRefused, compute_corrupt_chance

STEP = Fraction(1, 2**32)


def count_tail(seats, share):
    """Return the chance that at least two thirds of the seats lie, by going through all of their choices."""
    total = Fraction(0)
    for choice in product((0, 1), repeat=seats):
        liars = sum(choice)
        if 3 * liars >= 2 * seats:
            total += share**liars * (1 - share) ** (seats - liars)
    return total


@pytest.mark.parametrize(("quorum", "share"), [(1, "1/5"), (3, "3/10"), (4, "1/3"), (5, "1/10"), (6, "1/2")])
def test_it_is_the_chance_of_the_first_two_rounds(quorum, share):
    """SEL-7: rounded up to a multiple of 2⁻³², never down."""
    share = Fraction(share)
    exact = min(Fraction(1), count_tail(quorum, share) + count_tail(2 * quorum + 1, share))
    found = compute_corrupt_chance(quorum, share)
    assert exact <= found < exact + STEP
    assert (found * 2**32).denominator == 1


def test_its_limits():
    """SEL-7: nobody lies, two thirds lie, and arguments out of range."""
    assert compute_corrupt_chance(5, Fraction(0)) == 0
    assert compute_corrupt_chance(5, Fraction(2, 3)) == compute_corrupt_chance(5, Fraction(1)) == 1
    for quorum, share in ((0, Fraction(1, 5)), (5000, Fraction(1, 5)), (5, Fraction(-1, 5)), (5, Fraction(1, 1001))):
        with pytest.raises(ChanceRefused):
            compute_corrupt_chance(quorum, share)


def test_a_simulation_agrees():
    """SEL-7: 20,000 first sub-quorums of five seats, three of ten lying, are corrupt as often as the formula says."""
    rng, corrupt = random.Random(11), 0
    for _ in range(20_000):
        corrupt += sum(rng.random() < 0.3 for _ in range(5)) >= 4
    expected = float(count_tail(5, Fraction(3, 10)))
    assert abs(corrupt / 20_000 - expected) < 4 * (expected * (1 - expected) / 20_000) ** 0.5
