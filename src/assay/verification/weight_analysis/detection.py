"""From a series of measures to flags: threshold, ways back, and again without what was flagged.

Source: `spec/weight-analysis.md`, WGT-13 to WGT-19.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from assay.verification.weight_analysis.concentration import compute_emphasis
from assay.verification.weight_analysis.returns import Ways, find_causes
from assay.verification.weight_analysis.sums import Floats
from assay.verification.weight_analysis.thresholds import MAD, WARM_UP, WINDOW, Threshold, compute_scores

MOST_ROUNDS: Final = 5


class Detection(msgspec.Struct, frozen=True):
    """What was found in a series, one entry for each interval.

    Attributes:
        expected: change that was to be expected of an interval as concentrated as this one.
        low: an interval below stands out.
        high: an interval above stands out.
        scores: in spreads.
        judged: whether it was judged at all.
        flagged: whether it is flagged.
        undoing: whether it stands out but leads back to the state before a flagged one, and is therefore not flagged.
    """

    expected: list[float]
    low: list[float]
    high: list[float]
    scores: list[float]
    judged: list[bool]
    flagged: list[bool]
    undoing: list[bool]


def find_judged(lengths: Sequence[int]) -> list[bool]:
    """Return which intervals are judged: those of the most frequent length, without the first `WARM_UP` (WGT-10).

    Args:
        lengths: steps of each interval.
    """
    usual = max(sorted(set(lengths)), key=list(lengths).count, default=0)
    return [number >= WARM_UP and length == usual for number, length in enumerate(lengths)]


def find_usual(lengths: Sequence[int]) -> list[bool]:
    """Return which intervals stand for ordinary training at first: the judged ones and the first `WARM_UP` (WGT-12)."""
    return [number < WARM_UP or is_judged for number, is_judged in enumerate(find_judged(lengths))]


def detect(
    values: Sequence[float],
    lengths: Sequence[int],
    threshold: Threshold,
    ways: Ways | None = None,
    spreads: Floats | None = None,
) -> Detection:
    """Return the flagged intervals of a series of measures.

    Args:
        values: the measure of each interval.
        lengths: its steps.
        threshold: kind and factor.
        ways: see `returns.find_causes`; None: every interval beyond the threshold is flagged, as in the paper.
        spreads: see `concentration.measure_spreads`; only `MAD` asks; None: changes count alike, however concentrated.

    Raises:
        TooFewIntervals: see `compute_scores`.
    """
    judged = find_judged(lengths)
    usual = find_usual(lengths)
    usable = usual
    for _ in range(MOST_ROUNDS):
        emphasis = None if spreads is None else compute_emphasis(spreads, WINDOW, usable)
        found = compute_scores(values, threshold, judged, usable, emphasis)
        if ways is None:
            flagged = [abs(score) > threshold.factor for score in found.scores]
            undoing = [False] * len(flagged)
        else:
            flagged, undoing = find_causes(found.scores, threshold.factor, ways)
        left = [u and not (f or b) for u, f, b in zip(usual, flagged, undoing, strict=True)]
        if threshold.kind != MAD or left == usable:
            break
        usable = left
    return Detection(found.expected, found.low, found.high, found.scores, judged, flagged, undoing)
