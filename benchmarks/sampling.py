"""Does the sample see false intervals as often as stated? `make bench NAME=sampling`.

2,000 draws of submissions, each under its own beacon, exactly as the ledger draws them (`spec/draw.md`): how often is
one of b false intervals in the sample, beside the formula of `spec/selection.md`; and how often in an own interval of
one of h verifiers, beside 1 − (1 − 1/N)^h. Each rate must lie inside the 99 % interval of its formula.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from hashlib import sha256
from random import Random
from typing import Any

from assay.protocol.evidence.chances import compute_miss_chance
from assay.protocol.evidence.draw import DrawFacts, compute_draw_id, select_private, select_sample
from benchmarks.report import make_result, print_report

DRAWS = 2000
CASES = ((20, 3, 1), (20, 10, 1), (100, 12, 1), (100, 12, 5), (300, 20, 3), (300, 20, 30), (10, 10, 1))
"""Intervals N, sample s, false intervals b."""

OWN = ((20, 1), (20, 10), (300, 30))
"""Intervals N, verifiers with an own interval h."""

SEED = 7
QUANTILE = 2.576
"""Standard deviations of a 99 % interval."""


def draw(number: int, intervals: int, sample: int) -> tuple[bytes, tuple[int, ...]]:
    """Return the id of one draw and its sample."""
    submission, beacon = (sha256(b"%s %d" % (name, number)).digest() for name in (b"submission", b"beacon"))
    facts = DrawFacts(submission, 10, 12, beacon, 8, sample, intervals, 5, 0)
    identity = compute_draw_id(facts)
    return identity, select_sample(identity, facts)


def count_hits(intervals: int, sample: int, false: int) -> int:
    """Return in how many draws a false interval is sampled; the last interval is left true, as an attacker would."""
    chance = Random(SEED)  # noqa: S311 - a fixed seed, so that the figures can be repeated
    hits = 0
    for number in range(DRAWS):
        planted = set(chance.sample(range(intervals - 1), false))
        hits += bool(planted & set(draw(number, intervals, sample)[1]))
    return hits


def count_own_hits(intervals: int, verifiers: int) -> int:
    """Return in how many draws an own interval of one of some verifiers is the false one."""
    chance = Random(SEED)  # noqa: S311 - a fixed seed, so that the figures can be repeated
    hits = 0
    for number in range(DRAWS):
        identity, _ = draw(number, intervals, 1)
        planted = chance.randrange(intervals)
        secrets = (sha256(b"secret %d %d" % (number, seat)).digest() for seat in range(verifiers))
        hits += any(planted in select_private(identity, secret, intervals, 1) for secret in secrets)
    return hits


def judge(what: str, hits: int, chance: Fraction) -> dict[str, Any]:
    """Return one line: the rate, its formula, and the distance between them in 99 % half-widths."""
    expected = float(chance)
    half = QUANTILE * (expected * (1 - expected) / DRAWS) ** 0.5
    distance = abs(hits / DRAWS - expected)
    ratio = distance / half if half else (0.0 if distance == 0 else float("inf"))
    return make_result(what, hits / DRAWS, expected, ratio, 1.0, draws=DRAWS, half_width=half)


def main() -> int:
    """Count, and print the report."""
    results = [
        judge(
            f"{b} false of {n}, {s} sampled: share of draws that see one",
            count_hits(n, s, b),
            1 - compute_miss_chance(n, s, b),
        )
        for n, s, b in CASES
    ]
    results += [
        judge(
            f"1 false of {n}, {h} own intervals: share of draws that see it",
            count_own_hits(n, h),
            1 - Fraction(n - 1, n) ** h,
        )
        for n, h in OWN
    ]
    return print_report("sampling", results)


if __name__ == "__main__":
    sys.exit(main())
