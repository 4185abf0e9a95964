"""Thresholds, ways back, and flags."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import UsageError
from assay.verification.weight_analysis.detection import detect, find_judged
from assay.verification.weight_analysis.returns import compute_cosine, find_causes
from assay.verification.weight_analysis.thresholds import (
    MAD,
    SIGMA,
    Threshold,
    ThresholdRefused,
    TooFewIntervals,
    compute_scores,
)

ALL = [True] * 24


def make_series(**changed):
    """Return 24 changes that decay with noise of about 4 %, some of them multiplied."""
    random = np.random.default_rng(0)
    values = np.exp(2 - 0.05 * np.arange(24) + 0.04 * random.standard_normal(24))
    for place, factor in changed.items():
        values[int(place[1:])] *= factor
    return values.tolist()


def find(values, threshold=None, cosines=None):
    """Return the numbers of the flagged intervals; `cosines` maps (cause, later) to a cosine, else 0.5."""
    get_cosine = None if cosines is None else lambda cause, later: cosines.get((cause, later), 0.5)
    found = detect(values, [10] * len(values), threshold or Threshold(), get_cosine)
    return [number for number, flagged in enumerate(found.flagged) if flagged]


def test_both_sides_stand_out():
    """Too much change and too little, none at all included, are flagged against the trend (WGT-13)."""
    assert find(make_series()) == []
    assert find(make_series(i7=3, i12=0.3, i18=0)) == [7, 12, 18]


def test_scores_against_the_trend():
    """Residuals are measured in 1.4826 MAD, at least 3 %; the expected change is the trend's (WGT-13)."""
    values = [2.0] * 23 + [2.0 * math.exp(0.3)]
    found = compute_scores(values, Threshold(), ALL, ALL)
    assert found.scores[:23] == [0.0] * 23
    assert found.scores[23] == pytest.approx(0.3 / 0.03)
    assert found.expected == pytest.approx([2.0] * 24)


def test_scores_against_the_mean():
    """The threshold like the paper's knows no trend: mean and standard deviation, both sides (WGT-14)."""
    values = [1.0] * 22 + [4.0, -2.0]
    found = compute_scores(values, Threshold(SIGMA, 2), ALL, ALL)
    assert found.scores[22] == pytest.approx(3 / np.std(values))
    assert found.scores[23] == pytest.approx(-3 / np.std(values))
    assert find([*make_series()[:20], 100.0, *make_series()[21:]], Threshold(SIGMA, 3)) == [20]
    assert compute_scores([5.0] * 24, Threshold(SIGMA), ALL, ALL).scores == [0.0] * 24


def test_the_first_intervals_and_odd_lengths_are_not_judged():
    """The first three and those of another length have the score 0 and are never flagged (WGT-10)."""
    assert find_judged([5, 5, 5, 5, 3, 5]) == [False, False, False, True, False, True]
    assert find_judged([2, 2, 2, 3, 3, 3, 2, 3]) == [False] * 6 + [True, False]
    assert find_judged([]) == []
    found = detect(make_series(i1=50, i23=50), [10] * 23 + [3], Threshold(), None)
    assert found.flagged == [False] * 24
    assert found.scores[1] == found.scores[23] == 0


def test_too_few_intervals_are_refused():
    """Nine intervals leave six to judge; eight are refused with a cure (WGT-10)."""
    detect([1.0] * 9, [1] * 9, Threshold(), None)
    with pytest.raises(TooFewIntervals) as refused:
        detect([1.0] * 8, [1] * 8, Threshold(), None)
    assert refused.value.code == "weights.too-few"
    assert refused.value.next_step


@pytest.mark.parametrize("settings", [("max", 5.0), (MAD, 0.0), (MAD, -1.0), (MAD, 101.0), (MAD, math.nan)])
def test_thresholds_are_bounded(settings):
    """Unknown kinds and factors out of bounds are refused."""
    with pytest.raises(ThresholdRefused) as refused:
        Threshold(*settings)
    assert refused.value.code == "weights.threshold"
    assert isinstance(refused.value, UsageError)


def test_a_way_back_is_not_flagged():
    """The interval that takes a poison back stands out, and is not flagged; without the rule it is (WGT-15, WGT-16)."""
    values = make_series(i10=5, i11=2)
    assert find(values) == [10, 11]
    assert find(values, cosines={(10, 11): -0.5}) == [10]


def test_a_group_lasts_until_the_way_back():
    """A poison that goes on changes less and less; everything before the way back is flagged (WGT-16)."""
    values = make_series(i10=5, i11=1.05, i12=1.0, i13=2)
    assert find(values, cosines={(10, 13): -0.5}) == [10, 11, 12]


def test_after_effects_end_with_a_rise():
    """Amid after-effects, an interval that stands out from the one before it and leads on is a cause (WGT-16)."""
    values = make_series(i10=5, i11=2.5, i12=2, i13=6, i14=2)
    cosines = {(10, 11): -0.5, (10, 12): 0.0, (13, 14): -0.6}
    assert find(values, cosines=cosines) == [10, 13]
    assert find(values, cosines=cosines | {(10, 13): -0.4}) == [10]
    assert find(values, cosines=cosines | {(10, 12): 0.7}) == [10, 12, 13, 14]


def test_the_way_back_is_looked_for_in_six_intervals():
    """The seventh interval after a cause is not asked (WGT-16)."""
    scores = [0.0] * 5 + [9.0] + [0.0] * 10
    asked = []

    def get_cosine(cause, later):
        asked.append((cause, later))
        return -1.0 if later == 12 else 0.0

    assert find_causes(scores, 5, get_cosine)[0] == [number == 5 for number in range(16)]
    assert asked == [(5, later) for later in range(6, 12)]


def test_what_is_flagged_no_longer_bends_the_trend():
    """Five in a row that stand out are all found, in rounds that leave out what was found before (WGT-17)."""
    values = [math.exp(0.02 * (number % 2)) for number in range(24)]
    for place in (9, 10, 11, 12, 13):
        values[place] *= 40
    assert find(values) == [9, 10, 11, 12, 13]


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=40), st.integers(0, 2**32 - 1))
def test_flags_and_ways_back_exclude_each_other(scores, seed):
    """Whatever scores and angles: nothing is both, what is too low is flagged, and without an outlier nothing is."""
    random = np.random.default_rng(seed)
    angles = {}

    def get_cosine(cause, later):
        assert 0 <= cause < later < len(scores)
        return angles.setdefault((cause, later), float(random.uniform(-1, 1)))

    flagged, undoing = find_causes(scores, 5, get_cosine)
    assert not any(f and u for f, u in zip(flagged, undoing, strict=True))
    assert all(f for f, score in zip(flagged, scores, strict=True) if score < -5)
    if not any(abs(score) > 5 for score in scores):
        assert not any(flagged)
        assert not any(undoing)


@given(*[st.lists(st.floats(-10, 10), min_size=3, max_size=3)] * 2)
def test_the_law_of_cosines(way, change):
    """The angle follows from three distances; a step of no length has none (WGT-15)."""
    d, c = np.array(way), np.array(change)
    lengths = np.linalg.norm(d), np.linalg.norm(c)
    found = compute_cosine(lengths[0], lengths[1], float(np.linalg.norm(d + c)))
    if min(lengths) < 1e-3:
        assert -1 <= found <= 1
    else:
        assert found == pytest.approx(d @ c / (lengths[0] * lengths[1]), abs=1e-6)
    assert compute_cosine(0.0, 1.0, 1.0) == compute_cosine(1.0, 0.0, 1.0) == 0.0
