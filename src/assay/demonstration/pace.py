"""How fast this machine recomputes, and how many blocks the verifiers of the demonstration therefore get.

Deadlines are counted in blocks, and thirteen verifiers share one machine: with fixed deadlines honest ones would come
late on a slow or busy one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from assay.verification.verifier.judging import RecomputingJudge

MARGIN = 1.5
"""What was measured, times this, is what the verifiers get."""

LEAST_SECONDS = 60.0
_MEASURED = 2


@dataclass(frozen=True)
class Pace:
    """What judging takes here.

    Attributes:
        start: seconds until a worker has started and recomputed its first interval.
        interval: seconds for each further interval.
    """

    start: float
    interval: float


def measure_pace(run: Path) -> Pace:
    """Recompute the first intervals of a run as a verifier does, and take the time."""
    judge = RecomputingJudge(memory=0, seconds=600.0)
    try:
        begun = time.monotonic()
        judge.judge(run, [0], bytes(32))
        started = time.monotonic()
        judge.judge(run, range(1, 1 + _MEASURED), bytes(32))
        return Pace(started - begun, (time.monotonic() - started) / _MEASURED)
    finally:
        judge.close()


def count_blocks(work: Iterable[tuple[Pace, int]], verifiers: int, block_seconds: float) -> int:
    """Return for how many blocks verifiers may commit, so that they are done in time with a margin.

    Args:
        work: for each submission the pace of its run, and the intervals that all verifiers together recompute.
        verifiers: processes, each of which starts one worker, which goes on from run to run.
        block_seconds: from block to block.
    """
    listed = list(work)
    starts = verifiers * max(pace.start for pace, _ in listed)
    seconds = (starts + sum(votes * pace.interval for pace, votes in listed)) / len(os.sched_getaffinity(0))
    return ceil(max(MARGIN * seconds, LEAST_SECONDS) / block_seconds)
