"""Which checkpoints a run keeps."""

from itertools import pairwise

import pytest

from assay.training.recorder import MAX_CHECKPOINTS, choose_checkpoints


def keep(total, interval, intended, first):
    """The states that are left at the end of a run, thinned after each."""
    stored = [0] if first else []
    for step in [*range(interval, total, interval), total]:
        stored = sorted(choose_checkpoints([*stored, step], interval=interval, intended=intended))
        assert len(stored) <= MAX_CHECKPOINTS
        assert stored[-1] == step
        assert not first or stored[0] == 0
    return stored


def find_widest(stored, total):
    """The largest gap, the start being known."""
    bases = sorted({0, *stored, total})
    return max(after - before for before, after in pairwise(bases))


@pytest.mark.parametrize(("total", "interval"), [(240, 12), (1000, 10), (1000, 1), (2000, 50), (60, 3)])
def test_a_known_length_leaves_gaps_of_a_twentieth(total, interval):
    """Twenty states lie evenly where the number of steps is known."""
    stored = keep(total, interval, total, first=False)
    assert find_widest(stored, total) <= total / MAX_CHECKPOINTS


@pytest.mark.parametrize(("total", "interval"), [(1000, 10), (241, 7), (950, 50)])
def test_a_stored_start_is_one_of_the_twenty(total, interval):
    """With a stored start the gaps are the smallest that nineteen others allow, in whole intervals."""
    stored = keep(total, interval, total, first=True)
    smallest = interval * -(-total // (interval * (MAX_CHECKPOINTS - 1)))
    assert find_widest(stored, total) <= smallest


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("total", [30, 210, 333, 5000])
def test_an_unknown_length_leaves_gaps_of_a_tenth(total, first):
    """At every moment at most twenty states are kept and no gap is above a tenth of the run, or an interval."""
    stored = keep(total, 1, 0, first=first)
    assert find_widest(stored, total) <= max(1, -(-total // 10))


def test_a_run_that_goes_on_beyond_its_plan_keeps_twenty():
    """Steps beyond the intended ones are thinned as if the number were not known."""
    stored = keep(500, 10, 200, first=False)
    assert find_widest(stored, 500) <= 60
