"""From a trained network to what the detectors see: measures of every interval and distances between states."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from assay.verification.weight_analysis.concentration import measure_spreads
from assay.verification.weight_analysis.detection import Detection, detect
from assay.verification.weight_analysis.measures import MEASURES, compute_measures
from assay.verification.weight_analysis.pairs import compare_pair, compute_total
from assay.verification.weight_analysis.returns import Ways
from assay.verification.weight_analysis.sources import ArraySource
from assay.verification.weight_analysis.thresholds import Threshold
from experiments.table2.data import Task, load_task
from experiments.table2.scenarios import Case
from experiments.table2.training import Weights, train


class Series(NamedTuple):
    """One trained network as the detectors see it.

    Attributes:
        case: what was trained.
        values: by measure, one for each interval.
        spreads: of the changes of each matrix, see `measure_spreads`.
        distances: L2 between any two states, shape (intervals + 1, intervals + 1).
        accuracy: after the last interval, on clean test data.
        success: of the backdoor after each interval.
    """

    case: Case
    values: dict[str, list[float]]
    spreads: list[list[float]]
    distances: list[list[float]]
    accuracy: float
    success: list[float]


class Variant(NamedTuple):
    """A way to flag: measure, kind of threshold, and whether ways back are told apart."""

    measure: str
    kind: str
    ways_back: bool


def make_series(case: Case) -> Series:
    """Train a network and measure its intervals."""
    torch.set_num_threads(1)
    trained = train(_load(case.data), case.recipe, case.poisoned)
    values: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    sources = [ArraySource(f"state {number}", dict(state)) for number, state in enumerate(trained.states)]
    sums = [compare_pair(earlier, later, threads=1) for earlier, later in pairwise(sources)]
    for pair in sums:
        found = compute_measures(compute_total(pair))
        for measure in MEASURES:
            values[measure].append(found.get(measure) or 0.0)
    matrices = [name for name, tensor in trained.states[0].items() if tensor.ndim > 1]
    spreads = measure_spreads(sums, matrices).tolist()
    distances = _measure_distances(trained.states)
    return Series(case, values, spreads, distances, trained.accuracy[-1], trained.success)


@cache
def _load(name: str) -> Task:
    return load_task(name)


def _measure_distances(states: Sequence[Weights]) -> list[list[float]]:
    flat = np.stack([np.concatenate([t.ravel() for t in state.values()]) for state in states]).astype(np.float64)
    distances: list[list[float]] = [np.linalg.norm(flat - row, axis=1).tolist() for row in flat]
    return distances


def make_all(cases: Iterable[Case], pool: Executor) -> list[Series]:
    """Return the series of all cases, in their order."""
    return list(pool.map(make_series, cases, chunksize=4))


def find(series: Series, variant: Variant, factor: float) -> Detection:
    """Return what the product's detection finds."""
    values = series.values[variant.measure]
    lengths = [series.case.recipe.steps] * len(values)
    ways = Ways(lambda earlier, later: series.distances[earlier][later]) if variant.ways_back else None
    return detect(values, lengths, Threshold(variant.kind, factor), ways, np.array(series.spreads))


def rank(found: Detection) -> list[float]:
    """Return how suspicious each interval is, for the precision-recall curve.

    It is |score|; an interval that leads back counts 0, and one that is flagged as part of a group as its cause.
    """
    suspicions: list[float] = []
    for number, score in enumerate(found.scores):
        previous = suspicions[-1] if number and found.flagged[number - 1] else 0.0
        value = 0.0 if found.undoing[number] else abs(score)
        suspicions.append(max(value, previous) if found.flagged[number] else value)
    if any(map(math.isnan, suspicions)):
        raise RuntimeError("a score is not a number")
    return suspicions
