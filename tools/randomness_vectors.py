"""Write `vectors/randomness.json`: known answers of the random draws and of the order.

Run as `python -m tools.randomness_vectors`. The format is defined in `vectors/README.md`.
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

from assay.protocol.encoding import float_to_bits
from assay.protocol.evidence import order, randomness
from assay.training.randomness import draw_normal

PATH = Path(__file__).resolve().parents[1] / "vectors" / "randomness.json"
SEEDS = (bytes(32), bytes(range(32)), b"\xff" * 32)
KEYS = (randomness.derive_key(SEEDS[0], randomness.INIT, 0), randomness.derive_key(SEEDS[1], randomness.STEP, 7, 1))
DTYPES = ("f16", "bf16", "f32", "f64")
WIDTHS = {"f16": 4, "bf16": 4, "f32": 8, "f64": 16}
PHILOX = (
    ((0, 0, 0, 0), (0, 0)),
    ((2**64 - 1,) * 4, (2**64 - 1,) * 2),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
    ),
    ((1, 0, 0, 5), (1, 2)),
)


def to_hex(words: tuple[int, ...] | list[int], digits: int = 16) -> list[str]:
    """Return unsigned numbers as hexadecimal digits, most significant first."""
    return [f"{word:0{digits}x}" for word in words]


def generate() -> dict[str, Any]:
    """Return the vectors as they are written."""
    return {
        "philox": [
            {"counter": to_hex(counter), "key": to_hex(key), "block": to_hex(randomness.compute_philox(counter, key))}
            for counter, key in PHILOX
        ],
        "keys": [
            {
                "seed": seed.hex(), "purpose": purpose, "step": str(step), "microbatch": str(microbatch),
                "key": to_hex(randomness.derive_key(seed, purpose, step, microbatch)),
            }
            for seed in SEEDS
            for purpose, step, microbatch in ((1, 0, 0), (2, 1, 0), (2, 2**32, 3), (3, 0, 0), (4, 2**64 - 1, 0))
        ],
        "thresholds": [
            {"p_keep": f"{float_to_bits(p):016x}", "threshold": randomness.compute_threshold(float_to_bits(p))}
            for p in (0.0, 1.0, 0.5, 0.75, 0.9, 1 - 0.1, 0.1, 2.0**-17, 3 * 2.0**-17, 1 - 2.0**-17, 5e-324)
        ],
        "words": [
            {
                "key": to_hex(key), "ordinal": ordinal, "attempt": attempt,
                "words": to_hex(list(islice(randomness.generate_words(key, ordinal, attempt), 9))),
            }
            for key in KEYS for ordinal, attempt in ((0, 0), (5, 0), (5, 1))
        ],
        "bernoulli": [_bernoulli(key, ordinal, threshold) for key in KEYS for ordinal, threshold in
                      ((0, 0), (1, 1), (2, 32768), (3, 58982), (4, 65535), (5, 65536))],
        "uniform": [_uniform(key, low, high, dtype) for key in KEYS for dtype in DTYPES for low, high in
                    ((0.0, 1.0), (-0.1, 0.1), (-3.0, 0.0), (1.0, 1.0000002), (-0.0, -0.0))],
        "normal": [_normal(key, mean, std, dtype) for key in KEYS for dtype in DTYPES for mean, std in
                   ((0.0, 1.0), (0.5, 0.02), (-1e-3, 0.0))],
        "integers": [_integers(key, low, high) for key in KEYS for low, high in
                     ((0, 10), (-5, 7), (0, 2**32), (-(2**63), 2**63 - 1), (0, 2**63 - 1), (0, 3 * 2**61), (4, 5))],
        "permutation": [
            {"key": to_hex(key), "ordinal": 6, "size": size, "values": randomness.draw_permutation(key, 6, size)}
            for key in KEYS for size in (0, 1, 2, 17)
        ],
        "order": [
            {"version": version, "seed": seed.hex(), "epoch": epoch, "size": size,
             "values": order.compute_order(version, seed, epoch, size)}
            for seed in SEEDS for version, epoch, size in ((0, 3, 5), (1, 0, 12), (1, 1, 12))
        ],
    }  # fmt: skip


def _bernoulli(key: randomness.Key, ordinal: int, threshold: int) -> dict[str, Any]:
    values = randomness.draw_bernoulli(key, ordinal, 37, threshold)
    return {"key": to_hex(key), "ordinal": ordinal, "threshold": threshold, "values": "".join(map(str, values))}


def _uniform(key: randomness.Key, low: float, high: float, dtype: str) -> dict[str, Any]:
    bounds = float_to_bits(low), float_to_bits(high)
    values = randomness.draw_uniform(key, 8, 11, *bounds, dtype)
    return {
        "key": to_hex(key), "ordinal": 8, "low": f"{bounds[0]:016x}", "high": f"{bounds[1]:016x}",
        "dtype": dtype, "values": to_hex(values, WIDTHS[dtype]),
    }  # fmt: skip


def _normal(key: randomness.Key, mean: float, std: float, dtype: str) -> dict[str, Any]:
    values = draw_normal(key, 9, 41, mean, std, dtype)
    return {
        "key": to_hex(key), "ordinal": 9, "mean": f"{float_to_bits(mean):016x}", "std": f"{float_to_bits(std):016x}",
        "dtype": dtype, "values": to_hex(values.view(f"u{values.itemsize}").tolist(), WIDTHS[dtype]),
    }  # fmt: skip


def _integers(key: randomness.Key, low: int, high: int) -> dict[str, Any]:
    values = randomness.draw_integers(key, 10, 23, low, high)
    return {"key": to_hex(key), "ordinal": 10, "low": str(low), "high": str(high), "values": list(map(str, values))}


def render() -> str:
    """Return the text of the file: one case per line."""
    sections = []
    for name, cases in generate().items():
        lines = ",\n".join("    " + json.dumps(case) for case in cases)
        sections.append(f'  "{name}": [\n{lines}\n  ]')
    return "{\n" + ",\n".join(sections) + "\n}\n"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
