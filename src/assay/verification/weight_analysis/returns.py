"""Which of the intervals that stand out are causes, and which only undo what was done before them.

Training on clean data after a poisoned interval takes part of the poison back: an interval that is itself clean stands
out. Its direction betrays it: it leads back to the state before the cause. And while a poison goes on it changes less
and less, though it does not lead back.

Differs: the paper flags every interval beyond the threshold.

Source: `spec/weight-analysis.md`, WGT-15, WGT-16.
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

GetCosine = Callable[[int, int], float]
"""(cause, later interval) -> cosine between the later interval's change and all change from the cause up to it."""


def find_causes(scores: Sequence[float], factor: float, get_cosine: GetCosine) -> tuple[list[bool], list[bool]]:
    """Return which intervals are flagged, and which stand out only because they undo a flagged one.

    From an interval with a score above `factor` (a cause), the next `HORIZON` are searched for the first that leads
    back. If there is one, all before it are flagged and it is not, nor those that stand out after it without a gap, up
    to one that is a cause again: it rises by more than `RISE` over the interval before it and does not lead back, or it
    leads on (`ONWARD`). If there is none, those are flagged that stand out without a gap. Too little change (a score
    below −factor) is always flagged.

    Args:
        scores: of each interval, in order.
        factor: c of the threshold.
        get_cosine: asked for few pairs only, since each costs a pass over the weights.
    """
    count = len(scores)
    flagged = [score < -factor for score in scores]
    undoing = [False] * count
    here = 0
    while here < count:
        if scores[here] <= factor:
            here += 1
            continue
        cause, end = here, min(here + 1 + HORIZON, count)
        back = next((i for i in range(cause + 1, end) if get_cosine(cause, i) < WAY_BACK), None)
        here = cause + 1
        if back is None:
            while here < count and scores[here] > factor:
                here += 1
        else:
            here = back
        flagged[cause:here] = [True] * (here - cause)
        while back is not None and here < count and scores[here] > factor:
            if here > back and _is_cause_again(scores, here, get_cosine(cause, here)):
                break
            undoing[here] = True
            here += 1
    return flagged, undoing


def _is_cause_again(scores: Sequence[float], here: int, cosine: float) -> bool:
    return cosine > ONWARD or (scores[here] > scores[here - 1] + RISE and cosine >= WAY_BACK)


def compute_cosine(before: float, change: float, after: float) -> float:
    """Return the cosine between a change and the way that was gone before it, by the law of cosines.

    Args:
        before: distance (L2) from the start of the way to the state before the change.
        change: length (L2) of the change.
        after: distance from the start of the way to the state after the change.
    """
    if before <= 0 or change <= 0:
        return 0.0
    return min(max((after * after - before * before - change * change) / (2 * before * change), -1.0), 1.0)
