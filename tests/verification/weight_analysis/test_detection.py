"""Thresholds, ways back, and flags."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import UsageError
from assay.verification.weight_analysis.concentration import compute_emphasis, measure_spreads
from assay.verification.weight_analysis.detection import detect, find_judged
from assay.verification.weight_analysis.returns import Ways, find_causes
from assay.verification.weight_analysis.sums import Sums
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


class Angles(Ways):
    """Ways of which the angles are given: returns by (cause, later), likenesses by (earlier, later), else `usual`."""

    def __init__(self, returns=(), likenesses=(), usual=0.5):
        super().__init__(lambda earlier, later: pytest.fail("no distance is asked"))
        self.returns, self.likenesses, self.usual = dict(returns), dict(likenesses), usual

    def compute_return(self, cause, later):
        """As given."""
        return self.returns.get((cause, later), self.usual)

    def compute_likeness(self, earlier, later):
        """As given, else 0."""
        return self.likenesses.get((earlier, later), 0.0)


def find(values, threshold=None, ways=None):
    """Return the numbers of the flagged intervals."""
    found = detect(values, [10] * len(values), threshold or Threshold(), ways)
    return [number for number, flagged in enumerate(found.flagged) if flagged]


def test_both_sides_stand_out():
    """Too much change and too little, none at all included, are flagged against the trend (WGT-13)."""
    assert find(make_series()) == []
    assert find(make_series(i7=3, i12=0.3, i18=0)) == [7, 12, 18]


def test_scores_against_the_trend():
    """Downwards, residuals are measured in 1.4826 MAD, at least 3 %; the expected change is the trend's (WGT-13)."""
    values = [2.0] * 23 + [2.0 * math.exp(-0.3)]
    found = compute_scores(values, Threshold(), ALL, ALL)
    assert found.scores[:23] == [0.0] * 23
    assert found.scores[23] == pytest.approx(-0.3 / 0.03)
    assert found.expected == pytest.approx([2.0] * 24)
    assert found.low == pytest.approx([2.0 * math.exp(-8 * 0.03)] * 24)


def test_upwards_both_sides_are_raised():
    """Upwards, change and trend are raised by two largest trends, and the least spread is a seventh (WGT-13)."""
    values = [2.0] * 23 + [3.0]
    found = compute_scores(values, Threshold(), ALL, ALL)
    assert found.scores[23] == pytest.approx(math.log((3 + 4) / (2 + 4)) / (0.03 / 7))
    assert found.high == pytest.approx([6 * math.exp(8 * 0.03 / 7) - 4] * 24)


def test_a_burst_at_the_end_is_nothing_beside_the_start():
    """Three times the trend stands out while the net learns, and not where it has come to rest (WGT-13)."""
    values = np.exp(-0.3 * np.arange(24))
    early, late = values.copy(), values.copy()
    early[6] *= 3
    late[20] *= 3
    assert find(early.tolist()) == [6]
    assert find(late.tolist()) == []


def test_bounds_say_where_flags_begin():
    """A change just inside its bounds is not flagged and one just outside is, also where it is emphasised (WGT-13)."""
    random = np.random.default_rng(1)
    values, emphasis = np.exp(0.1 * random.standard_normal(24)), np.abs(random.standard_normal(24)) / 10
    found = compute_scores(values.tolist(), Threshold(), ALL, ALL, emphasis)
    for place in range(24):
        assert (found.scores[place] > 8) == (values[place] > found.high[place])
        assert (found.scores[place] < -8) == (values[place] < found.low[place])
    assert max(map(abs, found.scores)) > 1


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_bounds_at_the_ends_of_the_range(scale):
    """Changes near the smallest and the largest number have finite scores and bounds in order (WGT-13)."""
    values = [value * scale for value in make_series(i9=1e6)]
    found = compute_scores(values, Threshold(), ALL, ALL)
    assert all(map(math.isfinite, found.scores))
    assert all(low <= middle <= high for low, middle, high in zip(found.low, found.expected, found.high, strict=True))


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
    assert find(values, ways=Angles({(10, 11): -0.5})) == [10]


def test_a_group_lasts_until_the_way_back():
    """A poison that goes on changes less and less; everything before the way back is flagged (WGT-16)."""
    values = make_series(i10=5, i11=1.05, i12=1.0, i13=2)
    assert find(values, ways=Angles({(10, 13): -0.5})) == [10, 11, 12]


def test_after_effects_end_with_a_rise():
    """Amid after-effects, an interval that stands out from the one before it and leads on is a cause (WGT-16)."""
    values = make_series(i10=5, i11=2.5, i12=2, i13=6, i14=2)
    angles = {(10, 11): -0.5, (10, 12): 0.0, (13, 14): -0.6}
    assert find(values, ways=Angles(angles)) == [10, 13]
    assert find(values, ways=Angles(angles | {(10, 13): -0.4})) == [10]
    assert find(values, ways=Angles(angles | {(10, 12): 0.7})) == [10, 12, 13, 14]


def test_the_way_back_is_looked_for_in_six_intervals():
    """The seventh interval after a cause is not asked (WGT-16)."""
    scores = [0.0] * 5 + [9.0] + [0.0] * 10
    asked = []

    class Asked(Angles):
        def compute_return(self, cause, later):
            asked.append((cause, later))
            return -1.0 if later == 12 else 0.0

    assert find_causes(scores, 5, Asked())[0] == [number == 5 for number in range(16)]
    assert asked == [(5, later) for later in range(6, 12)]


def test_straight_on_is_no_cause():
    """An interval that goes the way of the one before it stands out and begins nothing (WGT-16)."""
    scores = [0.0] * 5 + [9.0] + [0.0] * 4
    assert find_causes(scores, 5, Angles(likenesses={(4, 5): 0.51})) == ([False] * 10, [False] * 10)
    assert find_causes(scores, 5, Angles(likenesses={(4, 5): 0.5}))[0][5]


def test_repetitions_are_flagged_from_a_smaller_score_on():
    """Before and after a cause, what goes its way is flagged above 0.15 c, even if it stood out as undoing (WGT-19)."""
    scores = [0.0, 0.0, 0.0, 0.8, 0.7, 9.0, 6.0, 1.0, 0.0, 0.0]
    ways = {(5, 6): -0.5}
    assert find_causes(scores, 5, Angles(ways)) == (
        [number == 5 for number in range(10)],
        [number == 6 for number in range(10)],
    )
    alike = {(3, 5): 0.41, (4, 5): 0.4, (5, 6): 0.41, (5, 7): 0.9, (5, 8): 0.9}
    flagged, undoing = find_causes(scores, 5, Angles(ways, alike))
    assert [number for number, flag in enumerate(flagged) if flag] == [3, 5, 6, 7]
    assert not any(undoing)


def test_a_repetition_that_goes_straight_on_counts_only_after_a_flagged_one():
    """Drift in the direction of a cause is not flagged (WGT-19)."""
    scores = [0.0, 0.0, 0.0, 2.0, 0.0, 9.0, 2.0, 0.0]
    straight = {(2, 3): 0.8, (3, 5): 0.9, (5, 6): 0.9}
    assert find_causes(scores, 5, Angles(likenesses=straight))[0] == [False] * 5 + [True, True, False]


def make_spreads(**changed):
    """Return spreads of two matrices in 24 intervals, the first one's with some changes."""
    spreads = np.tile(np.linspace(3, 2.8, 24), (2, 1))
    for place, change in changed.items():
        spreads[0, int(place[1:])] += change
    return spreads


def test_concentrated_changes_count_more():
    """A change in few weights is emphasised by twice the mean of what is below the trend, others are not (WGT-18)."""
    emphasis = compute_emphasis(make_spreads(i9=-0.4, i15=0.4), 13, ALL)
    assert emphasis[9] == pytest.approx(2 * 0.4 / 2)
    assert max(np.delete(emphasis, 9)) < 1e-9
    values = make_series(i9=1.2)
    assert not detect(values, [10] * 24, Threshold()).flagged[9]
    assert detect(values, [10] * 24, Threshold(), spreads=make_spreads(i9=-0.4)).flagged[9]
    assert (
        detect(values, [10] * 24, Threshold(SIGMA), spreads=make_spreads(i9=-4)).scores
        == detect(values, [10] * 24, Threshold(SIGMA)).scores
    )


def test_spreads_of_changes():
    """√n for a change in n weights alike, 1 in one weight; a matrix that rests once has none (WGT-18)."""
    even, single, resting = Sums(change=9.0, squares=9.0), Sums(change=2.0, squares=4.0), Sums()
    pairs = [{"a": even, "b": single}, {"a": single, "b": resting}]
    assert measure_spreads(pairs, ["a"]) == pytest.approx(np.log([[3.0, 1.0]]))
    assert measure_spreads(pairs, ["b"]).shape == (0, 2)
    assert compute_emphasis(measure_spreads(pairs, []), 13, [True, True]).tolist() == [0.0, 0.0]


def test_what_is_flagged_no_longer_bends_the_trend():
    """Five in a row that stand out are all found, in rounds that leave out what was found before (WGT-17)."""
    values = [math.exp(0.02 * (number % 2)) for number in range(24)]
    for place in (9, 10, 11, 12, 13):
        values[place] *= 40
    assert find(values) == [9, 10, 11, 12, 13]


@given(st.lists(st.floats(-30, 30), min_size=4, max_size=40), st.integers(0, 2**32 - 1))
def test_flags_and_ways_back_exclude_each_other(scores, seed):
    """Whatever scores and angles: nothing is both, what is too low is flagged, and without an outlier nothing is."""
    random = np.random.default_rng(seed)
    walk = random.standard_normal((len(scores) + 1, 3)).cumsum(0)

    def get_distance(earlier, later):
        assert 0 <= earlier < later <= len(scores)
        return float(np.linalg.norm(walk[later] - walk[earlier]))

    flagged, undoing = find_causes(scores, 5, Ways(get_distance))
    assert not any(f and u for f, u in zip(flagged, undoing, strict=True))
    assert all(f for f, score in zip(flagged, scores, strict=True) if score < -5)
    if not any(abs(score) > 5 for score in scores):
        assert not any(flagged)
        assert not any(undoing)


@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.integers(1, 5))
def test_angles_follow_from_distances(seed, earlier, apart):
    """Both cosines are those of the vectors, whether the intervals are neighbours or not (WGT-15, WGT-19)."""
    states = np.random.default_rng(seed).standard_normal((12, 4)).cumsum(0)
    ways = Ways(lambda one, other: float(np.linalg.norm(states[other] - states[one])))
    later = earlier + apart
    one, other, way = (states[b] - states[a] for a, b in ((earlier, earlier + 1), (later, later + 1), (earlier, later)))

    def compute_cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    assert ways.compute_likeness(earlier, later) == pytest.approx(compute_cosine(one, other), abs=1e-6)
    assert ways.compute_return(earlier, later) == pytest.approx(compute_cosine(way, other), abs=1e-6)


def test_a_change_of_no_length_has_no_angle():
    """Where nothing changed, both cosines are 0 (WGT-15, WGT-19)."""
    ways = Ways(lambda earlier, later: 0.0)
    assert ways.compute_return(1, 4) == ways.compute_likeness(1, 4) == 0.0
