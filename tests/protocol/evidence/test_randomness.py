import json
from collections import Counter
from hashlib import sha256
from itertools import islice
from pathlib import Path

import pytest

from assay.protocol.encoding import float_to_bits
from assay.protocol.evidence import randomness
from assay.protocol.evidence.randomness import RandomArgument
from tools import randomness_vectors

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "randomness.json").read_text(encoding="utf-8"))
KEY = (3, 4)


def words(digits):
    """Return the numbers that hexadecimal digits stand for."""
    return tuple(int(word, 16) for word in digits)


def test_the_vectors_are_those_that_the_generator_writes():
    """The file in the repository is what the code says."""
    assert randomness_vectors.PATH.read_text(encoding="utf-8") == randomness_vectors.render()


def test_philox_gives_the_known_answers_of_its_authors():
    """RND-1: the three vectors that Random123 publishes for philox4x64 with ten rounds."""
    published = [
        ((0,) * 4, (0,) * 2, "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
        ((2**64 - 1,) * 4, (2**64 - 1,) * 2, "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0"),
        (
            words(["243f6a8885a308d3", "13198a2e03707344", "a4093822299f31d0", "082efa98ec4e6c89"]),
            words(["452821e638d01377", "be5466cf34e90c6c"]),
            "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6",
        ),
    ]
    for counter, key, block in published:
        assert randomness.compute_philox(counter, key) == words(block.split())
    for case in VECTORS["philox"]:
        assert randomness.compute_philox(words(case["counter"]), words(case["key"])) == words(case["block"])


def test_a_key_is_the_first_words_of_the_hash():
    """RND-2: tag 25, seed and three numbers, all little-endian, hashed with SHA-256."""
    seed = bytes(range(32))
    digest = sha256(b"\x19\x00" + seed + b"".join(n.to_bytes(8, "little") for n in (2, 9, 1))).digest()
    key = randomness.derive_key(seed, randomness.STEP, 9, 1)
    assert key == (int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little"))
    for case in VECTORS["keys"]:
        numbers = case["purpose"], int(case["step"]), int(case["microbatch"])
        assert randomness.derive_key(bytes.fromhex(case["seed"]), *numbers) == words(case["key"])


def test_words_begin_with_the_block_of_counter_one():
    """RND-3: NumPy's counter 0 is the reference's counter 1; the attempt stands in word 2, the ordinal in word 3."""
    found = list(islice(randomness.generate_words(KEY, 5, 2), 8))
    assert found[:4] == list(randomness.compute_philox((1, 0, 2, 5), KEY))
    assert found[4:] == list(randomness.compute_philox((2, 0, 2, 5), KEY))
    for case in VECTORS["words"]:
        found = islice(randomness.generate_words(words(case["key"]), case["ordinal"], case["attempt"]), 9)
        assert tuple(found) == words(case["words"])


@pytest.mark.parametrize("width", [16, 32, 64])
def test_lanes_are_the_little_endian_bytes_of_the_words(width):
    """RND-4: lanes are cut from the bytes of the words in order."""
    raw = b"".join(word.to_bytes(8, "little") for word in islice(randomness.generate_words(KEY, 1), 6))
    size = width // 8
    expected = [int.from_bytes(raw[i : i + size], "little") for i in range(0, len(raw), size)]
    for count in range(len(expected) + 1):
        assert randomness.get_lanes(KEY, 1, count, width) == expected[:count]


def test_bernoulli_vectors():
    """RND-5: an element is 1 where its lane is below the threshold."""
    for case in VECTORS["bernoulli"]:
        found = randomness.draw_bernoulli(words(case["key"]), case["ordinal"], 37, case["threshold"])
        assert "".join(map(str, found)) == case["values"]


def test_thresholds_are_rounded_half_to_even():
    """RND-6: ties at 2⁻¹⁷ go to the even threshold; 0 and 1 stay themselves."""
    for p, threshold in ((2.0**-17, 0), (3 * 2.0**-17, 2), (5 * 2.0**-17, 2), (0.0, 0), (1.0, 65536), (0.5, 32768)):
        assert randomness.compute_threshold(float_to_bits(p)) == threshold
    for case in VECTORS["thresholds"]:
        assert randomness.compute_threshold(int(case["p_keep"], 16)) == case["threshold"]


@pytest.mark.parametrize("p", [-5e-324, 1.0000000000000002, float("inf"), float("nan")])
def test_what_is_no_probability_is_refused(p):
    """RND-6: a probability is finite and in [0, 1]."""
    with pytest.raises(RandomArgument):
        randomness.compute_threshold(float_to_bits(p))


def test_uniform_vectors():
    """RND-7: bits of uniform numbers in all formats."""
    for case in VECTORS["uniform"]:
        bounds = int(case["low"], 16), int(case["high"], 16)
        found = randomness.draw_uniform(words(case["key"]), case["ordinal"], 11, *bounds, case["dtype"])
        assert tuple(found) == words(case["values"])


def test_uniform_never_reaches_its_upper_bound(monkeypatch):
    """RND-7: the largest lane, which rounds up to the bound, gives the largest number below it."""
    monkeypatch.setattr(randomness, "get_lanes", lambda _key, _ordinal, count, width: [2**width - 1] * count)
    bounds = float_to_bits(-(2.0**-149)), float_to_bits(0.0)
    assert randomness.draw_uniform(KEY, 0, 1, *bounds, "f32") == [0x80000001]
    one = float_to_bits(1.0)
    assert randomness.draw_uniform(KEY, 0, 1, 0, one, "f16") == [0x3BFF]
    assert randomness.draw_uniform(KEY, 0, 1, 0, one, "f32") == [0x3F7FFFFF]


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (1.0, 0.0, "f32"),
        (0.0, 1e39, "f32"),
        (-3e38, 3e38, "f32"),
        (0.0, float("inf"), "f64"),
        (0.0, 1.0, "i64"),
        (0.0, 65520.0, "f16"),
    ],
)
def test_uniform_refuses_bounds_without_a_meaning(low, high, dtype):
    """RND-7: bounds are in order, they and the span finite, the result a real number."""
    with pytest.raises(RandomArgument):
        randomness.draw_uniform(KEY, 0, 1, float_to_bits(low), float_to_bits(high), dtype)


def test_integers_vectors():
    """RND-9: multiply-shift with rejection in rounds."""
    for case in VECTORS["integers"]:
        bounds = int(case["low"]), int(case["high"])
        found = randomness.draw_integers(words(case["key"]), case["ordinal"], 23, *bounds)
        assert found == [int(value) for value in case["values"]]


def test_rejected_integers_take_the_next_words_in_rounds(monkeypatch):
    """RND-9: with n = 3 the words 0 and 0 of elements 0 and 2 are rejected; they take words 3 and 4 in order."""
    third = 2**64 // 3
    stream = [0, third + 9, 0, 2 * third + 9, 9]
    monkeypatch.setattr(randomness, "generate_words", lambda *_: iter(stream))
    assert randomness.draw_integers(KEY, 0, 3, 10, 13) == [12, 11, 10]


@pytest.mark.parametrize(("low", "high"), [(0, 0), (1, 0), (-(2**63) - 1, 0), (0, 2**63)])
def test_integers_refuse_an_empty_or_too_wide_range(low, high):
    """RND-9: −2⁶³ ≤ low < high ≤ 2⁶³ − 1."""
    with pytest.raises(RandomArgument):
        randomness.draw_integers(KEY, 0, 1, low, high)


def test_permutation_vectors():
    """RND-10: elements by ascending sort key."""
    for case in VECTORS["permutation"]:
        assert randomness.draw_permutation(words(case["key"]), case["ordinal"], case["size"]) == case["values"]


def test_equal_sort_keys_are_all_drawn_again(monkeypatch):
    """RND-10: two equal sort keys raise the attempt, so no order of equal elements is preferred."""
    streams = {0: [5, 1, 5], 1: [3, 9, 7]}
    monkeypatch.setattr(randomness, "generate_words", lambda _key, _ordinal, attempt: iter(streams[attempt]))
    assert randomness.draw_permutation(KEY, 0, 3) == [0, 2, 1]


def test_all_permutations_of_three_are_about_equally_frequent():
    """RND-10: over 3,000 keys each of the six permutations comes 500 times, give or take five deviations."""
    seen = Counter(tuple(randomness.draw_permutation((key, 0), 0, 3)) for key in range(3000))
    assert len(seen) == 6
    assert all(abs(count - 500) < 5 * (3000 * 5 / 36) ** 0.5 for count in seen.values())


@pytest.mark.parametrize(
    "arguments", [(bytes(31), 1, 0, 0), (bytes(32), 0, 0, 0), (bytes(32), 5, 0, 0), (bytes(32), 1, -1, 0),
                  (bytes(32), 1, 2**64, 0), (bytes(32), 1, 0, 2**64)]
)  # fmt: skip
def test_a_key_needs_a_whole_seed_a_known_purpose_and_numbers_of_64_bits(arguments):
    """RND-2: anything else is refused."""
    with pytest.raises(RandomArgument):
        randomness.derive_key(*arguments)


@pytest.mark.parametrize("threshold", [-1, 65537])
def test_a_threshold_out_of_range_is_refused(threshold):
    """RND-5: thresholds are 0 to 65536."""
    with pytest.raises(RandomArgument):
        randomness.draw_bernoulli(KEY, 0, 1, threshold)
