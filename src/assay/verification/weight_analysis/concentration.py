"""How concentrated a change is: a backdoor is taught to few weights, those of its patch, and training moves all.

Differs: the paper's measures add up all weights, whichever they are.

Source: `spec/weight-analysis.md`, WGT-18.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from assay.verification.weight_analysis.sums import Floats, Sums
from assay.verification.weight_analysis.trend import compute_trend

EMPHASIS: Final = 2.0
"""What a concentrated change counts more, as a power of how much more concentrated it is than the trend."""


def measure_spreads(sums: Sequence[Mapping[str, Sums]], names: Iterable[str]) -> Floats:
    """Return log(Σ|d| / √Σd²) of each tensor and interval, shape (tensors, n): the smaller, the more concentrated.

    Args:
        sums: of each interval, by tensor.
        names: of the matrices, tensors of two dimensions or more; one that rests in some interval is left out.
    """
    rows = []
    for name in names:
        changes = np.array([[pair[name].change, pair[name].squares] for pair in sums])
        if (changes > 0).all():
            rows.append(np.log(changes[:, 0]) - np.log(changes[:, 1]) / 2)
    return np.array(rows).reshape(len(rows), len(sums))


def compute_emphasis(spreads: Floats, window: int, usable: Sequence[bool]) -> Floats:
    """Return what to add to the logarithm of each interval's change, shape (n,), 0 or more (WGT-18).

    Args:
        spreads: see `measure_spreads`.
        window: see `trend.compute_trend`.
        usable: see `trend.compute_trend`.
    """
    if not len(spreads):
        return np.zeros(spreads.shape[1])
    below = [np.maximum(compute_trend(row, window, usable) - row, 0.0) for row in spreads]
    emphasis: Floats = EMPHASIS * np.mean(below, axis=0)
    return emphasis
