"""Rounding of exact rationals to IEEE 754 binary formats, with integers alone.

A floating-point number travels as its bit pattern. Here a finite pattern becomes the rational number that it stands
for, and a rational number becomes the pattern of the nearest number, ties to the even pattern, subnormals kept.

Source: IEEE 754-2019, sections 3.4 and 4.3.1; `spec/randomness.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class BinaryFormat:
    """A binary interchange format.

    Args:
        exponent_bits: width of the exponent field.
        fraction_bits: width of the trailing significand.
    """

    exponent_bits: int
    fraction_bits: int

    @property
    def bias(self) -> int:
        """The exponent bias, also the largest exponent."""
        return int(2 ** (self.exponent_bits - 1)) - 1

    @property
    def smallest_exponent(self) -> int:
        """Exponent of the last place of subnormal numbers."""
        return 1 - self.bias - self.fraction_bits

    @property
    def infinity(self) -> int:
        """Bits of +infinity."""
        return ((1 << self.exponent_bits) - 1) << self.fraction_bits

    @property
    def sign(self) -> int:
        """The sign bit."""
        return 1 << (self.exponent_bits + self.fraction_bits)


FORMATS = {
    "f16": BinaryFormat(5, 10),
    "bf16": BinaryFormat(8, 7),
    "f32": BinaryFormat(8, 23),
    "f64": BinaryFormat(11, 52),
}
"""The formats by the name of their element type."""


def round_half_even(value: Fraction) -> int:
    """Return the integer nearest to `value`, ties to even."""
    quotient, remainder = divmod(value.numerator, value.denominator)
    twice = 2 * remainder
    if twice > value.denominator or (twice == value.denominator and quotient % 2):
        quotient += 1
    return quotient


def round_to_bits(value: Fraction, dtype: str) -> int:
    """Return the bits of the number of `dtype` nearest to `value`; a zero result is +0, overflow gives infinity.

    Args:
        value: an exact rational number.
        dtype: a key of `FORMATS`.
    """
    form = FORMATS[dtype]
    sign = form.sign if value < 0 else 0
    magnitude = abs(value)
    if magnitude == 0:
        return 0
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < Fraction(2) ** exponent:
        exponent -= 1
    place = max(exponent - form.fraction_bits, form.smallest_exponent)
    units = round_half_even(magnitude * Fraction(2) ** -place)
    # The fields follow each other, so a carry out of the significand moves the exponent as it must.
    bits = units + ((place - form.smallest_exponent) << form.fraction_bits)
    bits = min(bits, form.infinity)
    return (bits | sign) if bits else 0


def bits_to_fraction(bits: int, dtype: str) -> Fraction:
    """Return the exact value of a finite number.

    Args:
        bits: the bit pattern, unsigned.
        dtype: a key of `FORMATS`.

    Raises:
        ValueError: the pattern is infinite or not a number.
    """
    form = FORMATS[dtype]
    magnitude = bits & (form.sign - 1)
    if magnitude >= form.infinity:
        raise ValueError(f"{dtype} bits {bits:#x} are not finite")
    exponent, fraction = divmod(magnitude, 1 << form.fraction_bits)
    if exponent:
        fraction += 1 << form.fraction_bits
    value = Fraction(fraction) * Fraction(2) ** (max(exponent, 1) - 1 + form.smallest_exponent)
    return -value if bits & form.sign else value


def get_predecessor(bits: int, dtype: str) -> int:
    """Return the bits of the largest number below a finite number; below either zero is the smallest subnormal."""
    sign = FORMATS[dtype].sign
    if bits & (sign - 1) == 0:
        return sign | 1
    return bits + 1 if bits & sign else bits - 1
