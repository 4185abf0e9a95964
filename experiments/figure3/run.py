"""Figure 3 of paper 000: verdicts against the share of malicious verifiers. `python experiments/figure3/run.py`.

Models as in the paper: half clean, a quarter with 2 to 4 poisoned intervals here and there, a quarter in a row. Each
goes through the ledger itself (signed transactions, blocks, draw, commit, reveal, escalation, private samples); only
training is pretended. Flags have a recall of 0.95 (`table2`: 0.97 on development families, 0.85 on those held out).
The size of a sub-quorum is chosen by the formula, for a chance of a corrupt one of at most 1e-4; up to 20 % for 20 %,
from 30 % on for 30 %. The paper's rule is simulated beside it.

"unseen" are accepted models of which no false interval was judged: that is the sampling's miss, not a liar's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.report import describe_machine
from experiments.figure3 import ledger, paper_rule
from experiments.figure3.formula import choose_size, compute_corrupt_chance, find_limits
from experiments.figure3.models import make_models

CONFIG = Path(__file__).with_name("config.json")
LEAST = 5


def read_config(*, tiny: bool) -> dict[str, Any]:
    """Return the configuration, with the tiny mode's values in place if asked for."""
    config: dict[str, Any] = json.loads(CONFIG.read_text(encoding="utf-8"))
    return config | config["tiny"] if tiny else config


def run_level(config: dict[str, Any], mode: str, level: int) -> dict[str, Any]:
    """Return one point of the figure."""
    verifiers = config["verifiers"]
    lying = verifiers * level // 100
    size = choose_size(verifiers, verifiers * (20 if level <= 20 else 30) // 100, config["limit"], LEAST)
    chance = compute_corrupt_chance(verifiers, lying, size)
    count = config["models"].get(str(level), config["otherModels"])
    models = make_models(count, config["intervals"], config["recall"], config["falseFlags"], 1000 + level)
    tally = ledger.judge_models(models, mode, lying, {**config, "subQuorum": size})
    low, high = find_limits(tally.drawn, float(chance))
    rule = config["paperRule"]
    theirs = make_models(rule["models"], config["intervals"], rule["recall"], rule["falseFlags"], level)
    names = ("right", "wrong", "inconclusive", "unseen")
    return {
        "mode": mode,
        "malicious": level,
        "models": count,
        **{name: tally.outcomes[name] for name in names},
        "accuracy": round(tally.outcomes["right"] / count, 4),
        "paperRuleAccuracy": round(paper_rule.judge_models(theirs, mode, level / 100, rule["subQuorum"], level), 4),
        "subQuorum": size,
        "corruptChance": float(f"{float(chance):.3g}"),
        "corrupt": tally.corrupt,
        "drawn": tally.drawn,
        "corruptLimits99": [low, high],
        "asTheFormulaSays": low <= tally.corrupt <= high,
        "replaysOverTraining": round(tally.replays / (count * config["intervals"]), 2),
    }


def run(config: dict[str, Any]) -> dict[str, Any]:
    """Return all points and whether the bars are met."""
    started, points = time.perf_counter(), []
    for mode in ledger.MODES:
        for level in config["levels"]:
            point = run_level(config, mode, level)
            points.append(point)
            print(
                f"{time.perf_counter() - started:6.1f} s  {mode:8} {level:3} %: right {point['right']:3}, wrong "
                f"{point['wrong']:3}, inconclusive {point['inconclusive']:3}, unseen {point['unseen']:3}; paper's rule "
                f"{100 * point['paperRuleAccuracy']:.0f} %; q {point['subQuorum']}, corrupt {point['corrupt']} of "
                f"{point['drawn']}, formula {point['corruptChance']:.2g}",
                file=sys.stderr,
                flush=True,
            )
    bars = config["bars"]
    at30 = [point["corruptChance"] for point in points if point["malicious"] == 30]
    return {
        "experiment": "figure3",
        "machine": describe_machine(),
        "paper": config["paper"],
        "points": points,
        "seconds": round(time.perf_counter() - started, 1),
        "bars": bars,
        "met": sum(point["wrong"] for point in points if point["malicious"] <= 20) <= bars["wrongUpTo20"]
        and all(chance <= bars["cAt30"] for chance in at30)
        and all(point["asTheFormulaSays"] for point in points),
    }


def main() -> int:
    """Print one JSON object last; the exit status says whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="few verifiers and models, in seconds")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the results here too")
    options = parser.parse_args()
    found = run(read_config(tiny=options.tiny))
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found), flush=True)
    return 0 if found["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
