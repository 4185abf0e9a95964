"""The four measures of how far apart two consecutive states are.

Source: paper 000, section IV-C, Eq. 1 to 4; `spec/weight-analysis.md`, WGT-5 to WGT-7.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

import msgspec

from assay.errors import UsageError
from assay.verification.weight_analysis.sums import Sums

ABSOLUTE, L2, PERCENT, COSINE = MEASURES = ("absolute", "l2", "percent", "cosine")
"""Names of the measures, in the paper's order."""

DEFAULT_MEASURE: Final = ABSOLUTE


class UnknownMeasure(UsageError):
    """No measure has this name."""

    code: ClassVar[str] = "weights.measure"


class Measures(msgspec.Struct, frozen=True, rename="camel"):
    """The four measures of one pair.

    Attributes:
        absolute: Σ|b − a|, Eq. 1; 0 or more, in units of a weight.
        l2: √Σ(b − a)², Eq. 2; 0 or more.
        percent: 100·Σ|b − a| / Σ|a|, Eq. 3; None where all earlier weights are 0.
        cosine: 1 − cos(a, b), Eq. 4; from 0 to 2; None where one side is all 0.
    """

    absolute: float
    l2: float
    percent: float | None
    cosine: float | None

    def get(self, measure: str) -> float | None:
        """Return one measure by its name.

        Raises:
            UnknownMeasure: there is none of this name.
        """
        if measure not in MEASURES:
            raise UnknownMeasure("no such measure", expected=", ".join(MEASURES), actual=ascii(measure[:40]))
        value: float | None = getattr(self, measure)
        return value


def compute_measures(sums: Sums) -> Measures:
    """Return the four measures (WGT-5).

    Differs: Eq. 4 subtracts two numbers that are almost equal. With |a|, |b| the norms, 1 − a·b / |a||b| is
    (|b − a|² − (|b| − |a|)²) / 2|a||b|, which keeps its digits however close the states are (WGT-6).
    """
    before, after = math.sqrt(sums.before), math.sqrt(sums.after)
    cosine = None
    if before > 0 and after > 0:
        norms = (sums.after - sums.before) / (before + after)
        cosine = min(max((sums.squares - norms * norms) / (2 * before * after), 0.0), 2.0)
    percent = 100 * (sums.change / sums.magnitude) if sums.magnitude > 0 else None
    return Measures(sums.change, math.sqrt(sums.squares), percent, cosine)
