"""What verification costs: all verifiers' recomputation over one training. `python experiments/cost/run.py`.

Honest runs of N intervals go through the ledger with s sampled intervals and sub-quorums of q; every replay of an
interval by a verifier counts, private intervals included. Beside it stand the formula (s·q + Q·p) / N, with Q seats
in the quorum and p private intervals of each, and full replication, where every seat of the quorum recomputes
everything.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from assay.protocol.params import DEFAULT_PARAMETERS
from benchmarks.report import describe_machine
from experiments.figure3 import ledger
from experiments.figure3.models import make_models

CONFIG = Path(__file__).with_name("config.json")


def read_config(*, tiny: bool) -> dict[str, Any]:
    """Return the configuration, with the tiny mode's values in place if asked for."""
    config: dict[str, Any] = json.loads(CONFIG.read_text(encoding="utf-8"))
    return config | config["tiny"] if tiny else config


def run(config: dict[str, Any]) -> dict[str, Any]:
    """Return the cost of every point of the grid."""
    lines = []
    seats, private = config["verifiers"], DEFAULT_PARAMETERS.submissions.private_intervals
    for intervals, sample, size in config["grid"]:
        settings = {"verifiers": seats, "intervals": intervals, "sample": sample, "subQuorum": size}
        models = make_models(4 * config["models"], intervals, 1.0, 0.0, 0)
        clean = [model for model in models if not model.false][: config["models"]]
        tally = ledger.judge_models(clean, "ordered", 0, settings)
        if tally.outcomes["right"] != len(clean):
            raise RuntimeError("an honest run was not accepted")
        formula = (sample * size + seats * private) / intervals
        measured = tally.replays / (len(clean) * intervals)
        lines.append(
            {
                "intervals": intervals,
                "sample": sample,
                "subQuorum": size,
                "overTraining": round(measured, 4),
                "formula": round(formula, 4),
                "fullReplication": seats,
                "saves": round(seats / measured, 2),
                "met": abs(measured - formula) < 1e-9,
            }
        )
    return {
        "experiment": "cost",
        "machine": describe_machine(),
        "quorum": seats,
        "private": private,
        "lines": lines,
        "met": all(line["met"] for line in lines),
    }


def main() -> int:
    """Print one JSON object last; the exit status says whether the costs are those of the formula."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="two points of the grid")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the results here too")
    options = parser.parse_args()
    found = run(read_config(tiny=options.tiny))
    for line in found["lines"]:
        print(
            f"N {line['intervals']:4}, s {line['sample']:3}, q {line['subQuorum']:2}: {line['overTraining']:6.2f} "
            f"times the training, full replication {line['fullReplication']}: {line['saves']} times less",
            file=sys.stderr,
        )
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found), flush=True)
    return 0 if found["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
