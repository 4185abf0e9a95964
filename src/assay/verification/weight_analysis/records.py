"""What a weight analysis found, for people and programs."""

from __future__ import annotations

import msgspec

from assay.verification.weight_analysis.measures import Measures
from assay.verification.weight_analysis.thresholds import Threshold

CAVEAT = (
    "a flag says where to look first and proves nothing: a clean interval can stand out, and a poisoned one can hide"
)


class IntervalChange(msgspec.Struct, frozen=True, rename="camel"):
    """How the weights changed between two states.

    Attributes:
        first: step of the earlier state; of files, the number of the earlier file.
        last: step of the later state.
        measures: over all weights.
        expected: the chosen measure as it was to be expected of a change as concentrated as this one.
        low: an interval below stands out.
        high: an interval above stands out.
        score: how far from it, in spreads; 0 where it is not judged.
        judged: False for the first intervals and for those of another length.
        flagged: whether it stands out and no flagged interval before it explains that, or repeats one that does.
        undoing: whether it stands out because it leads back to the state before a flagged interval.
    """

    first: int
    last: int
    measures: Measures
    expected: float
    low: float
    high: float
    score: float
    judged: bool
    flagged: bool
    undoing: bool


class LayerChange(msgspec.Struct, frozen=True, rename="camel"):
    """One layer through all intervals: a module and the tensors that are its own.

    Attributes:
        name: of the module.
        weights: number of its weights.
        measures: one for each interval.
        scores: of the chosen measure, against the layer's own trend; 0 where not judged.
    """

    name: str
    weights: int
    measures: tuple[Measures, ...]
    scores: tuple[float, ...]


class WeightAnalysis(msgspec.Struct, frozen=True, rename="camel"):
    """The whole analysis.

    Attributes:
        subject: the run, or the first file.
        measure: the chosen one.
        threshold: kind and factor.
        ways_back: whether directions were looked at, so that what only undoes a flagged interval is left unflagged.
        weights: number of weights.
        tensors: number of tensors.
        intervals: in order.
        layers: in bytewise order of their names.
        caveat: what flags do not mean.
    """

    subject: str
    measure: str
    threshold: Threshold
    ways_back: bool
    weights: int
    tensors: int
    intervals: tuple[IntervalChange, ...]
    layers: tuple[LayerChange, ...]
    caveat: str = CAVEAT

    @property
    def flagged(self) -> list[int]:
        """Numbers of the flagged intervals, from 0."""
        return [number for number, interval in enumerate(self.intervals) if interval.flagged]

    def get_value(self, number: int) -> float:
        """Return the chosen measure of an interval."""
        return self.intervals[number].measures.get(self.measure) or 0.0
