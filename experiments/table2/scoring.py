"""Precision, recall, F1 and the area under the precision-recall curve, with confidence intervals over networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score

from experiments.table2.series import Series, Variant, find, rank

RESAMPLES = 1000


class Outcome(NamedTuple):
    """What came of one network: counts, and suspicion and truth of every interval."""

    hits: int
    false_flags: int
    misses: int
    clean: int
    suspicions: list[float]
    truth: list[bool]


def judge(series: Series, variant: Variant, factor: float) -> Outcome:
    """Compare what is flagged with what was poisoned."""
    found = find(series, variant, factor)
    truth = [number in series.case.poisoned for number in range(len(found.flagged))]
    pairs = list(zip(found.flagged, truth, strict=True))
    return Outcome(
        sum(f and t for f, t in pairs),
        sum(f and not t for f, t in pairs),
        sum(t and not f for f, t in pairs),
        sum(not t for t in truth),
        rank(found),
        truth,
    )


def summarise(outcomes: Sequence[Outcome], *, intervals: bool = True) -> dict[str, Any]:
    """Return the figures of many networks; with 95 % intervals from a bootstrap over networks.

    Args:
        outcomes: of each network.
        intervals: compute the confidence intervals.
    """
    counts = np.array([outcome[:4] for outcome in outcomes], np.int64)
    figures: dict[str, Any] = dict(_compute(counts.sum(0)))
    truth = [t for outcome in outcomes for t in outcome.truth]
    if any(truth):
        suspicions = [s for outcome in outcomes for s in outcome.suspicions]
        figures["auprc"] = float(average_precision_score(truth, suspicions))
    figures["networks"], figures["poisoned"] = len(outcomes), int(counts[:, 0].sum() + counts[:, 2].sum())
    if intervals:
        random = np.random.default_rng(0)
        drawn = [_compute(counts[random.integers(0, len(counts), len(counts))].sum(0)) for _ in range(RESAMPLES)]
        figures["ci95"] = {
            name: [round(float(np.percentile([d[name] for d in drawn], q)), 4) for q in (2.5, 97.5)]
            for name in ("precision", "recall", "f1", "falseFlags")
        }
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}


def _compute(totals: np.ndarray[Any, Any]) -> dict[str, float]:
    hits, false, misses, clean = map(int, totals)
    return {
        "precision": hits / (hits + false) if hits + false else 0.0,
        "recall": hits / (hits + misses) if hits + misses else 0.0,
        "f1": 2 * hits / (2 * hits + false + misses) if hits + misses else 0.0,
        "falseFlags": false / clean if clean else 0.0,
    }


def freeze_factor(
    development: Sequence[Series], variant: Variant, grid: Sequence[float], most_false: float
) -> tuple[float, dict[str, Any]]:
    """Return the factor with the best F1 among those that flag at most `most_false` of the clean intervals.

    If none does, the one that flags least is returned. Only development networks are seen.
    """
    tried = []
    for factor in grid:
        figures = summarise([judge(series, variant, factor) for series in development], intervals=False)
        tried.append((factor, figures))
    allowed = [one for one in tried if one[1]["falseFlags"] <= most_false]
    if allowed:
        return max(allowed, key=lambda one: one[1]["f1"])
    return min(tried, key=lambda one: one[1]["falseFlags"])
