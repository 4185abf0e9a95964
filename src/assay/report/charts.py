"""Where the marks of a chart stand: positions in percent, so that the browser fits them to any width.

The marks themselves are written by `templates/charts.html`; here is only arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from assay.report.series import Interval, LossColumn
from assay.verification.weight_analysis.measures import MEASURES
from assay.verification.weight_analysis.records import IntervalChange, WeightAnalysis

SYMBOLS: Final = {"matches": "✓", "differs": "✗", "inconclusive": "?", "not recomputed": "·"}
MAX_SYMBOLS: Final = 40
"""Columns up to which findings are shown as symbols; more are too narrow."""


class Column(msgspec.Struct, frozen=True):
    """One column of a chart: left edge, middle and width in percent, and the words that hovering shows.

    Attributes:
        top: upper edge of a bar, in percent.
        height: of a bar, in percent.
        result: a class of the style sheet.
        symbol: shown in the middle.
    """

    left: str
    middle: str
    width: str
    words: str
    top: str = "0%"
    height: str = "100%"
    result: str = ""
    symbol: str = ""


class Chart(msgspec.Struct, frozen=True):
    """A chart.

    Attributes:
        columns: from left to right.
        line: points "x,y …" of a line, in a square of 1000 by 1000.
        band: points of the area between least and most.
        across, up: labels of the axes, up from the top.
        is_grouped: whether a column stands for several steps or intervals.
    """

    columns: list[Column]
    line: str
    band: str
    across: list[str]
    up: list[str]
    is_grouped: bool


def draw_losses(columns: Sequence[LossColumn]) -> Chart:
    """Return the loss curve: a line of means, and a band from least to most where steps were put together."""
    low = min(column.least for column in columns)
    high = max(column.most for column in columns)
    heights = _Scale(low, high)
    places = [1000 * (number + 0.5) / len(columns) for number in range(len(columns))]
    line = [(x, heights.place(column.mean)) for x, column in zip(places, columns, strict=True)]
    upper = [(x, heights.place(column.most)) for x, column in zip(places, columns, strict=True)]
    lower = [(x, heights.place(column.least)) for x, column in zip(places, columns, strict=True)]
    marks = [
        _place(number, number + 1, len(columns), _describe_losses(column)) for number, column in enumerate(columns)
    ]
    return Chart(
        columns=marks,
        line=_join(line),
        band=_join([*upper, *reversed(lower)]),
        across=[f"step {columns[0].first}", f"step {columns[-1].last}"],
        up=[format_number(high), format_number(low / 2 + high / 2), format_number(low)],
        is_grouped=any(column.first != column.last for column in columns),
    )


def draw_changes(analysis: WeightAnalysis, losses: Sequence[float | None]) -> Chart:
    """Return the change of the weights between stored states: bars over steps, and the band of what is expected."""
    steps = max(len(losses), 1)
    values = [analysis.get_value(number) for number in range(len(analysis.intervals))]
    most = max(values) or 1.0
    scale = _Scale(0.0, most * 1.1)
    columns, upper, lower = [], [], []
    for interval, value in zip(analysis.intervals, values, strict=True):
        top = scale.place(value) / 10
        mark = "flagged" if interval.flagged else "undoing" if interval.undoing else "usual"
        words = describe_change(interval, analysis.measure, losses)
        column = _place(interval.first, interval.last, steps, words, result=mark)
        columns.append(msgspec.structs.replace(column, top=f"{top:.3f}%", height=f"{100 - top:.3f}%"))
        if interval.judged:
            ends = [1000 * step / steps for step in (interval.first, interval.last)]
            upper += [(x, scale.place(interval.high)) for x in ends]
            lower += [(x, scale.place(interval.low)) for x in ends]
    return Chart(
        columns=columns,
        line=_join(upper),
        band=_join([*upper, *reversed(lower)]),
        across=["step 0", f"step {steps}"],
        up=[format_number(most * 1.1), format_number(most * 0.55), "0"],
        is_grouped=False,
    )


def describe_change(interval: IntervalChange, measure: str, losses: Sequence[float | None]) -> str:
    """Return the words of one bar: steps, the four measures, what was expected, and the loss."""
    said = [f"steps {interval.first + 1} to {interval.last}"]
    if interval.judged:
        verdict = (
            "flagged" if interval.flagged else "takes a flagged change back" if interval.undoing else "as expected"
        )
        band = f"{format_number(interval.low)} to {format_number(interval.high)}"
        said.append(f"{verdict} ({measure}: {band} expected)")
    else:
        said.append("not judged")
    for name in MEASURES:
        value = interval.measures.get(name)
        said.append(f"{name} {'undefined' if value is None else format_number(value)}")
    numbers = [loss for loss in losses[interval.first : interval.last] if loss is not None]
    if numbers:
        said.append(f"mean loss {format_number(sum(loss / len(numbers) for loss in numbers))}")
    return " · ".join(said)


def draw_intervals(intervals: Sequence[Interval]) -> Chart:
    """Return the strip of findings over steps, one column for each interval or group of them."""
    columns = [
        _place(
            interval.first - 1,
            interval.last,
            intervals[-1].last,
            describe_interval(interval),
            result=interval.result.replace(" ", "-"),
            symbol=SYMBOLS[interval.result] if len(intervals) <= MAX_SYMBOLS else "",
        )
        for interval in intervals
    ]
    last = intervals[-1].index + intervals[-1].count - 1
    return Chart(
        columns=columns,
        line="",
        band="",
        across=[f"interval {intervals[0].index}", f"interval {last}"],
        up=[],
        is_grouped=any(interval.count > 1 for interval in intervals),
    )


def _place(first: float, last: float, total: float, words: str, **marks: str) -> Column:
    left, right = 100 * first / total, 100 * last / total
    return Column(
        left=f"{left:.3f}%",
        middle=f"{(left + right) / 2:.3f}%",
        width=f"{right - left:.3f}%",
        words=words,
        **marks,
    )


def describe_interval(interval: Interval) -> str:
    """Return the words that hovering over an interval shows."""
    name = f"interval {interval.index}"
    if interval.count > 1:
        name = f"intervals {interval.index} to {interval.index + interval.count - 1}"
    said = [f"{name}, steps {interval.first} to {interval.last}"]
    if interval.count > 1:
        said += [f"{count} {result}" for result, count in interval.found.items()]
    else:
        said.append(f"{interval.result} ({interval.kind})" if interval.kind else interval.result)
    if interval.loss is not None:
        said.append(f"mean loss {format_number(interval.loss)}")
    return " · ".join(said)


def _describe_losses(column: LossColumn) -> str:
    if column.first == column.last:
        return f"step {column.first} · loss {format_number(column.mean)}"
    return (
        f"steps {column.first} to {column.last} · mean loss {format_number(column.mean)} · "
        f"{format_number(column.least)} to {format_number(column.most)}"
    )


class _Scale:
    """Maps values to heights: `high` to 0, the upper edge, and `low` to 1000."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._span = low / 2, high / 2 - low / 2  # halves: the difference of two numbers may overflow

    def place(self, value: float) -> float:
        """Return the height of a value."""
        if self._span <= 0:
            return 500.0
        return 1000 * (1 - min(max((value / 2 - self._low) / self._span, 0.0), 1.0))


def _join(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def format_number(value: float) -> str:
    """Return a number for people: four significant digits."""
    return f"{value:.4g}"
