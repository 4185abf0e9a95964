"""Which of the intervals that stand out are causes, which undo what was done before them, and which do it again.

Training on clean data after a poisoned interval takes part of the poison back: an interval that is itself clean stands
out. Its direction betrays it: it leads back to the state before the cause. And while a poison goes on it changes less
and less, though it does not lead back. Poison that comes again has less to change, and goes the same way; training that
goes straight on, the way of the interval before, is no poison.

Differs: the paper flags every interval beyond the threshold.

Source: `spec/weight-analysis.md`, WGT-15, WGT-16, WGT-19.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

HORIZON: Final = 6
"""Intervals after a cause in which a way back is looked for."""

WAY_BACK: Final = -0.1
"""An interval leads back where the cosine between its change and all change since the cause is below."""

RISE: Final = 2.0
"""Spreads by which an interval must stand out from the one before it to be a new cause amid after-effects."""

ONWARD: Final = 0.6
"""Amid after-effects, an interval that leads on along the way of the cause is a new cause: the cosine is above."""

DRIFT: Final = 0.5
"""An interval goes straight on where the cosine between its change and that of the one before is above."""

ALIKE: Final = 0.4
"""An interval repeats a cause where the cosine between the two changes is above."""

REPEAT_SHARE: Final = 0.15
"""Part of the factor from which a repetition is flagged."""

GetDistance = Callable[[int, int], float]
"""(earlier state, later state) -> L2 distance; state i lies before interval i. Each costs a pass over the weights."""


class Ways:
    """Angles between the changes of intervals, from distances between states."""

    def __init__(self, get_distance: GetDistance) -> None:
        self._get_distance = get_distance
        self._known: dict[tuple[int, int], float] = {}

    def compute_return(self, cause: int, later: int) -> float:
        """Return the cosine between the later interval's change and all change from the cause up to it (WGT-15)."""
        way, change, both = self._get(cause, later), self._get(later, later + 1), self._get(cause, later + 1)
        return _divide(both * both - way * way - change * change, 2 * way * change)

    def compute_likeness(self, earlier: int, later: int) -> float:
        """Return the cosine between the changes of two intervals (WGT-19)."""
        far, near = self._get(earlier, later + 1), self._get(earlier + 1, later)
        starts, ends = self._get(earlier, later), self._get(earlier + 1, later + 1)
        lengths = self._get(earlier, earlier + 1) * self._get(later, later + 1)
        return _divide(far * far + near * near - starts * starts - ends * ends, 2 * lengths)

    def _get(self, earlier: int, later: int) -> float:
        if earlier == later:
            return 0.0
        if (earlier, later) not in self._known:
            self._known[earlier, later] = self._get_distance(earlier, later)
        return self._known[earlier, later]


def find_causes(scores: Sequence[float], factor: float, ways: Ways) -> tuple[list[bool], list[bool]]:
    """Return which intervals are flagged, and which stand out only because they undo a flagged one.

    From an interval with a score above `factor` that does not go straight on (a cause), the next `HORIZON` are searched
    for the first that leads back. If there is one, all before it are flagged and it is not, nor those that stand out
    after it without a gap, up to one that is a cause again: it rises by more than `RISE` over the interval before it
    and does not lead back, or it leads on (`ONWARD`). If there is none, those are flagged that stand out without a gap.
    Too little change (a score below −factor) is always flagged. Then those are flagged that repeat a cause.

    Args:
        scores: of each interval, in order; 0 where it is not judged.
        factor: c of the threshold.
        ways: asked for few pairs only.
    """
    count = len(scores)
    flagged = [score < -factor for score in scores]
    undoing = [False] * count
    causes = []
    here = 0
    while here < count:
        if scores[here] <= factor or _goes_straight_on(here, ways):
            here += 1
            continue
        cause, end = here, min(here + 1 + HORIZON, count)
        causes.append(cause)
        back = next((i for i in range(cause + 1, end) if ways.compute_return(cause, i) < WAY_BACK), None)
        here = cause + 1
        if back is None:
            while here < count and scores[here] > factor:
                here += 1
        else:
            here = back
        flagged[cause:here] = [True] * (here - cause)
        while back is not None and here < count and scores[here] > factor:
            if here > back and _is_cause_again(scores, here, ways.compute_return(cause, here)):
                break
            undoing[here] = True
            here += 1
    _flag_repetitions(scores, factor, ways, causes, flagged, undoing)
    return flagged, undoing


def _is_cause_again(scores: Sequence[float], here: int, cosine: float) -> bool:
    return cosine > ONWARD or (scores[here] > scores[here - 1] + RISE and cosine >= WAY_BACK)


def _goes_straight_on(here: int, ways: Ways) -> bool:
    return here > 0 and ways.compute_likeness(here - 1, here) > DRIFT


def _flag_repetitions(
    scores: Sequence[float],
    factor: float,
    ways: Ways,
    causes: Sequence[int],
    flagged: list[bool],
    undoing: list[bool],
) -> None:
    """Flag what repeats a cause, unless it goes straight on after an interval that is not flagged (WGT-19)."""
    if not causes:
        return
    for here, score in enumerate(scores):
        if flagged[here] or score <= REPEAT_SHARE * factor:
            continue
        repeats = any(ways.compute_likeness(*sorted((here, cause))) > ALIKE for cause in causes)
        if repeats and (flagged[here - 1] or not _goes_straight_on(here, ways)):
            flagged[here], undoing[here] = True, False


def _divide(twice_product: float, lengths: float) -> float:
    return min(max(twice_product / lengths, -1.0), 1.0) if lengths > 0 else 0.0
