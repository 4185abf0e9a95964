"""`assay run weights`: how much the weights changed, and which intervals stand out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from assay.cli.meter import Meter
from assay.cli.output import print_json, print_line, print_strong, print_table
from assay.errors import UsageError

if TYPE_CHECKING:
    from assay.verification.weight_analysis.records import IntervalChange, WeightAnalysis

_MOST_LAYERS = 12


class WeightsArgument(UsageError):
    """An argument of a weight analysis that cannot be."""

    code: ClassVar[str] = "weights.argument"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        "states", type=Path, nargs="+", metavar="RUN", help="the folder of a run, or safetensors files in order"
    )
    parser.add_argument(
        "--measure",
        default="absolute",
        metavar="NAME",
        help="absolute (default), l2, percent or cosine; all four are in the JSON",
    )
    parser.add_argument(
        "--threshold",
        default="mad",
        metavar="KIND",
        help="mad (default): beyond the trend's median ± c·MAD; sigma: beyond mean ± c·σ",
    )
    parser.add_argument("--factor", type=float, metavar="C", help="c (default: 5 for mad, 2 for sigma)")
    parser.add_argument(
        "--every-outlier",
        action="store_true",
        help="flag what is beyond the threshold and nothing else: no look at directions",
    )
    parser.add_argument("--layers", action="store_true", help="show the layers that stand out in flagged intervals")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw it into a file that ends in .svg or .html")
    parser.epilog = "flags are no findings: whatever stands out, the exit code is 0; to recompute, use assay run audit"


def weights(arguments: argparse.Namespace) -> int:
    """Analyse, print, draw, and return 0.

    Raises:
        WeightsArgument: an argument cannot be.
        AssayError: the states cannot be read or compared, or are too few.
    """
    from assay.verification.weight_analysis.subjects import analyse_files, analyse_run
    from assay.verification.weight_analysis.thresholds import DEFAULT_FACTORS, Threshold

    picture: Path | None = arguments.picture
    if picture is not None and picture.suffix not in {".svg", ".html"}:
        raise WeightsArgument("not a picture", expected="a name that ends in .svg or .html", actual=ascii(str(picture)))
    factor = arguments.factor
    if factor is None:
        factor = DEFAULT_FACTORS.get(arguments.threshold, 1.0)  # Threshold refuses unknown kinds itself
    settings = {
        "measure": arguments.measure,
        "threshold": Threshold(arguments.threshold, factor),
        "ways_back": not arguments.every_outlier,
    }
    states: list[Path] = arguments.states
    with Meter(quiet=arguments.json) as meter:

        def tell(done: int, total: int) -> None:
            meter.update("comparing", done, total)

        is_run = len(states) == 1 and not states[0].is_file()
        if is_run:
            found = analyse_run(states[0], **settings, progress=tell)
        else:
            found = analyse_files(states, **settings, progress=tell)
    if picture is not None:
        _draw(found, picture)
    if arguments.json:
        print_json({"exit": 0, "flagged": found.flagged, "analysis": found})
    else:
        _print(found, picture, layers=arguments.layers, is_run=is_run)
    return 0


def _draw(found: WeightAnalysis, picture: Path) -> None:
    from assay.storage.files import Files, write_atomic
    from assay.verification.weight_analysis.picture import draw_html, draw_svg

    draw = draw_svg if picture.suffix == ".svg" else draw_html
    write_atomic(Files(), picture, [draw(found).encode()])


def _print(found: WeightAnalysis, picture: Path | None, *, layers: bool, is_run: bool) -> None:
    count, total = len(found.flagged), len(found.intervals)
    print_strong(f"{count} of {total} intervals flagged: {found.measure} change of {found.weights} weights")
    print_line(found.caveat)
    print_line()
    rows = [["STEPS", "ABSOLUTE", "L2", "PERCENT", "COSINE", "EXPECTED", "SCORE", ""]]
    rows += [_make_row(interval) for interval in found.intervals]
    print_table(rows)
    print_line()
    print_line(f"expected and score: {found.measure}, threshold {found.threshold.kind}, c = {found.threshold.factor:g}")
    if layers:
        _print_layers(found)
    if picture is not None:
        print_line(f"wrote {picture}")
    if count and is_run:
        print_line(f"next: assay run audit {found.subject}")


def _make_row(interval: IntervalChange) -> list[str]:
    measures = interval.measures
    note = "FLAGGED" if interval.flagged else "after-effect" if interval.undoing else ""
    score = f"{interval.score:+.1f}" if interval.judged else "-"
    return [
        f"{interval.first}-{interval.last}",
        f"{measures.absolute:.4g}",
        f"{measures.l2:.4g}",
        "-" if measures.percent is None else f"{measures.percent:.3g} %",
        "-" if measures.cosine is None else f"{measures.cosine:.3g}",
        f"{interval.expected:.4g}",
        score,
        note if interval.judged else "not judged",
    ]


def _print_layers(found: WeightAnalysis) -> None:
    for number in found.flagged:
        interval = found.intervals[number]
        print_line()
        print_strong(f"layers in steps {interval.first}-{interval.last}")
        ranked = sorted(found.layers, key=lambda layer: -abs(layer.scores[number]))
        rows = [["  LAYER", "WEIGHTS", "CHANGE", "SCORE"]]
        for layer in ranked[:_MOST_LAYERS]:
            value = layer.measures[number].get(found.measure)
            shown = "-" if value is None else f"{value:.4g}"
            rows.append([f"  {layer.name}", str(layer.weights), shown, f"{layer.scores[number]:+.1f}"])
        print_table(rows)
        if len(ranked) > _MOST_LAYERS:
            print_line(f"  and {len(ranked) - _MOST_LAYERS} more")
