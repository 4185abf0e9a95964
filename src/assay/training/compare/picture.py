"""The picture of how a difference grows: one SVG that needs nothing else, for light and dark screens and for print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from assay.training.compare.findings import Comparison
from assay.training.compare.growth import Growth

_WIDTH, _LEFT, _RIGHT, _PANEL, _GAP, _TOP = 760, 86, 24, 170, 74, 74
_FLOOR: Final = 1e-18
"""Equal values are drawn on the lowest line: a logarithm has no zero."""

_STYLE: Final = (
    "svg{background:#fff;color:#1c1c1c;font:13px system-ui,sans-serif}"
    "text{fill:currentColor}.t{font-size:16px;font-weight:600}.s{font-size:12px;opacity:.75}"
    ".g{stroke:currentColor;opacity:.14}.l{fill:none;stroke:#b3261e;stroke-width:1.6}.d{fill:#b3261e}"
    ".w{fill:none;stroke:#1f5fbf;stroke-width:1.6}.x{fill:#1f5fbf}"
    ".f{stroke:currentColor;stroke-dasharray:4 3;opacity:.7}"
    "@media(prefers-color-scheme:dark){svg{background:#161616;color:#ececec}"
    ".l{stroke:#ff8a80}.d{fill:#ff8a80}.w{stroke:#82b1ff}.x{fill:#82b1ff}}"
)


def render_growth(found: Comparison, growth: Growth) -> str:
    """Return the picture as the text of an SVG file.

    Args:
        found: the comparison; its first finding is the title.
        growth: the series.
    """
    cause = next((finding for finding in found.findings if finding.role == "cause"), None)
    title = f"{cause.kind}: {cause.text}" if cause is not None else "nothing differs"
    last = max([*growth.steps, *growth.states, 1])
    losses = [(step, value) for step, value in zip(growth.steps, growth.losses, strict=True) if value is not None]
    weights = list(zip(growth.states, growth.weights, strict=True))
    height = _TOP + 2 * (_PANEL + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="t d">',
        f'<title id="t">{_text(title)}</title>',
        f'<desc id="d">{_text(_describe(losses, weights))}</desc><style>{_STYLE}</style>',
        f'<text class="t" x="{_LEFT}" y="26">{_text(_cut(title, 84))}</text>',
        f'<text class="s" x="{_LEFT}" y="46">{_text(_cut(f"A {found.a.path} · B {found.b.path}", 100))}</text>',
        *_draw(_TOP, "distance of the losses", losses, last, found.first_step, "l"),
        *_draw(_TOP + _PANEL + _GAP, "relative distance of the weights", weights, last, found.first_step, "w"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(text: str) -> str:
    """Return text that XML can hold: markup escaped, what does not print shown as an escape sequence."""
    return escape("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _describe(losses: Sequence[tuple[int, float]], weights: Sequence[tuple[int, float]]) -> str:
    lines = []
    for what, points in (("losses", losses), ("weights", weights)):
        apart = [(step, value) for step, value in points if value > 0]
        if not points:
            lines.append(f"The distance of the {what} is not known.")
        elif not apart:
            lines.append(f"The {what} are equal at all {len(points)} points.")
        else:
            lines.append(f"The {what} are apart from step {apart[0][0]} on, by {apart[-1][1]:.3g} in the end.")
    return " ".join(lines)


def _draw(
    top: int, title: str, points: Sequence[tuple[int, float]], last: int, first: int | None, style: str
) -> list[str]:
    """Return one panel: a logarithmic axis, a line, and a mark at the first step that differs."""
    bottom, right = top + _PANEL, _WIDTH - _RIGHT
    parts = [f'<text x="{_LEFT}" y="{top - 8}">{title}</text>']
    exponents = [math.floor(math.log10(value)) for _, value in points if value > _FLOOR]
    if not exponents:
        known = "equal at every step" if points else "not known"
        return [*parts, f'<text class="s" x="{_LEFT}" y="{top + 24}">{known}</text>']
    low, high = min(exponents) - 1, max(max(exponents) + 1, min(exponents) + 1)
    stride = max(1, (high - low) // 5)

    def place(step: int, value: float) -> str:
        exponent = math.log10(value) if value > _FLOOR else low
        x = _LEFT + (right - _LEFT) * step / last
        return f"{x:.1f},{bottom - _PANEL * (max(exponent, low) - low) / (high - low):.1f}"

    for exponent in range(low, high + 1, stride):
        y = bottom - _PANEL * (exponent - low) / (high - low)
        label = "0" if exponent == low else f"1e{exponent}"
        parts.append(f'<line class="g" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="s" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for step in sorted({0, last // 2, last}):
        x = _LEFT + (right - _LEFT) * step / last
        parts.append(f'<text class="s" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">step {step}</text>')
    if first is not None:
        x = _LEFT + (right - _LEFT) * min(first, last) / last
        parts.append(f'<line class="f" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
        anchor = "start" if x < right - 160 else "end"
        text = f"first step that differs: {first}"
        parts.append(f'<text class="s" x="{x:.1f}" y="{bottom + 34}" text-anchor="{anchor}">{text}</text>')
    placed = [place(step, value) for step, value in points]
    parts.append(f'<polyline class="{style}" points="{" ".join(placed)}"/>')
    dot = "d" if style == "l" else "x"
    if len(placed) <= 60:
        for pair in placed:
            x_text, y_text = pair.split(",")
            parts.append(f'<circle class="{dot}" cx="{x_text}" cy="{y_text}" r="2.6"/>')
    return parts
