"""What every benchmark shares: the machine, one line of the result, and the JSON object that it prints last."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

CPUINFO = Path("/proc/cpuinfo")


def describe_machine(**further: Any) -> dict[str, Any]:
    """Return what the numbers depend on, and what the caller adds."""
    model = platform.processor()
    if CPUINFO.exists():
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    machine = {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__}
    return {**machine, **further}


def make_result(
    what: str,
    ours: float,
    baseline: float | None,
    ratio: float,
    bar: float | None,
    *,
    at_least: bool = False,
    digits: int = 3,
    **further: Any,
) -> dict[str, Any]:
    """Return one line of a result.

    Args:
        what: the claim in words.
        ours: what was measured of Assay, in the unit that `what` or `further` names.
        baseline: the same of what it is compared with; None: the bar is a number of its own.
        ratio: what the bar is compared with.
        bar: the limit; None: the figure is printed and judged by nobody.
        at_least: True: the ratio must reach the bar; False: it must not exceed it.
        digits: decimals of the ratio that are printed; the comparison uses all.
        further: more keys of the line.
    """
    met = bar is None or (ratio >= bar if at_least else ratio <= bar)
    line = {"what": what, "ours": ours, "baseline": baseline, "ratio": round(ratio, digits), "bar": bar, "met": met}
    return {key: _show(value) for key, value in {**line, **further}.items()}


def _show(value: Any) -> Any:
    """Return a value that JSON can hold: it has no infinity and no NaN."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def print_report(benchmark: str, results: Sequence[dict[str, Any]], **machine: Any) -> int:
    """Print the JSON object as one line; return the exit status, 0 if all bars are met."""
    met = all(result["met"] for result in results)
    described = describe_machine(**machine)
    report = {"benchmark": benchmark, "machine": described, "results": list(results), "met": met}
    print(json.dumps(report), flush=True)
    return 0 if met else 1
