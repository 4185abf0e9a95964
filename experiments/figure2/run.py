"""Figure 2 of paper 000: time of the analysis against the size of the network. `python experiments/figure2/run.py`.

Feed-forward networks with 5 to 200 hidden layers of one width are trained for a few steps; their snapshots are compared
as `assay run weights` compares them. Two times are taken: of one pair of snapshots (all four measures), and of a whole
model (all pairs, threshold, ways back, layers). Each is fitted by a line in the number of weights; the second without
the models that have more snapshots compared than others (`comparisons`), for the ways back of a suspect interval. It is
processor time; the rounds go through all sizes at random and the smallest of each counts, since whatever else the
machine does only adds.

Differs: the paper's measure is the absolute change alone. `steeper` asks what the paper saw near 70,000 weights: the
slope over the upper half of the sizes, relative to that over all.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.kernels import loader
from assay.verification.weight_analysis.analysis import analyse_states
from assay.verification.weight_analysis.pairs import compare_pair
from assay.verification.weight_analysis.sources import ArraySource, WeightSource
from benchmarks.report import describe_machine
from experiments.table2.data import load_task
from experiments.table2.training import Recipe, train

CONFIG = Path(__file__).with_name("config.json")


def read_config(*, tiny: bool) -> dict[str, Any]:
    """Return the configuration, with the tiny mode's values in place if asked for."""
    config: dict[str, Any] = json.loads(CONFIG.read_text(encoding="utf-8"))
    return config | config["tiny"] if tiny else config


def make_sources(config: dict[str, Any], layers: int) -> list[ArraySource]:
    """Return the snapshots of one network."""
    recipe = Recipe(
        (config["width"],) * layers, config["intervals"], config["steps"], config["rate"], config["batch"], 0.0, "sgd",
        config["seed"],
    )  # fmt: skip
    states = train(load_task(config["data"]), recipe, ()).states
    return [ArraySource(f"snapshot {number}", dict(state)) for number, state in enumerate(states)]


def fit_line(sizes: Sequence[int], times: Sequence[float]) -> tuple[float, float, float]:
    """Return slope, value at 0 and R² of the line of least squares."""
    x, y = np.array(sizes, np.float64), np.array(times)
    slope, level = np.polyfit(x, y, 1)
    left = y - (level + slope * x)
    return float(slope), float(level), 1 - float((left**2).sum() / ((y - y.mean()) ** 2).sum())


def time_call(call: Callable[[], object]) -> float:
    """Return the processor seconds of one call."""
    started = time.process_time()
    call()
    return time.process_time() - started


def run(config: dict[str, Any]) -> dict[str, Any]:
    """Return the times, the lines through them and whether the bars are met."""
    torch.set_num_threads(1)
    span = config["layers"]
    depths = list(range(span["first"], span["last"] + 1, span["step"]))
    networks = [make_sources(config, layers) for layers in depths]
    print(f"{len(networks)} networks trained", file=sys.stderr, flush=True)
    sizes = [sum(int(np.prod(tensor.shape)) for tensor in states[0].tensors.values()) for states in networks]
    seconds = np.zeros((config["rounds"], 2, len(networks)))
    order = np.random.default_rng(config["seed"])
    for one_round in seconds:
        for number in order.permutation(len(networks)):
            states = networks[number]
            pair = [time_call(lambda a=a, b=b: compare_pair(a, b, threads=1)) for a, b in pairwise(states)]
            one_round[:, number] = sum(pair) / len(pair), time_call(lambda states=states: _analyse(states))
    snapshot, model = seconds.min(axis=0).tolist()
    comparisons = [_analyse(states) for states in networks]
    usual = [number for number, count in enumerate(comparisons) if count == min(comparisons)]
    lines = {}
    for name, times, used in (("snapshot", snapshot, range(len(sizes))), ("model", model, usual)):
        x, y = [sizes[number] for number in used], [times[number] for number in used]
        slope, level, r2 = fit_line(x, y)
        upper = fit_line(x[len(x) // 2 :], y[len(x) // 2 :])[0]
        lines[name] = {
            "microsecondsPerThousandWeights": round(slope * 1e9, 3),
            "microsecondsAtZero": round(level * 1e6, 1),
            "r2": round(r2, 5),
            "steeper": round(upper / slope, 3),
        }
    bars = config["bars"]
    return {
        "experiment": "figure2",
        "machine": describe_machine(torch=torch.__version__, kernels=loader.get_names(loader.get_used_features())),
        "paper": config["paper"],
        "points": [
            {"layers": d, "weights": s, "comparisons": c, "snapshotSeconds": round(a, 7), "modelSeconds": round(b, 6)}
            for d, s, c, a, b in zip(depths, sizes, comparisons, snapshot, model, strict=True)
        ],
        "lines": lines,
        "bars": bars,
        "met": all(
            line["r2"] >= bars[f"{name}R2"] and line["steeper"] <= bars["steeper"] for name, line in lines.items()
        ),
    }


def _analyse(states: Sequence[ArraySource]) -> int:
    """Analyse the snapshots of a network and return how many pairs of them were compared."""
    opened = 0

    def open_state(number: int) -> AbstractContextManager[WeightSource]:
        nonlocal opened
        opened += 1
        return nullcontext(states[number])

    analyse_states("network", range(len(states)), open_state)
    return opened // 2


def main() -> int:
    """Print one JSON object last; the exit status says whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="five sizes, in seconds; its figures mean nothing")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the results here too")
    options = parser.parse_args()
    found = run(read_config(tiny=options.tiny))
    for point in found["points"]:
        print(
            f"{point['layers']:4} layers {point['weights']:7} weights {1e6 * point['snapshotSeconds']:8.1f} µs a pair, "
            f"{1e3 * point['modelSeconds']:7.2f} ms a model",
            file=sys.stderr,
        )
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found), flush=True)
    return 0 if found["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
