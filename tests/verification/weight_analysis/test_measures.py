"""The four measures of paper 000, Eq. 1 to 4."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.verification.weight_analysis.measures import MEASURES, Measures, UnknownMeasure, compute_measures
from assay.verification.weight_analysis.sums import add_blocks, sum_blocks


def measure(a, b):
    """Return the measures of two lists of numbers."""
    one, other = np.array(a, "<f8"), np.array(b, "<f8")
    return compute_measures(add_blocks([sum_blocks("f64", one.tobytes(), other.tobytes())]))


def test_a_pair_by_hand():
    """(3, 4) and (3, −4): |Δ| = 8, L2 = 8, 800/7 percent, 1 − cos = 1 + 7/25 (WGT-5)."""
    found = measure([3, 4], [3, -4])
    assert (found.absolute, found.l2) == (8, 8)
    assert found.percent == pytest.approx(800 / 7)
    assert found.cosine == pytest.approx(1 + 7 / 25)


NUMBERS = st.lists(st.tuples(*[st.floats(-100, 100).filter(lambda x: x == 0 or abs(x) > 1e-3)] * 2), min_size=1)


@given(NUMBERS)
def test_measures_follow_the_paper(pairs):
    """The measures are the paper's formulas, the cosine distance within a few units of 1 (WGT-5, WGT-6)."""
    a, b = np.array(pairs).T
    found = measure(a, b)
    assert found.absolute == pytest.approx(np.abs(b - a).sum())
    assert found.l2 == pytest.approx(np.linalg.norm(b - a))
    if a.any():
        assert found.percent == pytest.approx(100 * np.abs(b - a).sum() / np.abs(a).sum())
    if a.any() and b.any():
        expected = 1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        assert found.cosine == pytest.approx(expected, abs=1e-12)


def test_close_states_keep_the_digits_of_the_cosine_distance():
    """Where the textbook formula gives 0 or noise, the distance has seven right digits (WGT-6)."""
    a, b = [1.0, 0.0], [1.0, 1e-9]
    exact = float(Fraction(b[1]) ** 2 / 2)
    assert measure(a, b).cosine == pytest.approx(exact, rel=1e-7)
    assert 1 - np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)) == 0


def test_measures_that_do_not_exist():
    """From all zeros no percentage and no angle can be taken (WGT-7)."""
    assert measure([0, 0], [1, 2]) == Measures(3, 5**0.5, None, None)
    assert measure([1, 2], [0, 0]).cosine is None
    assert measure([1, 2], [0, 0]).percent == 100


def test_a_measure_has_a_name():
    """Names are those of the list; another one is refused by name."""
    found = Measures(1.0, 2.0, 3.0, 4.0)
    assert [found.get(name) for name in MEASURES] == [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(UnknownMeasure) as refused:
        found.get("manhattan")
    assert refused.value.code == "weights.measure"
