"""What stands out: two dynamic thresholds, both two-sided.

Source: paper 000, section V-B ("a dynamic threshold"); `spec/weight-analysis.md`, WGT-10 to WGT-14.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec
import numpy as np

from assay.errors import UsageError
from assay.verification.weight_analysis.sums import Floats
from assay.verification.weight_analysis.trend import compute_trend, to_logarithms

MAD, SIGMA = THRESHOLDS = ("mad", "sigma")
"""Kinds: residuals of the trend beyond median ± c·MAD (default), or values beyond mean ± c·σ (like the paper's)."""

DEFAULT_FACTORS: Final = {MAD: 8.0, SIGMA: 2.0}
LEAST_INTERVALS: Final = 6
MAX_FACTOR: Final = 100.0
MAD_TO_SIGMA: Final = 1.4826
"""Median absolute deviation to standard deviation, for a normal distribution."""

WINDOW: Final = 13
WARM_UP: Final = 3
LEAST_SCALE: Final = 0.03
"""Residuals are logarithms: a spread below 3 % is taken as 3 %."""

FLOOR: Final = 2.0
"""What a change and its trend are both raised by before they are compared upwards, in largest trends of the series.

A net that has almost stopped to learn moves in bursts: many times its trend, and next to nothing beside its training.
"""

LEAST_RAISED_SCALE: Final = LEAST_SCALE / (1 + 3 * FLOOR)
"""As `LEAST_SCALE`, of raised changes, whose logarithms vary less."""


Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]


class ThresholdRefused(UsageError):
    """A threshold that does not exist or is out of bounds."""

    code: ClassVar[str] = "weights.threshold"


class TooFewIntervals(UsageError):
    """Too few intervals to tell what is usual."""

    code: ClassVar[str] = "weights.too-few"


class Threshold(msgspec.Struct, frozen=True, rename="camel"):
    """A threshold and its parameters.

    Attributes:
        kind: `MAD` or `SIGMA`.
        factor: c; above 0, at most `MAX_FACTOR`.
    """

    kind: str = MAD
    factor: float = DEFAULT_FACTORS[MAD]

    def __post_init__(self) -> None:
        if self.kind not in THRESHOLDS:
            raise ThresholdRefused("no such threshold", expected=" or ".join(THRESHOLDS), actual=ascii(self.kind[:40]))
        if not 0 < self.factor <= MAX_FACTOR:
            raise ThresholdRefused("the factor is out of bounds", expected=f"0 to {MAX_FACTOR:g}", actual=self.factor)


class Scores(msgspec.Struct, frozen=True):
    """How far each interval stands out.

    Attributes:
        expected: the change that was to be expected, in the unit of the measure, shape (n,).
        low: an interval below stands out; in the unit of the measure.
        high: an interval above stands out.
        scores: in spreads; an interval stands out where |score| > c; 0 where it is not judged.
    """

    expected: list[float]
    low: list[float]
    high: list[float]
    scores: list[float]


def compute_scores(
    values: Sequence[float],
    threshold: Threshold,
    judged: Sequence[bool],
    usable: Sequence[bool],
    emphasis: Floats | None = None,
) -> Scores:
    """Return the score of each interval.

    Args:
        values: the measure of each interval, 0 or more.
        threshold: its kind decides what is compared with what.
        judged: intervals that are judged; the others get the score 0.
        usable: intervals that may stand for ordinary training; only `MAD` asks.
        emphasis: added to the logarithms of the values under `MAD`, shape (n,); see `concentration`.

    Raises:
        TooFewIntervals: fewer than `LEAST_INTERVALS` are judged (WGT-10).
    """
    if sum(judged) < LEAST_INTERVALS:
        raise TooFewIntervals(
            "too few intervals to tell what is usual",
            expected=f"{LEAST_INTERVALS} of equal length after the first {WARM_UP}",
            actual=sum(judged),
            next_step="keep more checkpoints: a smaller checkpoint_every",
        )
    which = np.asarray(judged)
    if threshold.kind == SIGMA:
        return _score_values(np.asarray(values, np.float64), which, threshold.factor)
    added = np.zeros(len(values)) if emphasis is None else emphasis
    return _score_residuals(to_logarithms(values), added, which, usable, threshold.factor)


def _score_values(values: Floats, judged: Flags, factor: float) -> Scores:
    """Mean and standard deviation of all judged values; no trend (WGT-14)."""
    mean, spread = float(values[judged].mean()), float(values[judged].std())
    scores = (values - mean) / spread if spread > 0 else np.zeros(len(values))
    expected, low, high = ([b] * len(values) for b in (mean, max(mean - factor * spread, 0.0), mean + factor * spread))
    return Scores(expected, low, high, np.where(judged, scores, 0.0).tolist())


def _score_residuals(
    logarithms: Floats, emphasis: Floats, judged: Flags, usable: Sequence[bool], factor: float
) -> Scores:
    """Residuals of the trend, with a floor upwards; medians and MADs over the judged ones, all of them (WGT-13)."""
    values = logarithms + emphasis
    trend = compute_trend(values, WINDOW, usable)
    floor = math.log(FLOOR) + float(trend.max())
    raised = np.logaddexp(trend, floor)
    plain, above = values - trend, np.logaddexp(values, floor) - raised
    middle, spread = _describe(plain[judged], LEAST_SCALE)
    middle_above, spread_above = _describe(above[judged], LEAST_RAISED_SCALE)
    upwards = (above - middle_above) / spread_above
    scores = np.where(upwards > 0, upwards, np.minimum((plain - middle) / spread, 0.0))
    with np.errstate(over="ignore"):  # a bound beyond the largest number is infinite, and shown so
        expected = np.exp(trend + middle - emphasis)
        low = np.exp(trend + middle - factor * spread - emphasis)
        high = np.exp(raised + middle_above + factor * spread_above - emphasis) - np.exp(floor - emphasis)
    high = np.maximum(np.nan_to_num(high, nan=math.inf, posinf=math.inf), expected)
    return Scores(expected.tolist(), low.tolist(), high.tolist(), np.where(judged, scores, 0.0).tolist())


def _describe(residuals: Floats, least: float) -> tuple[float, float]:
    """Return median and spread (1.4826 MAD, at least `least`)."""
    middle = float(np.median(residuals))
    return middle, max(MAD_TO_SIGMA * float(np.median(np.abs(residuals - middle))), least)
