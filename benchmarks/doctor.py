"""Whether `assay doctor` finds every planted blocker with its line, and raises no false alarm on clean scripts.

Each script of `doctor_scripts` is written to a file, read and run as the command does. A planted script counts if the
codes and lines that were found are exactly those that were planted; a clean one if nothing was found and no goal is
denied.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from assay.verification.examination import NO, examine
from assay.verification.trials import Trials
from benchmarks.doctor_scripts import CLEAN, PLANTED, get_expected
from benchmarks.report import make_result, print_report


def judge(name: str, text: str, *, clean: bool) -> dict[str, Any]:
    """Return the line of one script."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "train.py"
        script.write_text(text, encoding="utf-8")
        begun = time.perf_counter()
        found = examine(Trials(script, (), 12, 0, 300.0), Path(folder) / "trials")
        seconds = time.perf_counter() - begun
    expected, actual = get_expected(text), {(blocker.code, blocker.line) for blocker in found.blockers}
    right = actual == expected and not (clean and any(goal.verdict == NO for goal in found.goals))
    what = f"{'clean' if clean else 'planted'}: {name}"
    said = ", ".join(f"{code} in line {line}" for code, line in sorted(actual, key=lambda pair: pair[1])) or "nothing"
    return make_result(
        what, len(actual), len(expected), float(right), 1.0, at_least=True, said=said, seconds=round(seconds, 1)
    )


def main() -> int:
    """Print one JSON object; the exit status says whether all bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="scripts whose name has this in it")
    options = parser.parse_args()
    results = []
    for scripts, clean in ((PLANTED, False), (CLEAN, True)):
        for name, text in scripts.items():
            if options.only in name:
                results.append(judge(name, text, clean=clean))
                line = results[-1]
                print(f"{line['ratio']:4.0f}  {line['what']}: {line['said']}", file=sys.stderr, flush=True)
    return print_report("doctor", results, torch=torch.__version__)


if __name__ == "__main__":
    sys.exit(main())
