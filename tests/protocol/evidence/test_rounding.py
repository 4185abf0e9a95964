import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.protocol.evidence.rounding import (
    FORMATS,
    bits_to_fraction,
    get_predecessor,
    round_half_even,
    round_to_bits,
)

finite_f64 = st.floats(allow_nan=False, allow_infinity=False)


def bits_of(value: float) -> int:
    """Return the bits of a binary64 number."""
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


@given(finite_f64)
def test_every_finite_binary64_is_the_rational_that_python_says(value):
    """Bits become the exact rational number, and rounding that gives the bits back, except that -0 becomes +0."""
    exact = bits_to_fraction(bits_of(value), "f64")
    assert exact == Fraction(value)
    assert round_to_bits(exact, "f64") == bits_of(value + 0.0)


@given(finite_f64)
def test_rounding_to_shorter_formats_is_numpys(value):
    """A binary64 number rounds to the binary16 and binary32 number that NumPy rounds it to."""
    with np.errstate(over="ignore"):
        for dtype, wide, integer in (("f16", np.float16, np.uint16), ("f32", np.float32, np.uint32)):
            expected = wide(value)
            found = round_to_bits(Fraction(value), dtype)
            assert found == int((expected + wide(0)).view(integer)), dtype


@given(st.integers(0, 2**15 - 1), st.integers(1, 3))
def test_between_two_numbers_the_nearer_or_the_even_one_is_taken(bits, quarters):
    """A quarter above rounds down, three quarters round up, the middle goes to the even pattern; carries included."""
    form = FORMATS["bf16"]
    if bits >= form.infinity - 1:
        bits = form.infinity - 2
    low, high = bits_to_fraction(bits, "bf16"), bits_to_fraction(bits + 1, "bf16")
    expected = {1: bits, 2: bits + bits % 2, 3: bits + 1}[quarters]
    assert round_to_bits(low + (high - low) * quarters / 4, "bf16") == expected


def test_overflow_gives_infinity_and_infinity_has_no_value():
    """A number beyond the largest rounds to infinity of its sign, which has no rational value."""
    assert round_to_bits(Fraction(10) ** 60, "f32") == FORMATS["f32"].infinity
    assert round_to_bits(-(Fraction(10) ** 60), "f32") == FORMATS["f32"].infinity | FORMATS["f32"].sign
    with pytest.raises(ValueError, match="not finite"):
        bits_to_fraction(FORMATS["f32"].infinity, "f32")


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-3.0000000054977558e38))
def test_the_predecessor_is_numpys_next_number_down(value):
    """The largest number below a finite one, across zero too."""
    bits = int(np.float32(value).view(np.uint32))
    expected = np.nextafter(np.float32(value), np.float32(-np.inf))
    assert get_predecessor(bits, "f32") == int(expected.view(np.uint32))


@given(st.fractions())
def test_round_half_even_is_pythons(value):
    """Integers are rounded to as `round` does."""
    assert round_half_even(value) == round(value)
