"""Counter-based draws with NumPy, bit-equal to `protocol/evidence/randomness.py`; and `normal`.

NumPy's Philox gives the words; its state is set per draw instead of making a new generator, because a step of a small
model takes a millisecond. One generator per thread.

Source: `spec/randomness.md`.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.protocol.encoding import float_to_bits
from assay.protocol.evidence.randomness import (
    COMPUTED_IN,
    Key,
    RandomArgument,
    compute_threshold,
    derive_key,
    get_uniform_bounds,
)

__all__ = [
    "derive_key",
    "draw_bernoulli",
    "draw_integers",
    "draw_normal",
    "draw_permutation",
    "draw_uniform",
    "get_threshold",
]

Array = npt.NDArray[Any]

STORED_AS: dict[str, np.dtype[Any]] = {
    "f16": np.dtype("<f2"), "bf16": np.dtype("<u2"), "f32": np.dtype("<f4"), "f64": np.dtype("<f8"),
    "bool": np.dtype("?"), "u8": np.dtype("u1"),
}  # fmt: skip
"""NumPy's type for each result; bf16 travels as its bit pattern in u16."""

REAL_TYPES: dict[object, str] = {np.float16: "f16", np.float32: "f32", np.float64: "f64"} | {n: n for n in COMPUTED_IN}
"""The names of the real types, by NumPy's type and by name."""

U16, U32 = np.dtype("<u2"), np.dtype("<u4")
"""Lanes."""

BF16_ONE = 0x3F80
BLOCK = 8192
"""Elements that `normal` computes at a time, so that its intermediates stay in cache."""


class _Words(threading.local):
    """One Philox generator per thread, and the state that it is set to before each draw."""

    def __init__(self) -> None:
        self.generator = np.random.Philox(key=0)
        self.state: Any = {
            "bit_generator": "Philox",
            "state": {"counter": [0, 0, 0, 0], "key": [0, 0]},
            "buffer": [0, 0, 0, 0],
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }
        self.philox: dict[str, Any] = self.state["state"]


_words = _Words()


def _draw_words(key: Key, ordinal: int, count: int, attempt: int = 0) -> npt.NDArray[np.uint64]:
    """Return the first `count` u64 words of a random node."""
    words = _words
    words.philox["key"] = key
    words.philox["counter"] = (0, 0, attempt, ordinal)
    words.generator.state = words.state
    return words.generator.random_raw(count)


def get_threshold(p_keep: float) -> int:
    """Return the threshold of `draw_bernoulli` for a probability in [0, 1].

    Raises:
        RandomArgument: not a probability.
    """
    return compute_threshold(float_to_bits(p_keep))


def draw_bernoulli(
    key: Key, ordinal: int, count: int, threshold: int, dtype: str = "f32", out: Array | None = None
) -> Array:
    """Return `count` values 0 or 1, shape (count,).

    Args:
        key: of `derive_key`.
        ordinal: of the random node in its program.
        count: number of elements.
        threshold: element i is 1 where u16 lane i is below it; 0 to 65536.
        dtype: a key of `STORED_AS`; bf16 is returned as bit patterns.
        out: a contiguous array of shape (count,) and the type that `dtype` is stored as, to write into.

    Raises:
        RandomArgument: a threshold out of range.
    """
    if 0 < threshold < 65536:
        hits = _draw_words(key, ordinal, (count + 3) >> 2).view(U16)[:count] < threshold
    elif threshold in {0, 65536}:
        hits = np.full(count, threshold != 0)
    else:
        raise RandomArgument("a threshold is 0 to 65536", actual=threshold)
    if out is None:
        out = hits.astype(STORED_AS[dtype], copy=False)
    else:
        np.copyto(out, hits)
    if dtype == "bf16":
        out *= BF16_ONE
    return out


def draw_uniform(
    key: Key, ordinal: int, count: int, low: float, high: float, dtype: str | type[np.floating[Any]] = "f32"
) -> Array:
    """Return `count` numbers in [low, high), shape (count,); all `low` where both bounds round to one number.

    Args:
        key: of `derive_key`.
        ordinal: of the random node in its program.
        low: the lower bound, a binary64.
        high: the upper bound, a binary64.
        count: number of elements.
        dtype: "f16", "bf16" (returned as bit patterns), "f32" or "f64"; or NumPy's type of the others.

    Raises:
        RandomArgument: bounds that are not finite or not in order; another dtype.
    """
    name = _get_real_type(dtype)
    start, end, span = _get_bounds(low, high, name)
    if name == "f64":
        result = (_draw_words(key, ordinal, count) >> np.uint64(11)).astype(np.float64)
        result *= 2.0**-53
    else:
        lanes = _draw_words(key, ordinal, (count + 1) >> 1).view(U32)
        result = (lanes[:count] >> np.uint32(8)).astype(np.float32)
        result *= np.float32(2.0**-24)
    result *= result.dtype.type(span)
    result += result.dtype.type(start)
    return _limit(result, start, end, name)


def _get_real_type(dtype: str | type[np.floating[Any]]) -> str:
    name = REAL_TYPES.get(dtype)
    if name is None:
        raise RandomArgument("real numbers only", expected=", ".join(COMPUTED_IN), actual=dtype)
    return name


@lru_cache(maxsize=1024)
def _get_bounds(low: float, high: float, dtype: str) -> tuple[float, float, float]:
    start, end, span = get_uniform_bounds(float_to_bits(low), float_to_bits(high), dtype)
    return float(start), float(end), float(span)


def _limit(values: Array, start: float, end: float, dtype: str) -> Array:
    """Round `values` to `dtype` and keep them below `end`, rounded likewise."""
    narrow = _convert(np.array([start, end], values.dtype), dtype)
    values = _convert(values, dtype)
    if narrow[0] == narrow[1]:
        values.fill(narrow[0])
        return values
    if dtype != "bf16":
        np.minimum(values, np.nextafter(narrow[1], narrow.dtype.type(-np.inf)), out=values)
        return values
    wide, limit = _widen(values), _widen(narrow)[1]
    bits = int(narrow[1])
    below = 0x8001 if bits & 0x7FFF == 0 else bits + 1 if bits & 0x8000 else bits - 1
    values[wide >= limit] = below
    return values


def _convert(values: Array, dtype: str) -> Array:
    """Round binary32 or binary64 values to `dtype`, ties to even; bf16 as bit patterns. A zero becomes +0."""
    if dtype != "bf16":
        with np.errstate(over="ignore"):
            values = values.astype(STORED_AS[dtype], copy=False)
        values += values.dtype.type(0)
        return values
    bits = values.view(np.uint32)
    rounded = ((bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)).astype("<u2")
    rounded[rounded == 0x8000] = 0
    return rounded


def _widen(patterns: Array) -> Array:
    """Return bf16 bit patterns as binary32 numbers."""
    return (patterns.astype(np.uint32) << np.uint32(16)).view(np.float32)


def draw_integers(key: Key, ordinal: int, count: int, low: int, high: int) -> npt.NDArray[np.int64]:
    """Return `count` integers in [low, high), exactly uniform, shape (count,).

    Raises:
        RandomArgument: an empty range, or bounds outside int64.
    """
    if not -(2**63) <= low < high <= 2**63 - 1:
        raise RandomArgument("bounds are in order and fit in int64", actual=(low, high))
    extent = high - low
    least = np.uint64(2**64 % extent)
    result = np.empty(count, np.uint64)
    waiting = np.arange(count)
    used = 0
    while len(waiting):
        words = _draw_words(key, ordinal, used + len(waiting))[used:]
        used += len(waiting)
        upper, lower = _multiply(words, extent)
        result[waiting] = upper
        waiting = waiting[lower < least]
    result += np.uint64(low % 2**64)
    return result.view(np.int64)


def _multiply(words: npt.NDArray[np.uint64], factor: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return upper and lower 64 bits of words · factor, by 32-bit halves."""
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    f1, f0 = np.uint64(factor >> 32), np.uint64(factor & 0xFFFFFFFF)
    w1, w0 = words >> half, words & mask
    middle = w1 * f0 + ((w0 * f0) >> half)
    cross = w0 * f1 + (middle & mask)
    return w1 * f1 + (middle >> half) + (cross >> half), words * np.uint64(factor)


def draw_permutation(key: Key, ordinal: int, size: int) -> npt.NDArray[np.int64]:
    """Return an exactly uniform permutation of 0 … size − 1, shape (size,)."""
    attempt = 0
    while True:
        sort_keys = _draw_words(key, ordinal, size, attempt)
        order = np.argsort(sort_keys)
        ascending = sort_keys[order]
        if not np.any(ascending[1:] == ascending[:-1]):
            return order
        attempt += 1


LN2 = 0.6931471805599453
SQRT_HALF = 0.7071067811865476
ATANH_TERMS = 12
"""Terms of the series of atanh; the first left out is below 2⁻⁶⁰ of the sum."""

CENTRE = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)  # fmt: skip
"""Numerator a and denominator b of PPND16 for |q| ≤ 0.425, ascending powers."""

TAIL = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip
"""Numerator c and denominator d of PPND16 for the tails, ascending powers."""


def draw_normal(
    key: Key, ordinal: int, count: int, mean: float, std: float, dtype: str | type[np.floating[Any]] = "f32"
) -> Array:
    """Return `count` normal numbers, shape (count,): mean + std·z in binary64, rounded to binary32, then to `dtype`.

    For f64 the binary64 value itself (RND-8). z = `compute_quantile` of (2·lane + 1)·2⁻³³ of u32 lanes.

    Args:
        key: of `derive_key`.
        ordinal: of the random node in its program.
        mean: a binary64.
        std: a binary64, not negative.
        count: number of elements.
        dtype: "f16", "bf16" (returned as bit patterns), "f32" or "f64"; or NumPy's type of the others.

    Raises:
        RandomArgument: a mean or deviation that is not finite, a negative deviation, another dtype.
    """
    name = _get_real_type(dtype)
    if not np.isfinite(mean) or not np.isfinite(std) or std < 0:
        raise RandomArgument("mean and deviation are finite, the deviation not negative", actual=(mean, std))
    lanes = _draw_words(key, ordinal, (count + 1) >> 1).view(U32)[:count]
    result = np.empty(count, STORED_AS[COMPUTED_IN[name]])
    with np.errstate(over="ignore"):
        for start in range(0, count, BLOCK):
            probability = lanes[start : start + BLOCK].astype(np.float64)
            probability *= 2.0
            probability += 1.0
            probability *= 2.0**-33
            values = compute_quantile(probability)
            values *= std
            values += mean
            result[start : start + BLOCK] = values
    return _convert(result, name)


def compute_quantile(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the normal quantile of probabilities, multiples of 2⁻³³ between 0 and 1, by PPND16 in binary64.

    Source: Wichura, algorithm AS 241, Applied Statistics 37 (1988).
    Differs: the far tails (p < e⁻²⁵) cannot occur and are left out; the logarithm is `compute_log`.
    """
    q = probability - 0.5
    r = q * q
    np.subtract(0.180625, r, out=r)
    z = _evaluate(CENTRE[0], r)
    z /= _evaluate(CENTRE[1], r)
    z *= q
    outside = np.flatnonzero(np.abs(q) > 0.425)
    if len(outside):
        p = probability[outside]
        r = np.sqrt(-compute_log(np.minimum(p, 1.0 - p)))
        r -= 1.6
        tail = _evaluate(TAIL[0], r) / _evaluate(TAIL[1], r)
        z[outside] = np.where(q[outside] < 0.0, -tail, tail)
    return z


def compute_log(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the natural logarithm of positive numbers from frexp and the series of atanh, in basic operations."""
    m, e = np.frexp(x)
    low = m < SQRT_HALF
    m = np.where(low, m + m, m)
    e = np.where(low, e - 1, e).astype(np.float64)
    s = (m - 1.0) / (m + 1.0)
    series = _evaluate(tuple(1.0 / (2 * k + 1) for k in range(ATANH_TERMS)), s * s)
    series *= s + s
    e *= LN2
    return e + series


def _evaluate(coefficients: tuple[float, ...], x: Array) -> Array:
    """Return a polynomial by Horner's rule, each operation rounded; coefficients by ascending powers."""
    result = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result *= x
        result += coefficient
    return result
