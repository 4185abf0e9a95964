"""Write `vectors/selection.json`: which intervals are drawn, and the chances that are stated.

Run as `python -m tools.selection_vectors`. The format is defined in `vectors/README.md`.
"""

from __future__ import annotations

import json
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

from assay.protocol.evidence.chances import FORMULA_VERSION, compute_miss_chance, compute_smallest_caught
from assay.protocol.evidence.selection import select_intervals

PATH = Path(__file__).resolve().parents[1] / "vectors" / "selection.json"
SIZES = ((1, 1), (2, 1), (2, 2), (10, 1), (10, 4), (10, 10), (300, 20), (100000, 12))
CORRUPT = (Fraction(0), Fraction(31, 1000), Fraction(1))


def render_fraction(value: Fraction) -> str:
    """Return numerator and denominator in lowest terms."""
    return f"{value.numerator}/{value.denominator}"


def render() -> str:
    """Return the text of the file."""
    content = {
        "selections": [
            {
                "randomness": randomness.hex(),
                "total": total,
                "sample": sample,
                "chosen": list(select_intervals(randomness, total, sample)),
            }
            for randomness in (bytes(32), sha256(b"selection").digest())
            for total, sample in SIZES
        ],
        "formula_version": FORMULA_VERSION,
        "chances": [
            {
                "total": total,
                "sample": sample,
                "corrupt": render_fraction(corrupt),
                "false": false,
                "miss": render_fraction(compute_miss_chance(total, sample, false, corrupt)),
                "smallest_caught": compute_smallest_caught(total, sample, corrupt=corrupt),
            }
            for total, sample in SIZES
            for corrupt in CORRUPT
            for false in sorted({1, min(3, total), total})
        ],
    }
    return json.dumps(content, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
