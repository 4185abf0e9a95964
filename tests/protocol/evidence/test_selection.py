import json
from collections import Counter
from fractions import Fraction
from hashlib import sha256
from itertools import combinations, count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import MalformedEvidence
from assay.protocol.evidence.chances import ChanceRefused, compute_miss_chance, compute_smallest_caught
from assay.protocol.evidence.selection import SampleRefused, draw_below, draw_numbers, select_intervals
from tools import selection_vectors

VECTORS = json.loads(selection_vectors.PATH.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "case", VECTORS["selections"], ids=lambda c: f"{c['total']}-{c['sample']}-{c['randomness'][:4]}"
)
def test_selections_of_the_vectors(case):
    """SEL-2, SEL-3: the drawn intervals are those of a shuffle written out in full."""
    total, sample = case["total"], case["sample"]
    randomness = bytes.fromhex(case["randomness"])
    stream = b"".join(
        sha256(b"\x22\x00" + randomness + i.to_bytes(8, "little")).digest() for i in range(sample // 4 + 2)
    )
    words = (int.from_bytes(stream[i : i + 8], "little") for i in range(0, len(stream), 8))
    others = list(range(total - 1))
    for i in range(sample - 1):
        other = i + next(words) % (total - 1 - i)
        others[i], others[other] = others[other], others[i]
    assert case["chosen"] == sorted([*others[: sample - 1], total - 1])
    assert list(select_intervals(randomness, total, sample)) == case["chosen"]


@given(st.binary(min_size=32, max_size=32), st.integers(1, 200), st.data())
def test_samples_are_proper(randomness, total, data):
    """SEL-1, SEL-2: s different intervals below N, ascending, the last one among them."""
    sample = data.draw(st.integers(1, total))
    chosen = select_intervals(randomness, total, sample)
    assert len(chosen) == sample
    assert list(chosen) == sorted(set(chosen))
    assert chosen[0] >= 0
    assert chosen[-1] == total - 1


def test_each_sample_has_the_same_chance():
    """SEL-2: over 6,000 draws of 3 of 5, each of the six samples comes near to 1,000 times."""
    rounds = 6000
    seen = Counter(select_intervals(sha256(b"%d" % number).digest(), 5, 3) for number in range(rounds))
    assert set(seen) == {(*pair, 4) for pair in combinations(range(4), 2)}
    # The chi-square statistic with 5 degrees of freedom is above 25.7 in one of 10,000 such tables; this one is fixed.
    assert sum((times - 1000) ** 2 for times in seen.values()) < 25.7 * 1000


def test_words_of_the_incomplete_multiple_are_skipped():
    """SEL-3: a word at or above the largest multiple of n is not used, the one just below it is."""
    bound = 3 * 2**62
    assert draw_below(iter([2**64 - 1, bound, 5]), bound) == 5
    assert draw_below(iter([bound - 1, 7]), bound) == bound - 1
    assert draw_below(iter([2**64 - 1]), 2**20) == 2**20 - 1


def test_stream_goes_on():
    """SEL-3: the stream has no end and no repeated block."""
    words = [word for _, word in zip(range(400), draw_numbers(bytes(32)), strict=False)]
    assert len(set(words)) == 400


@pytest.mark.parametrize(("total", "sample"), [(0, 0), (1, 0), (1, 2), (-1, 1), (2**20 + 1, 1), (5, -1)])
def test_impossible_samples(total, sample):
    """SEL-1: no interval, more than there are, or more than can be drawn."""
    with pytest.raises(SampleRefused):
        select_intervals(bytes(32), total, sample)
    with pytest.raises(SampleRefused):
        compute_miss_chance(total, sample, 1)


def test_randomness_has_32_bytes():
    """SEL-3: a shorter seed is refused."""
    with pytest.raises(MalformedEvidence) as refusal:
        select_intervals(bytes(31), 2, 1)
    assert refusal.value.code == "field.digest-length"


def compute_worst_miss(total, sample, false, corrupt):
    """The definition: the largest chance of a miss over all placings, by listing all samples."""
    samples = [{*others, total - 1} for others in combinations(range(total - 1), sample - 1)]
    return max(
        Fraction(sum(corrupt ** len(chosen & set(placing)) for chosen in samples)) / len(samples)
        for placing in combinations(range(total), false)
    )


@pytest.mark.parametrize("total", range(1, 8))
@pytest.mark.parametrize("corrupt", [Fraction(0), Fraction(31, 1000), Fraction(1, 2), Fraction(1)], ids=str)
def test_chances_are_those_of_the_definition(total, corrupt):
    """SEL-4, SEL-5: equal, as fractions, to listing every sample and every placing; the smallest b follows."""
    for sample in range(1, total + 1):
        misses = [compute_worst_miss(total, sample, false, corrupt) for false in range(1, total + 1)]
        assert misses == [compute_miss_chance(total, sample, false, corrupt) for false in range(1, total + 1)]
        caught = [false for false, miss in enumerate(misses, 1) if miss <= Fraction(5, 100)]
        assert compute_smallest_caught(total, sample, corrupt=corrupt) == (caught[0] if caught else None)


@pytest.mark.parametrize(
    "case", VECTORS["chances"], ids=lambda c: f"{c['total']}-{c['sample']}-{c['false']}-{c['corrupt']}"
)
def test_chances_of_the_vectors(case):
    """SEL-4, SEL-5: the chances of the vectors; one false interval has the short formula."""
    total, sample, corrupt = case["total"], case["sample"], Fraction(case["corrupt"])
    miss = compute_miss_chance(total, sample, case["false"], corrupt)
    assert miss == Fraction(case["miss"])
    assert compute_smallest_caught(total, sample, corrupt=corrupt) == case["smallest_caught"]
    if case["false"] == 1 and total > 1:
        assert miss == 1 - Fraction(sample - 1, total - 1) * (1 - corrupt)


@given(st.integers(1, 60), st.data())
def test_more_false_intervals_are_never_missed_more_easily(total, data):
    """SEL-5: the chance of a miss does not grow with b, so all above the smallest b that is caught are caught."""
    sample = data.draw(st.integers(1, total))
    corrupt = data.draw(st.fractions(0, 1, max_denominator=50))
    misses = [compute_miss_chance(total, sample, false, corrupt) for false in range(1, total + 1)]
    assert all(earlier >= later for earlier, later in pairwise(misses))
    smallest = compute_smallest_caught(total, sample, corrupt=corrupt)
    expected = next((false for false in count(1) if false > total or misses[false - 1] <= Fraction(1, 20)), None)
    assert smallest == (expected if expected is not None and expected <= total else None)


def test_sample_of_the_last_interval_alone():
    """SEL-4: it sees nothing of any b < N, and says so."""
    assert compute_miss_chance(100, 1, 99) == 1
    assert compute_smallest_caught(100, 1) == 100


@pytest.mark.parametrize(
    ("sample", "false", "corrupt"),
    [(2, 0, 0), (2, 11, 0), (2, 1, -1), (2, 1, 2), (2, 1, Fraction(1, 2**32 + 1))],
)
def test_impossible_chances(sample, false, corrupt):
    """SEL-4, SEL-6: b outside 1 to N, c outside 0 to 1 or with too large a denominator."""
    with pytest.raises(ChanceRefused):
        compute_miss_chance(10, sample, false, Fraction(corrupt))


def test_work_is_bounded():
    """SEL-6: a sample of more than 1,024 with c > 0 is refused; with c = 0 the largest are computed."""
    with pytest.raises(ChanceRefused):
        compute_miss_chance(2000, 1025, 1, Fraction(1, 2))
    with pytest.raises(ChanceRefused):
        compute_smallest_caught(10, 2, certainty=Fraction(2))
    assert compute_smallest_caught(2**20, 2**19) == 5
