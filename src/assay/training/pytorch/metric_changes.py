"""Rates that a metric changed: what `ReduceLROnPlateau` does between two steps becomes a declared event.

The rates themselves are in the scalars rows. The event says why they moved: nobody can recompute the metric.

Source: `spec/transcript.md`, TRN-12.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from assay.protocol.evidence.events import METRIC
from assay.training.events import make_note
from assay.training.recorder import RunRecorder

MAX_NOTED = 1024
"""Events of this kind in a run; later ones are left out, and the last one says so."""


class _Seen(NamedTuple):
    epoch: int
    best: float
    rates: tuple[float, ...]


class MetricChanges:
    """Watches the metric-driven schedulers of a run.

    Args:
        recorder: writes the events.
        schedulers: of the run.
    """

    def __init__(self, recorder: RunRecorder, schedulers: Sequence[LRScheduler]) -> None:
        self._recorder = recorder
        self._watched = [one for one in schedulers if isinstance(one, ReduceLROnPlateau)]
        self._seen: list[_Seen] = []
        self._noted = 0

    def begin(self, step: int) -> None:
        """Look at the schedulers as they are after `step`, and declare again what was declared after it."""
        self._seen = [_look(one) for one in self._watched]
        for known in self._recorder.find_events(step, METRIC):
            self._recorder.declare(known)
        self._noted = sum(one.event.kind == METRIC for one in self._recorder.events)

    def note(self, step: int) -> None:
        """Declare what the schedulers did after `step`, before the next one begins."""
        if not self._watched:
            return
        before, self._seen = self._seen, [_look(one) for one in self._watched]
        pairs = zip(self._watched, before, self._seen, strict=True)
        said = [_describe(one, *seen) for one, *seen in pairs if _is_reduced(one, *seen)]
        if said and self._noted < MAX_NOTED:
            self._noted += 1
            last = ["later changes are not noted"] if self._noted == MAX_NOTED else []
            self._recorder.declare(make_note(METRIC, step, "; ".join([*said, *last])))


def _look(one: ReduceLROnPlateau) -> _Seen:
    return _Seen(one.last_epoch, float(one.best), tuple(float(group["lr"]) for group in one.optimizer.param_groups))


def _is_reduced(one: ReduceLROnPlateau, before: _Seen, after: _Seen) -> bool:
    """Return whether the scheduler lowered rates: it forgot its bad epochs without having found a better one."""
    return (
        after.epoch != before.epoch
        and after.best == before.best
        and one.num_bad_epochs == 0
        and one.cooldown_counter == one.cooldown
        and any(new < old for new, old in zip(after.rates, before.rates, strict=False))
    )


def _describe(one: ReduceLROnPlateau, before: _Seen, after: _Seen) -> str:
    changed = [f"{old!r} to {new!r}" for old, new in zip(before.rates, after.rates, strict=False) if new != old]
    return (
        f"ReduceLROnPlateau lowered the rate from {', '.join(changed[:8])}: "
        f"no better than {after.best!r} for more than {one.patience} calls"
    )
