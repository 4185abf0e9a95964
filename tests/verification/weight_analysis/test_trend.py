"""The trend: lines by repeated medians."""

from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.verification.weight_analysis.trend import compute_trend, to_logarithms


def fit_slowly(values, window, usable):
    """Return the trend, written out as the specification words it (WGT-12)."""
    places = [i for i, use in enumerate(usable) if use]
    places = places if len(places) >= 3 else list(range(len(values)))
    trend = []
    for here in range(len(values)):
        near = sorted(places, key=lambda i: (abs(i - here), i))[:window]
        if len(near) == 1:
            trend.append(values[near[0]])
            continue
        slope = median(median((values[i] - values[j]) / (i - j) for j in near if j != i) for i in near)
        trend.append(median(values[i] - slope * (i - here) for i in near))
    return trend


SERIES = st.lists(st.tuples(st.floats(-20, 20), st.booleans()), min_size=1, max_size=30)


@given(SERIES, st.sampled_from([3, 5, 13]))
def test_trend_is_that_of_the_specification(series, window):
    """The fast trend is the slow one, to rounding (WGT-12)."""
    values, usable = [value for value, _ in series], [use for _, use in series]
    found = compute_trend(np.array(values), window, usable)
    assert found.tolist() == pytest.approx(fit_slowly(values, window, usable), abs=1e-9)


@given(st.floats(-1, 1), st.floats(-5, 5), st.integers(8, 40), st.data())
def test_a_line_survives_outliers(slope, level, count, data):
    """On a line with fewer than half of each window changed at will, the trend is the line."""
    line = level + slope * np.arange(count)
    changed = line.copy()
    for place in data.draw(st.sets(st.integers(0, count - 1), max_size=3)):
        changed[place] += data.draw(st.floats(-50, 50))
    assert compute_trend(changed, 13, [True] * count).tolist() == pytest.approx(line.tolist(), abs=1e-7)


def test_what_is_not_usable_does_not_count():
    """A long plateau that is marked does not pull the trend."""
    values = np.zeros(30)
    values[10:20] = 3
    usable = [not 10 <= i < 20 for i in range(30)]
    assert compute_trend(values, 13, usable).tolist() == [0.0] * 30


def test_no_change_has_a_finite_logarithm():
    """A change of zero is very small beside the others; all zeros are all alike (WGT-11)."""
    assert to_logarithms([1.0, 0.0, 1.0]).tolist() == pytest.approx([0.0, np.log(1e-9), 0.0])
    assert to_logarithms([0.0, 0.0]).tolist() == [0.0, 0.0]
