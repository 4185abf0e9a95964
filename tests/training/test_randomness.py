"""The fast draws against the definition in integers, and `normal` against a scalar form of its definition."""

import json
import math
import statistics
import struct
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.protocol.encoding import bits_to_float, float_to_bits
from assay.protocol.evidence import randomness as oracle
from assay.protocol.evidence.randomness import RandomArgument
from assay.protocol.evidence.rounding import round_to_bits
from assay.training import randomness

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "randomness.json").read_text(encoding="utf-8"))
SIZES = [*range(71), 1021, 8191, 8193]
KEYS = (oracle.derive_key(bytes(32), 1, 0), (2**64 - 1, 2**63), (0, 0))
DTYPES = ("f16", "bf16", "f32", "f64")

words = st.integers(0, 2**64 - 1)
keys = st.tuples(words, words)
counts = st.integers(0, 300)
reals = st.floats(-1e30, 1e30) | st.floats(-1e5, 1e5)


def to_bits(array):
    """Return the bit patterns of an array."""
    return array.view(f"u{array.itemsize}").tolist()


@pytest.mark.parametrize("key", KEYS)
def test_bernoulli_is_the_oracles_at_every_small_size(key):
    """Sizes 0 to 70 and some large ones, thresholds at both ends, all storage types."""
    for size in SIZES:
        for threshold in (0, 1, 40000, 65535, 65536):
            expected = oracle.draw_bernoulli(key, size, size, threshold)
            for dtype, one in (("f32", 1), ("bool", 1), ("u8", 1), ("f64", 1), ("f16", 1), ("bf16", 0x3F80)):
                found = randomness.draw_bernoulli(key, size, size, threshold, dtype)
                assert found.dtype == randomness.STORED_AS[dtype]
                assert found.tolist() == [one * value for value in expected]
            if size > 70:
                break


@given(keys, words, counts, st.integers(0, 65536))
def test_bernoulli_is_the_oracles_anywhere(key, ordinal, count, threshold):
    """Any key, ordinal, size and threshold; also into a given array."""
    out = np.full(count, 7, np.float32)
    found = randomness.draw_bernoulli(key, ordinal, count, threshold, out=out)
    assert found is out
    assert out.tolist() == oracle.draw_bernoulli(key, ordinal, count, threshold)


@given(keys, words, counts, reals, reals, st.sampled_from(DTYPES))
def test_uniform_is_the_oracles_anywhere(key, ordinal, count, low, high, dtype):
    """Any bounds: the same bits, or the same refusal."""
    low, high = min(low, high), max(low, high)
    try:
        expected = oracle.draw_uniform(key, ordinal, count, float_to_bits(low), float_to_bits(high), dtype)
    except RandomArgument:
        with pytest.raises(RandomArgument):
            randomness.draw_uniform(key, ordinal, count, low, high, dtype)
    else:
        assert to_bits(randomness.draw_uniform(key, ordinal, count, low, high, dtype)) == expected


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniform_is_the_oracles_at_awkward_bounds(dtype):
    """Bounds at zero, among subnormals, a few units apart, or equal after rounding."""
    bounds = [(0.0, 1.0), (-3.0, 0.0), (-0.0, 0.0), (1.0, 1.0000002), (1.0, 1.0 + 2.0**-40), (1e-45, 4e-45),
              (-6e-8, 6e-8), (0.0, 1e-40), (-1.0, -0.9999999), (-65504.0, 65504.0), (5e-324, 1e-323)]  # fmt: skip
    for low, high in bounds:
        for size in (0, 1, 33, 257):
            expected = oracle.draw_uniform(KEYS[0], 1, size, float_to_bits(low), float_to_bits(high), dtype)
            assert to_bits(randomness.draw_uniform(KEYS[0], 1, size, low, high, dtype)) == expected, (low, high)


def test_uniform_stays_below_its_upper_bound_for_the_largest_lanes(monkeypatch):
    """Lanes of ones only: each result is the largest number below the bound, as in the oracle."""
    monkeypatch.setattr(oracle, "get_lanes", lambda _key, _ordinal, count, width: [2**width - 1] * count)
    monkeypatch.setattr(randomness, "_draw_words", lambda *a: np.full(a[2], 2**64 - 1, np.uint64))
    for low, high in ((0.0, 1.0), (-(2.0**-149), 0.0), (-1e-40, 0.0), (-1.0, 1.0), (1.0, 1.5), (-2.0, -1.0)):
        for dtype in DTYPES:
            expected = oracle.draw_uniform(KEYS[0], 0, 3, float_to_bits(low), float_to_bits(high), dtype)
            assert to_bits(randomness.draw_uniform(KEYS[0], 0, 3, low, high, dtype)) == expected


@given(keys, words, counts, st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_integers_are_the_oracles_anywhere(key, ordinal, count, first, second):
    """Any range inside int64, including those where almost half of the lanes are rejected."""
    low, high = min(first, second), max(first, second)
    if low == high:
        with pytest.raises(RandomArgument):
            randomness.draw_integers(key, ordinal, count, low, high)
    else:
        expected = oracle.draw_integers(key, ordinal, count, low, high)
        assert randomness.draw_integers(key, ordinal, count, low, high).tolist() == expected


@given(keys, words, counts, st.sampled_from([2**63 + 1, 3 * 2**61, 2**64 - 1, 10, 1, 2**32, 2**32 + 1]))
def test_integers_are_the_oracles_where_many_lanes_are_rejected(key, ordinal, count, extent):
    """Ranges just above a power of two."""
    low = -(2**63)
    expected = oracle.draw_integers(key, ordinal, count, low, low + extent)
    assert randomness.draw_integers(key, ordinal, count, low, low + extent).tolist() == expected


@given(keys, words, counts)
def test_permutations_are_the_oracles_anywhere(key, ordinal, size):
    """Any size, and each a permutation."""
    found = randomness.draw_permutation(key, ordinal, size)
    assert found.dtype == np.int64
    assert found.tolist() == oracle.draw_permutation(key, ordinal, size)


def test_equal_sort_keys_are_drawn_again(monkeypatch):
    """A collision raises the attempt."""
    streams = {0: [5, 1, 5], 1: [3, 9, 7]}
    monkeypatch.setattr(
        randomness, "_draw_words", lambda _key, _ordinal, _count, attempt: np.array(streams[attempt], np.uint64)
    )
    assert randomness.draw_permutation((0, 0), 0, 3).tolist() == [0, 2, 1]


# Normal, one number at a time, as RND-8 has it; coefficients as printed in the paper's FORTRAN.
A = (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3)  # fmt: skip
B = (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3, 2.1213794301586595867e4,
     3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3)  # fmt: skip
C = (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2,
     7.74545014278341407640e-4)  # fmt: skip
D = (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1, 1.48103976427480074590e-1,
     1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9)  # fmt: skip


def polynomial(coefficients, x):
    """RND-8.3: Horner's rule."""
    result = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        result = result * x
        result = result + coefficient
    return result


def log(x):
    """RND-8.4."""
    m, e = math.frexp(x)
    if m < 0.7071067811865476:
        m, e = m + m, e - 1
    s = (m - 1.0) / (m + 1.0)
    series = polynomial([1.0 / (2 * k + 1) for k in range(12)], s * s)
    return e * 0.6931471805599453 + series * (s + s)


def quantile(lane):
    """RND-8.1 and RND-8.2."""
    p = (2.0 * lane + 1.0) * 2.0**-33
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return (polynomial(A, r) / polynomial(B, r)) * q
    r = math.sqrt(-log(min(p, 1.0 - p))) - 1.6
    z = polynomial(C, r) / polynomial(D, r)
    return -z if q < 0 else z


def normal(key, ordinal, count, mean, std, dtype):
    """Return the bits of normal numbers."""
    bits = []
    for lane in oracle.get_lanes(key, ordinal, count, 32):
        value = mean + std * quantile(lane) + 0.0
        if dtype == "f64":
            bits.append(float_to_bits(value))
            continue
        single = round_to_bits(Fraction(value), "f32")
        exact = Fraction(struct.unpack("<f", struct.pack("<I", single))[0])
        bits.append(round_to_bits(exact, dtype))
    return bits


@settings(max_examples=60)
@given(keys, words, counts, st.floats(-1e30, 1e30), st.floats(0, 1e30), st.sampled_from(DTYPES))
def test_normal_is_its_definition_anywhere(key, ordinal, count, mean, std, dtype):
    """RND-8: the same bits as the definition, one number at a time."""
    expected = normal(key, ordinal, count, mean, std, dtype)
    assert to_bits(randomness.draw_normal(key, ordinal, count, mean, std, dtype)) == expected


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_is_its_definition_at_every_small_size_and_across_blocks(dtype):
    """RND-8: sizes 0 to 70, and around the size at which the computation is cut into blocks."""
    for size in SIZES:
        found = to_bits(randomness.draw_normal(KEYS[0], 3, size, 0.0, 0.02, dtype))
        assert found == normal(KEYS[0], 3, size, 0.0, 0.02, dtype)


def test_normal_vectors():
    """RND-8: the stored answers, by both forms."""
    for case in VECTORS["normal"]:
        key = tuple(int(word, 16) for word in case["key"])
        mean, std = (bits_to_float(int(case[name], 16)) for name in ("mean", "std"))
        expected = [int(value, 16) for value in case["values"]]
        assert normal(key, case["ordinal"], 41, mean, std, case["dtype"]) == expected
        assert to_bits(randomness.draw_normal(key, case["ordinal"], 41, mean, std, case["dtype"])) == expected


@pytest.mark.parametrize("lane", [0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 322122547, 322122548])
def test_the_quantile_is_near_the_standard_librarys(lane):
    """RND-8: at the ends, in the middle and where the branches meet, within 4 units in the last place."""
    p = np.array([(2 * lane + 1) * 2.0**-33])
    expected = statistics.NormalDist().inv_cdf(p[0])
    found = randomness.compute_quantile(p)[0]
    assert found == quantile(lane)
    assert abs(found - expected) <= 4 * math.ulp(expected)


@given(st.integers(0, 2**31))
def test_the_logarithm_is_near_the_standard_librarys(lane):
    """RND-8.4: within 2 units in the last place over all arguments that occur."""
    p = (2 * lane + 1) * 2.0**-33
    assert abs(log(p) - math.log(p)) <= 2 * math.ulp(math.log(p)) or p > 0.9
    assert randomness.compute_log(np.array([p]))[0] == log(p)


def test_normal_has_the_moments_of_a_normal_distribution():
    """200,000 numbers: mean, deviation and fourth moment within five of their own deviations."""
    z = randomness.draw_normal(KEYS[0], 0, 200_000, 0.0, 1.0, "f64")
    n = len(z)
    assert abs(z.mean()) < 5 / n**0.5
    assert abs((z**2).mean() - 1) < 5 * (2 / n) ** 0.5
    assert abs((z**4).mean() - 3) < 5 * (96 / n) ** 0.5


def test_overflow_of_normal_gives_infinity():
    """RND-8: beyond the format, infinity of the sign."""
    found = randomness.draw_normal(KEYS[0], 0, 50, 0.0, 1e300, "f32")
    assert set(np.abs(found).tolist()) == {math.inf}


@pytest.mark.parametrize(
    ("mean", "std", "dtype"),
    [(math.nan, 1.0, "f32"), (0.0, math.inf, "f32"), (0.0, -1.0, "f32"), (0.0, 1.0, "i32")],
)
def test_normal_refuses_arguments_without_a_meaning(mean, std, dtype):
    """RND-8: finite mean and deviation, deviation not negative, a real type."""
    with pytest.raises(RandomArgument):
        randomness.draw_normal(KEYS[0], 0, 1, mean, std, dtype)


def test_fast_draws_refuse_what_the_oracle_refuses():
    """Thresholds, bounds and types outside the definition."""
    for threshold in (-1, 65537):
        with pytest.raises(RandomArgument):
            randomness.draw_bernoulli(KEYS[0], 0, 1, threshold)
    for low, high, dtype in ((1.0, 0.0, "f32"), (0.0, 1e39, "f32"), (0.0, math.nan, "f64"), (0.0, 1.0, "u8")):
        with pytest.raises(RandomArgument):
            randomness.draw_uniform(KEYS[0], 0, 1, low, high, dtype)
    with pytest.raises(RandomArgument):
        randomness.get_threshold(1.5)


def test_draws_in_threads_do_not_disturb_each_other():
    """Each thread has its own generator."""

    def draw(ordinal):
        return [randomness.draw_bernoulli(KEYS[0], ordinal, 500, 30000).tobytes() for _ in range(200)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(draw, range(8)))
    for ordinal, results in enumerate(found):
        assert set(results) == {randomness.draw_bernoulli(KEYS[0], ordinal, 500, 30000).tobytes()}
