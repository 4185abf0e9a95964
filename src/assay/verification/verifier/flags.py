"""Which intervals of a fetched run stand out by their weights, with the measure and threshold of its submission."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from assay.protocol.amounts import MILLION
from assay.verification.verifier.ledger import SubmissionView
from assay.verification.weight_analysis.subjects import analyse_run
from assay.verification.weight_analysis.thresholds import MAX_FACTOR, Threshold, TooFewIntervals

MEASURES: Final = ("absolute", "l2", "percent", "cosine")
"""By the number that a submission names."""


def find_suspicious(path: Path, view: SubmissionView) -> Sequence[int]:
    """Return the intervals that stand out, those with the highest score first; none where there are too few to tell.

    Where states are further apart than an interval, the last interval before the later state is named: whoever
    recomputes it goes the whole way from the earlier one.
    """
    run = view.submission.run
    factor = run.threshold_ppm / MILLION
    threshold = Threshold(factor=factor) if 0 < factor <= MAX_FACTOR else None
    try:
        analysis = analyse_run(path, measure=MEASURES[run.measure], threshold=threshold)
    except TooFewIntervals:
        return ()
    flagged = sorted(
        (analysis.intervals[number] for number in analysis.flagged),
        key=lambda change: abs(change.score or 0),
        reverse=True,
    )
    return [(change.last - 1) // run.interval_length for change in flagged]
