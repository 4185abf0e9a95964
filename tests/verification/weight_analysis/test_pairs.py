"""Two states in one streaming pass."""

import tracemalloc

import numpy as np
import pytest

from assay.training.arrays import BF16
from assay.verification.weight_analysis.pairs import (
    CHUNK,
    NoWeights,
    WeightsMismatch,
    WeightsNotFinite,
    compare_pair,
    compute_total,
)
from assay.verification.weight_analysis.sources import ArraySource, WeightTensor
from assay.verification.weight_analysis.sums import Sums, add_blocks, join_sums, sum_blocks


def make_source(label="state", **changed):
    """Return a state with four kinds of weights and a counter."""
    random = np.random.default_rng(0)
    arrays = {
        "b.weight": random.standard_normal((3, 5)).astype("<f4"),
        "a.weight": random.standard_normal(CHUNK + 3).astype("<f2"),
        "c.bias": np.arange(7, dtype="<u2").view(BF16),
        "d.scale": np.array(2.5, "<f8"),
        "e.empty": np.zeros((0, 4), "<f4"),
        "count": np.array(3, "<i8"),
    }
    arrays.update(changed)
    return ArraySource(label, {name: array for name, array in arrays.items() if array is not None})


def test_each_tensor_has_its_sums():
    """Tensors of several types and of more than a chunk are read whole; integers are left out (WGT-1, WGT-4)."""
    later = make_source(**{"b.weight": np.ones((3, 5), "<f4"), "count": np.array(9, "<i8")})
    found = compare_pair(make_source(), later)
    assert list(found) == ["a.weight", "b.weight", "c.bias", "d.scale", "e.empty"]
    b = np.random.default_rng(0).standard_normal((3, 5)).astype("<f4")
    assert found["b.weight"] == add_blocks([sum_blocks("f32", b.tobytes(), np.ones(15, "<f4").tobytes())])
    assert found["a.weight"].change == 0
    assert found["a.weight"].before == found["a.weight"].after > 0
    assert found["e.empty"] == Sums()
    assert compute_total(found) == join_sums(found.values())


@pytest.mark.parametrize(
    "changed",
    [
        {"b.weight": None},
        {"b.weight": np.ones((5, 3), "<f4")},
        {"b.weight": np.ones((3, 5), "<f8")},
        {"extra": np.ones(2, "<f4")},
        {"count": np.array(3, "<i4")},
    ],
    ids=["missing", "shape", "type", "extra", "type of a counter"],
)
def test_other_tensors_are_refused(changed):
    """States of different models are not compared, and the tensor is named (WGT-8)."""
    with pytest.raises(WeightsMismatch) as refused:
        compare_pair(make_source("one"), make_source("other", **changed))
    assert refused.value.code == "weights.mismatch"
    assert next(iter(changed)) in refused.value.message


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(side, value):
    """A single NaN or infinity anywhere is named, on either side (WGT-9)."""
    array = np.ones((3, 5), "<f4")
    array[2, 4] = value
    sources = [make_source("one"), make_source("other")]
    sources[side] = make_source("odd", **{"b.weight": array})
    with pytest.raises(WeightsNotFinite) as refused:
        compare_pair(*sources)
    assert refused.value.code == "weights.not-finite"
    assert "b.weight" in refused.value.message


def test_sums_that_overflow_are_refused():
    """Finite float64 weights whose squares are not finite have no L2 (WGT-9)."""
    with pytest.raises(WeightsNotFinite):
        compare_pair(make_source(), make_source(**{"d.scale": np.array(1e200, "<f8")}))


def test_a_state_without_weights_is_refused():
    """Counters alone are no weights."""
    source = ArraySource("counters", {"count": np.array(3, "<i8")})
    with pytest.raises(NoWeights) as refused:
        compare_pair(source, source)
    assert refused.value.code == "weights.none"


@pytest.mark.parametrize("threads", [1, 2, 3, 100])
def test_threads_change_no_bit(threads):
    """Any number of threads gives the same sums, and the first odd tensor by name is named."""
    later = make_source(**{"b.weight": np.ones((3, 5), "<f4")})
    found = compare_pair(make_source(), later, threads=threads)
    assert found == compare_pair(make_source(), later, threads=1)
    assert list(found) == sorted(found)
    odd = make_source(**{"b.weight": np.full((3, 5), np.nan, "<f4"), "d.scale": np.array(np.inf)})
    with pytest.raises(WeightsNotFinite) as refused:
        compare_pair(make_source(), odd, threads=threads)
    assert "b.weight" in refused.value.message


class Endless:
    """A state of one enormous tensor that is made while it is read."""

    label = "endless"

    def __init__(self, elements):
        self.tensors = {"w": WeightTensor("f16", (elements,))}

    def read_into(self, name, offset, buffer):
        """Fill with small numbers."""
        buffer[:] = b"\x00\x3c" * (len(buffer) // 2)


def test_memory_is_that_of_a_chunk():
    """128 MB on each side are compared in less than 8 MB."""
    tracemalloc.start()
    try:
        found = compare_pair(Endless(2**26), Endless(2**26))
        assert found["w"] == (0.0, 0.0, 2.0**26, 2.0**26, 2.0**26)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
