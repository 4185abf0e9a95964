"""The trend of training: how much change was to be expected of an interval, given those around it.

Source: `spec/weight-analysis.md`, WGT-11, WGT-12.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from assay.verification.weight_analysis.sums import Floats

SMALLEST: Final = 1e-9
"""Part of the median change below which a change counts as this part: its logarithm stays finite."""


def to_logarithms(values: Sequence[float]) -> Floats:
    """Return natural logarithms of changes, shape (n,); a change of 0 becomes very small, not infinite (WGT-11)."""
    array = np.asarray(values, np.float64)
    positive = array[array > 0]
    if not len(positive):
        return np.zeros(len(array))
    return np.log(np.maximum(array, SMALLEST * float(np.median(positive))))


def compute_trend(values: Floats, window: int, usable: Sequence[bool]) -> Floats:
    """Return the trend at each interval: a line through its neighbours by repeated medians (WGT-12).

    Of the `window` usable intervals that are nearest (the earlier one where two are equally near), the slope is the
    median over each of its median slope to the others, and the level the median of what is left. Fewer than half of
    them can be wrong without moving it far.

    Args:
        values: logarithms, shape (n,).
        window: number of neighbours.
        usable: which intervals may stand for the training; three at least, or all count.

    Source: A. F. Siegel, "Robust regression using repeated medians", Biometrika 69 (1982).
    """
    places = np.flatnonzero(np.asarray(usable))
    if len(places) < 3:
        places = np.arange(len(values))
    here = np.arange(len(values))[:, None]
    order = np.argsort(np.abs(places[None, :] - here), axis=1, kind="stable")[:, :window]
    near = places[order]
    return _fit_lines((near - here).astype(np.float64), values[near])


def _fit_lines(places: Floats, values: Floats) -> Floats:
    """Return the value at place 0 of each line by repeated medians; both of shape (n, neighbours)."""
    count = places.shape[1]
    if count < 2:
        return values[:, 0]
    run = places[:, :, None] - places[:, None, :]
    rise = values[:, :, None] - values[:, None, :]
    run[:, range(count), range(count)], rise[:, range(count), range(count)] = 1.0, np.inf  # no slope to itself
    slope = _take_median(_take_median(rise / run, count - 1), count)
    return _take_median(values - slope[:, None] * places, count)


def _take_median(values: Floats, count: int) -> Floats:
    """Return the medians of the `count` smallest along the last axis; sorting is the fastest way to few numbers."""
    ordered = np.sort(values, axis=-1)
    medians: Floats = (ordered[..., (count - 1) // 2] + ordered[..., count // 2]) / 2
    return medians
