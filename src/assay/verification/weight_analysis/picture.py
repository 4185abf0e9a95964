"""The analysis as one self-contained SVG: change per interval against what was expected, and the layers below it.

Readable in light and dark, in print, and without scripts; nothing is fetched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from assay.verification.weight_analysis.measures import ABSOLUTE, COSINE, L2, PERCENT
from assay.verification.weight_analysis.records import IntervalChange, LayerChange, WeightAnalysis

WIDTH: Final = 900
LEFT: Final = 150
RIGHT: Final = 20
TOP: Final = 66
CHART: Final = 260
ROW: Final = 14
MOST_LAYERS: Final = 32
MOST_LABELS: Final = 12

NAMES: Final = {
    ABSOLUTE: "absolute change Σ|Δw|",
    L2: "L2 change √Σ(Δw)²",
    PERCENT: "change in percent of Σ|w|",
    COSINE: "cosine distance",
}

STYLE: Final = """
svg { font: 12px system-ui, sans-serif; background: #fff; }
text { fill: #222; } .dim { fill: #666; } .title { font-size: 15px; font-weight: 600; }
.axis { stroke: #999; } .grid { stroke: #ddd; } .band { fill: #dfe7f5; } .trend { stroke: #4b6cb7; fill: none; }
.plain { fill: #4b6cb7; } .flagged { fill: #c62828; } .undoing { fill: #e69f00; } .unjudged { fill: #aaa; }
.cell { fill: #eee; } .more { fill: #c62828; } .less { fill: #1565c0; }
@media (prefers-color-scheme: dark) {
  svg { background: #16181d; } text { fill: #e6e6e6; } .dim { fill: #a0a0a0; } .grid { stroke: #333; }
  .band { fill: #26314a; } .trend { stroke: #8fa9e8; } .plain { fill: #8fa9e8; } .flagged { fill: #ff6b6b; }
  .cell { fill: #262a33; } .more { fill: #ff6b6b; } .less { fill: #64a8ff; }
}
@media print { svg { background: none; } }
"""


def draw_svg(analysis: WeightAnalysis) -> str:
    """Return the picture as an SVG document."""
    layers = _choose_layers(analysis)
    below = TOP + CHART + 58
    height = below + ROW * len(layers) + 60
    body = [*_draw_head(analysis), *_draw_chart(analysis), *_draw_layers(analysis, layers, below)]
    body.append(_text(LEFT, height - 14, analysis.caveat, "dim"))
    title = escape(f"Change of the weights of {analysis.subject}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">\n'
        f"<style>{STYLE}</style>\n" + "\n".join(body) + "\n</svg>\n"
    )


def draw_html(analysis: WeightAnalysis) -> str:
    """Return a page that holds the picture and nothing else."""
    title = escape(f"Weights of {analysis.subject}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>body{{margin:0}} svg{{width:100%;height:auto}}</style></head>\n"
        f"<body>\n{draw_svg(analysis)}</body></html>\n"
    )


def describe_interval(interval: IntervalChange, measure: str) -> str:
    """Return one interval in words: steps, measure, what was expected, and what was found."""
    value = interval.measures.get(measure)
    if not interval.judged:
        found = "not judged"
    elif interval.flagged:
        found = (
            "flagged: more than expected" if interval.score > 0 else "flagged: less than expected or part of a group"
        )
    else:
        found = "takes a flagged change back" if interval.undoing else "as expected"
    return (
        f"steps {interval.first} to {interval.last}: {value or 0:.4g}, expected {interval.expected:.4g} "
        f"({interval.low:.4g} to {interval.high:.4g}), score {interval.score:+.1f}: {found}"
    )


def _text(x: float, y: float, text: str, style: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'


def _draw_head(analysis: WeightAnalysis) -> Iterator[str]:
    count = len(analysis.flagged)
    said = "no interval is flagged" if not count else f"{count} of {len(analysis.intervals)} intervals flagged"
    yield _text(LEFT, 24, f"{analysis.subject}: {said}", "title")
    kind = "trend ± c·MAD" if analysis.threshold.kind == "mad" else "mean ± c·σ"
    yield _text(LEFT, 44, f"{NAMES[analysis.measure]}; {kind}, c = {analysis.threshold.factor:g}", "dim")


def _get_x(analysis: WeightAnalysis, number: float) -> float:
    return LEFT + (number + 0.5) * (WIDTH - LEFT - RIGHT) / len(analysis.intervals)


def _draw_chart(analysis: WeightAnalysis) -> Iterator[str]:
    values = [analysis.get_value(number) for number in range(len(analysis.intervals))]
    shown = [v for v in (*values, *(i.expected for i in analysis.intervals)) if 0 < v < math.inf] or [1.0]
    low, high = math.log10(min(shown)) - 0.1, math.log10(max(shown)) + 0.1

    def get_y(value: float) -> float:
        level = math.log10(value) if 0 < value < math.inf else (low if value <= 0 else high)
        return TOP + CHART * (1 - (min(max(level, low), high) - low) / (high - low))

    for exponent in range(math.ceil(low), math.floor(high) + 1):
        y = get_y(10.0**exponent)
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        yield _text(LEFT - 8, y + 4, f"{10.0**exponent:g}", "dim", "end")
    xs = [_get_x(analysis, number) for number in range(len(values))]
    upper = [f"{x:.1f},{get_y(i.high):.1f}" for x, i in zip(xs, analysis.intervals, strict=True)]
    lower = [f"{x:.1f},{get_y(i.low):.1f}" for x, i in zip(xs, analysis.intervals, strict=True)]
    yield f'<polygon class="band" points="{" ".join([*upper, *reversed(lower)])}"/>'
    trend = " ".join(f"{x:.1f},{get_y(i.expected):.1f}" for x, i in zip(xs, analysis.intervals, strict=True))
    yield f'<polyline class="trend" points="{trend}"/>'
    for x, value, interval in zip(xs, values, analysis.intervals, strict=True):
        said = escape(describe_interval(interval, analysis.measure))
        radius = 5 if interval.flagged else 3.5
        yield (
            f'<circle cx="{x:.1f}" cy="{get_y(value):.1f}" r="{radius}" class="{_classify(interval)}">'
            f"<title>{said}</title></circle>"
        )
    yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{TOP + CHART}" y2="{TOP + CHART}" class="axis"/>'
    yield from _draw_steps(analysis)


def _classify(interval: IntervalChange) -> str:
    if interval.flagged:
        return "flagged"
    if interval.undoing:
        return "undoing"
    return "plain" if interval.judged else "unjudged"


def _draw_steps(analysis: WeightAnalysis) -> Iterator[str]:
    every = -(-len(analysis.intervals) // MOST_LABELS)
    for number in range(0, len(analysis.intervals), every):
        x = _get_x(analysis, number)
        yield _text(x, TOP + CHART + 18, str(analysis.intervals[number].last), "dim", "middle")
    yield _text(LEFT - 8, TOP + CHART + 18, "step", "dim", "end")


def _choose_layers(analysis: WeightAnalysis) -> list[LayerChange]:
    """Return the layers that stand out most, in their own order."""
    ranked = sorted(analysis.layers, key=lambda layer: -max(map(abs, layer.scores), default=0.0))[:MOST_LAYERS]
    return [layer for layer in analysis.layers if layer in ranked]


def _draw_layers(analysis: WeightAnalysis, layers: Sequence[LayerChange], top: float) -> Iterator[str]:
    yield _text(LEFT, top - 10, "layers: more (red) or less (blue) change than expected of each", "dim")
    width = (WIDTH - LEFT - RIGHT) / len(analysis.intervals)
    for row, layer in enumerate(layers):
        y = top + row * ROW
        name = layer.name if len(layer.name) <= 22 else f"…{layer.name[-21:]}"
        yield _text(LEFT - 8, y + ROW - 4, name, "dim", "end")
        for number, score in enumerate(layer.scores):
            x = LEFT + number * width
            opacity = min(abs(score) / (2 * analysis.threshold.factor), 1.0)
            place = f'x="{x:.1f}" y="{y}" width="{max(width - 1, 0.5):.1f}" height="{ROW - 1}"'
            interval = analysis.intervals[number]
            said = escape(f"{layer.name}, steps {interval.first} to {interval.last}: score {score:+.1f}")
            yield f'<rect {place} class="cell"/>'
            if opacity > 0.02:
                kind = "more" if score > 0 else "less"
                yield f'<rect {place} class="{kind}" opacity="{opacity:.2f}"><title>{said}</title></rect>'
    left = len(analysis.layers) - len(layers)
    if left:
        yield _text(LEFT, top + len(layers) * ROW + 14, f"and {left} more layers that stand out less", "dim")
