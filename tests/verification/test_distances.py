"""How far two states are from each other: largest difference, elements, units in the last place."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assay.protocol.evidence.model_state import TensorRecord
from assay.verification.distances import MAX_LISTED, compare_states, count_ulps
from assay.verification.tasks import explain


def make_record(name, array, dtype="f32"):
    """Return a record for an array; digests do not matter here."""
    return TensorRecord(0, name, dtype, array.shape, array.nbytes, bytes(32))


def step(value, ulps):
    """Return a float32 that is some units in the last place away."""
    for _ in range(abs(ulps)):
        value = np.nextafter(value, np.float32(np.inf if ulps > 0 else -np.inf))
    return value


@given(st.floats(-(2.0**99), 2.0**99, width=32), st.integers(-40, 40))
def test_units_are_counted_across_zero(value, ulps):
    """A neighbour k representable numbers away falls into the bucket of k, on either side and through zero."""
    one = np.array([value], np.float32)
    other = np.array([step(one[0], ulps)], np.float32)
    buckets = count_ulps(one, other)
    distance = abs(ulps)
    if value == 0 or np.sign(one[0]) != np.sign(other[0]):
        assert sum(buckets) in {0, 1}  # +0 and -0 are one number here
    else:
        assert buckets == ((0,) * (distance.bit_length() - 1) + (1,) if distance else ())


def test_only_differing_tensors_are_listed_the_largest_first():
    """Equal tensors are left out; counts, totals and the largest difference are those of the arrays."""
    one = np.zeros(4, np.float32)
    other, third = one.copy(), one.copy()
    other[1] = 0.5
    third[:2] = (2, -3)
    records = [make_record(name, one) for name in "abc"]
    found = compare_states(records, [one.tobytes()] * 3, [one.tobytes(), other.tobytes(), third.tobytes()])
    assert [(d.name, d.largest, d.elements, d.total) for d in found] == [("c", 3.0, 2, 4), ("b", 0.5, 1, 4)]
    assert sum(found[0].ulps) == 2


def test_the_list_is_bounded_and_odd_values_are_told():
    """At most so many are listed; NaN and infinity give a finite number; integers have no units."""
    one, other = np.zeros(2, np.float32), np.array([np.nan, np.inf], np.float32)
    many = MAX_LISTED + 5
    found = compare_states([make_record(str(i), one) for i in range(many)], [one] * many, [other] * many)
    assert len(found) == MAX_LISTED
    assert all(np.isfinite(difference.largest) and difference.elements == 2 for difference in found)
    counts = np.array([1, 2], np.int64)
    (difference,) = compare_states([make_record("n", counts, "i64")], [counts.tobytes()], [(counts + 7).tobytes()])
    assert (difference.largest, difference.ulps) == (7.0, ())


def test_the_cause_is_that_of_the_earliest_part():
    """Other samples explain another loss; a state alone was edited."""
    assert "samples" in explain(("membership", "content", "loss", "state root"))
    assert "committed data" in explain(("content", "loss"))
    assert "edited" in explain(("state root",))
    assert "no training step" in explain(("program",))
    assert explain(()) == "unknown"
