"""Table II of paper 000: how well poisoned intervals are found. `python experiments/table2/run.py`.

Factors are frozen on development families and applied to families whose architectures and data were not looked at.
Prints ours beside the paper's, writes `results.json` if asked to, and prints one JSON object last.

Differs: the paper does not state data, optimizer, poisoned share, interval length or threshold. Here networks are
trained by plain SGD, half of the samples of a poisoned interval carry the backdoor, and `harder` shows what else does
to it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import sklearn
import torch

from assay.verification.weight_analysis.measures import DEFAULT_MEASURE, MEASURES
from assay.verification.weight_analysis.thresholds import DEFAULT_FACTORS, MAD, SIGMA
from benchmarks.report import describe_machine
from experiments.table2.attacker import attack
from experiments.table2.scenarios import CLEAN, SCENARIOS, make_cases
from experiments.table2.scoring import freeze_factor, judge, summarise
from experiments.table2.series import Series, Variant, make_all

CONFIG = Path(__file__).with_name("config.json")
DEFAULT = Variant(DEFAULT_MEASURE, MAD, ways_back=True)
KINDS = ((MAD, True), (MAD, False), (SIGMA, False))


def read_config(*, tiny: bool) -> dict[str, Any]:
    """Return the configuration, with the tiny mode's values in place if asked for."""
    config: dict[str, Any] = json.loads(CONFIG.read_text(encoding="utf-8"))
    return config | config["tiny"] if tiny else config


def train_families(families: Sequence[dict[str, Any]], config: dict[str, Any], pool: Executor) -> list[Series]:
    """Return the series of all networks of some families."""
    cases = []
    for family in families:
        settings = {name: family.get(name, value) for name, value in config["settings"].items()}
        cases += make_cases(family, settings, family.get("models", config["models"]))
    return make_all(cases, pool)


def describe_poison(trained: Sequence[Series]) -> dict[str, float]:
    """Return clean accuracy and backdoor success, which show that the poison took."""
    clean = [s for s in trained if s.case.scenario == CLEAN]
    poisoned = [s for s in trained if s.case.scenario != CLEAN]
    inside = [s.success[number] for s in poisoned for number in s.case.poisoned]

    def average(values: Sequence[float]) -> float:
        return round(sum(values) / len(values), 4)

    return {
        "accuracyClean": average([s.accuracy for s in clean]),
        "accuracyPoisoned": average([s.accuracy for s in poisoned]),
        "successClean": average([max(s.success[len(s.success) // 2 :]) for s in clean]),
        "successInPoisonedIntervals": average(inside),
        "successAtEnd": average([s.success[-1] for s in poisoned]),
    }


def compare(
    development: Sequence[Series], held_out: Sequence[Series], config: dict[str, Any], pool: Executor
) -> list[dict[str, Any]]:
    """Return one line for each measure and kind of threshold: factor frozen, then applied to what was held out."""
    variants = [Variant(measure, kind, ways_back) for kind, ways_back in KINDS for measure in MEASURES]
    compare_one = partial(_compare_one, development, held_out, config)
    return list(pool.map(compare_one, variants))


def _compare_one(
    development: Sequence[Series], held_out: Sequence[Series], config: dict[str, Any], variant: Variant
) -> dict[str, Any]:
    factor, seen = freeze_factor(development, variant, config["grids"][variant.kind], config["mostFalse"])
    figures = summarise([judge(series, variant, factor) for series in held_out])
    paper = config["paper"][variant.measure]
    return {**variant._asdict(), "factor": factor, "developmentF1": seen["f1"], **figures, "paper": paper}


def split(trained: Sequence[Series], factor: float) -> dict[str, Any]:
    """Return the default's figures by family and by scenario."""
    parts: dict[str, Any] = {}
    for family in dict.fromkeys(series.case.family for series in trained):
        chosen = [series for series in trained if series.case.family == family]
        parts[family] = summarise([judge(s, DEFAULT, factor) for s in chosen]) | describe_poison(chosen)
    for scenario in SCENARIOS:
        chosen = [series for series in trained if series.case.scenario == scenario]
        parts[scenario] = summarise([judge(s, DEFAULT, factor) for s in chosen])
    return parts


def run(config: dict[str, Any], workers: int | None = None) -> dict[str, Any]:
    """Return everything that the experiment found.

    Args:
        config: see `read_config`.
        workers: processes that train; None: one per core.
    """
    # fresh processes: a fork of one that has threads, as PyTorch's does, is not safe
    with ProcessPoolExecutor(workers or os.cpu_count(), get_context("spawn")) as pool:
        return _run(config, pool)


def _run(config: dict[str, Any], pool: Executor) -> dict[str, Any]:
    started = time.perf_counter()
    factor = DEFAULT_FACTORS[MAD]
    development = train_families(config["development"], config, pool)
    _say(f"{len(development)} development networks trained", started)
    held_out = train_families(config["heldOut"], config, pool)
    _say(f"{len(held_out)} held-out networks trained", started)
    table = compare(development, held_out, config, pool)
    _say("factors frozen", started)
    default = summarise([judge(series, DEFAULT, factor) for series in held_out])
    harder = train_families(config["harder"], config, pool) if config["harder"] else []
    clean = [series.case for series in held_out if series.case.scenario == CLEAN]
    victims = clean[:: max(1, len(clean) // config["attacked"])][: config["attacked"]]
    attacked = attack(victims, config["shares"], DEFAULT, factor, pool)
    _say("attacks trained", started)
    bars = config["bars"]
    return {
        "experiment": "table2",
        "machine": describe_machine(torch=torch.__version__, sklearn=sklearn.__version__),
        "default": {**DEFAULT._asdict(), "factor": factor, **default},
        "table": table,
        "parts": split(held_out, factor),
        "development": summarise([judge(series, DEFAULT, factor) for series in development]),
        "harder": {
            family: summarise([judge(s, DEFAULT, factor) for s in harder if s.case.family == family])
            | describe_poison([s for s in harder if s.case.family == family])
            for family in dict.fromkeys(series.case.family for series in harder)
        },
        "attacker": attacked,
        "seconds": round(time.perf_counter() - started, 1),
        "bars": bars,
        "met": default["f1"] >= bars["f1"] and default["falseFlags"] <= bars["falseFlags"],
    }


def _say(text: str, started: float) -> None:
    print(f"{time.perf_counter() - started:6.1f} s  {text}", file=sys.stderr, flush=True)


def print_table(found: dict[str, Any]) -> None:
    """Print ours beside the paper's, for people."""
    row = "{:<10} {:<6} {:<9} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7}   {:<16}"
    titles = ("MEASURE", "KIND", "WAYS BACK", "C", "PREC", "RECALL", "F1", "AUPRC", "FALSE %", "PAPER P, R, F1")
    print(row.format(*titles), file=sys.stderr)
    for line in found["table"]:
        paper = line["paper"]
        print(
            row.format(
                line["measure"], line["kind"], "told" if line["ways_back"] else "-", f"{line['factor']:g}",
                f"{line['precision']:.2f}", f"{line['recall']:.2f}", f"{line['f1']:.3f}", f"{line['auprc']:.3f}",
                f"{100 * line['falseFlags']:.2f}",
                f"{paper['precision']:.2f}, {paper['recall']:.2f}, {paper['f1']:.2f}",
            ),
            file=sys.stderr,
        )  # fmt: skip
    default = found["default"]
    print(
        f"default: F1 {default['f1']}, 95 % {default['ci95']['f1']}, false flags {default['falseFlags']}",
        file=sys.stderr,
    )


def main() -> int:
    """Print one JSON object last; the exit status says whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tiny", action="store_true", help="a few small networks, in seconds; its figures mean nothing"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes that train (default: one per core)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the results here too")
    options = parser.parse_args()
    found = run(read_config(tiny=options.tiny), options.workers)
    print_table(found)
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found), flush=True)
    return 0 if found["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
