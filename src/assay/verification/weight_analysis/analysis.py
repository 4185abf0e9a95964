"""The analysis of a series of states: one pass over each pair of neighbours, and few more where something stands out.

Source: paper 000, sections IV-C and V-B; `spec/weight-analysis.md`, WGT-7, WGT-15.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import ClassVar

from assay.errors import Unproven
from assay.verification.weight_analysis.concentration import measure_spreads
from assay.verification.weight_analysis.detection import Detection, detect, find_judged, find_usual
from assay.verification.weight_analysis.measures import DEFAULT_MEASURE, Measures, compute_measures
from assay.verification.weight_analysis.pairs import compare_pair, compute_total, match_tensors
from assay.verification.weight_analysis.records import IntervalChange, LayerChange, WeightAnalysis
from assay.verification.weight_analysis.returns import GetDistance, Ways
from assay.verification.weight_analysis.sources import WeightSource
from assay.verification.weight_analysis.sums import Sums
from assay.verification.weight_analysis.thresholds import Threshold, compute_scores

OpenState = Callable[[int], AbstractContextManager[WeightSource]]
"""Opens the state of a step."""

Progress = Callable[[int, int], None]


class MeasureUndefined(Unproven):
    """The chosen measure does not exist for an interval, since all weights of one side are 0."""

    code: ClassVar[str] = "weights.undefined"


def analyse_states(
    subject: str,
    steps: Sequence[int],
    open_state: OpenState,
    *,
    measure: str = DEFAULT_MEASURE,
    threshold: Threshold | None = None,
    ways_back: bool = True,
    progress: Progress | None = None,
) -> WeightAnalysis:
    """Analyse a series of states.

    Args:
        subject: what is analysed, for messages.
        steps: of the states, ascending; the difference of two is the length of the interval between.
        open_state: opens the state of a step; two are open at a time.
        measure: one of `measures.MEASURES`.
        threshold: None: the default.
        ways_back: look at directions: leave intervals unflagged that only undo a flagged one, and the like (`returns`).
        progress: is told (done, total) after each pair.

    Raises:
        TooFewIntervals: not enough to tell what is usual.
        WeightsMismatch, WeightsNotFinite, NoWeights: states that cannot be compared.
        MeasureUndefined: all weights of a state are 0.
        UsageError: no such measure.
        AssayError: from `open_state`.
    """
    chosen = threshold or Threshold()
    Measures(0.0, 0.0, None, None).get(measure)
    detect([1.0] * (len(steps) - 1), _get_lengths(steps), chosen)  # enough intervals? before hours of reading
    sums = []
    for number in range(len(steps) - 1):
        sums.append(_compare(open_state, steps[number], steps[number + 1]))
        if progress is not None:
            progress(number + 1, len(steps) - 1)
    totals = [compute_measures(compute_total(pair)) for pair in sums]
    ways = Ways(_measure_distances(open_state, steps, [total.l2 for total in totals])) if ways_back else None
    values = [_require(total.get(measure), measure, number) for number, total in enumerate(totals)]
    with open_state(steps[0]) as source:
        tensors = match_tensors(source, source)
    counts = {name: math.prod(tensor.shape) for name, tensor in tensors.items()}
    matrices = [name for name, tensor in tensors.items() if len(tensor.shape) > 1]
    found = detect(values, _get_lengths(steps), chosen, ways, measure_spreads(sums, matrices))
    return WeightAnalysis(
        subject=subject,
        measure=measure,
        threshold=chosen,
        ways_back=ways_back,
        weights=sum(counts.values()),
        tensors=len(counts),
        intervals=_join(steps, totals, found),
        layers=_analyse_layers(sums, counts, _get_lengths(steps), measure, chosen),
    )


def _get_lengths(steps: Sequence[int]) -> list[int]:
    return [after - before for before, after in pairwise(steps)]


def _compare(open_state: OpenState, first: int, last: int) -> dict[str, Sums]:
    with open_state(first) as earlier, open_state(last) as later:
        return compare_pair(earlier, later)


def _require(value: float | None, measure: str, number: int) -> float:
    if value is None:
        raise MeasureUndefined(
            f"interval {number} has no {measure} change: all weights of one of its states are 0",
            next_step="choose another measure: absolute or l2",
        )
    return value


def _measure_distances(open_state: OpenState, steps: Sequence[int], changes: Sequence[float]) -> GetDistance:
    """Return what `returns.Ways` asks; those of neighbours are known."""

    def get_distance(earlier: int, later: int) -> float:
        if later == earlier + 1:
            return changes[earlier]
        return math.sqrt(compute_total(_compare(open_state, steps[earlier], steps[later])).squares)

    return get_distance


def _join(steps: Sequence[int], totals: Sequence[Measures], found: Detection) -> tuple[IntervalChange, ...]:
    return tuple(
        IntervalChange(
            first=steps[number],
            last=steps[number + 1],
            measures=total,
            expected=found.expected[number],
            low=found.low[number],
            high=found.high[number],
            score=found.scores[number],
            judged=found.judged[number],
            flagged=found.flagged[number],
            undoing=found.undoing[number],
        )
        for number, total in enumerate(totals)
    )


def _analyse_layers(
    sums: Sequence[Mapping[str, Sums]],
    counts: Mapping[str, int],
    lengths: Sequence[int],
    measure: str,
    threshold: Threshold,
) -> tuple[LayerChange, ...]:
    """Return each module that has tensors of its own: `0/layers.3` of `0/layers.3.weight` and `0/layers.3.bias`.

    A layer's scores are those of a first round: for a look, not for flags.
    """
    members: dict[str, list[str]] = {}
    for name in counts:
        members.setdefault(name.rpartition(".")[0] or name, []).append(name)
    layers = []
    for layer, names in sorted(members.items(), key=lambda item: item[0].encode()):
        measures = [compute_measures(compute_total({name: pair[name] for name in names})) for pair in sums]
        values = [one.get(measure) or 0.0 for one in measures]
        scores = compute_scores(values, threshold, find_judged(lengths), find_usual(lengths)).scores
        layers.append(LayerChange(layer, sum(counts[name] for name in names), tuple(measures), tuple(scores)))
    return tuple(layers)
