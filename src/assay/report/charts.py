"""Where the marks of a chart stand: positions in percent, so that the browser fits them to any width.

The marks themselves are written by `templates/charts.html`; here is only arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from assay.report.series import Interval, LossColumn

SYMBOLS: Final = {"matches": "✓", "differs": "✗", "inconclusive": "?", "not recomputed": "·"}
MAX_SYMBOLS: Final = 40
"""Columns up to which findings are shown as symbols; more are too narrow."""


class Column(msgspec.Struct, frozen=True):
    """One column of a chart: left edge, middle and width in percent, and the words that hovering shows."""

    left: str
    middle: str
    width: str
    words: str
    result: str = ""
    symbol: str = ""
    kind: str = ""


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
    marks = [_place_column(number, len(columns), _describe_losses(column)) for number, column in enumerate(columns)]
    return Chart(
        columns=marks,
        line=_join(line),
        band=_join([*upper, *reversed(lower)]),
        across=[f"step {columns[0].first}", f"step {columns[-1].last}"],
        up=[format_number(high), format_number(low / 2 + high / 2), format_number(low)],
        is_grouped=any(column.first != column.last for column in columns),
    )


def draw_intervals(intervals: Sequence[Interval]) -> Chart:
    """Return the strip of findings, one column for each interval or group of them."""
    columns = [
        _place_column(
            number,
            len(intervals),
            describe_interval(interval),
            result=interval.result.replace(" ", "-"),
            symbol=SYMBOLS[interval.result] if len(intervals) <= MAX_SYMBOLS else "",
            kind=interval.kind,
        )
        for number, interval in enumerate(intervals)
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


def _place_column(number: int, total: int, words: str, **marks: str) -> Column:
    width = 100 / total
    return Column(
        left=f"{number * width:.3f}%",
        middle=f"{(number + 0.5) * width:.3f}%",
        width=f"{width:.3f}%",
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
