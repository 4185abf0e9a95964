"""The five sums: one order, one result."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.verification.weight_analysis import kernel
from assay.verification.weight_analysis.sums import Sums, add_blocks, join_sums, sum_blocks, widen
from tests.verification.weight_analysis.examples import add_slowly, decode, make_bytes

TYPES = ("f16", "bf16", "f32", "f64")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 4095, 4096, 4097, 8200])
def test_the_order_is_that_of_the_specification(dtype, count):
    """NumPy's sums and the kernel's have the bits of a loop over the elements (WGT-2, WGT-3)."""
    one, other = make_bytes(dtype, count, 1), make_bytes(dtype, count, 2)
    expected = add_slowly(dtype, one, other)
    assert add_blocks([sum_blocks(dtype, one, other)]) == expected
    assert add_blocks([kernel.sum_blocks(dtype, bytearray(one), bytearray(other))]) == expected


@pytest.mark.parametrize("dtype", TYPES)
def test_every_element_is_widened_exactly(dtype):
    """Every finite bit pattern of a 16-bit type, and extremes of the others, keep their value (WGT-1)."""
    if dtype in {"f16", "bf16"}:
        data = np.arange(2**16, dtype="<u2").tobytes()
    else:
        kind = {"f32": np.float32, "f64": np.float64}[dtype]
        limits = np.finfo(kind)
        data = np.array([limits.max, limits.min, limits.tiny, limits.smallest_subnormal, -0.0], kind).tobytes()
    found = widen(dtype, data).tolist()
    assert all(x == y or (math.isnan(x) and math.isnan(y)) for x, y in zip(found, decode(dtype, data), strict=True))


@given(st.lists(st.tuples(*[st.floats(-(2.0**60), 2.0**60, width=32)] * 2), max_size=60))
def test_sums_are_close_to_the_exact_ones(pairs):
    """Each sum is within rounding of the exact one."""
    a, b = (np.array([pair[side] for pair in pairs], "<f4") for side in (0, 1))
    x, y = a.astype(np.float64), b.astype(np.float64)
    terms = (abs(y - x), (y - x) ** 2, abs(x), x * x, y * y)
    found = add_blocks([sum_blocks("f32", a.tobytes(), b.tobytes())])
    for value, term in zip(found, terms, strict=True):
        assert value == pytest.approx(math.fsum(term.tolist()), rel=1e-12, abs=1e-12 * math.fsum(abs(term).tolist()))


def test_chunks_of_whole_blocks_do_not_change_a_bit():
    """A tensor that arrives in parts has the sums of the whole."""
    one, other = make_bytes("f32", 3 * 4096 + 5, 3), make_bytes("f32", 3 * 4096 + 5, 4)
    cut = 4 * 2 * 4096
    parts = [sum_blocks("f32", one[:cut], other[:cut]), sum_blocks("f32", one[cut:], other[cut:])]
    assert add_blocks(parts) == add_blocks([sum_blocks("f32", one, other)])


def test_tensors_are_added_in_order():
    """Joining adds one tensor after the other from +0 (WGT-4)."""
    parts = [Sums(*[1e16] * 5), Sums(*[1.0] * 5), Sums(*[1.0] * 5)]
    assert join_sums(parts) == Sums(*[(1e16 + 1.0) + 1.0] * 5) == Sums(*[1e16] * 5)
    assert join_sums([]) == Sums()
