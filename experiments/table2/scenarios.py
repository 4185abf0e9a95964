"""Which networks are trained, and which of their intervals are poisoned; everything is drawn from a seed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from experiments.table2.training import Recipe

CLEAN, SINGLE, SCATTERED, CONSECUTIVE = SCENARIOS = ("clean", "single", "scattered", "consecutive")


class Case(NamedTuple):
    """One network to train."""

    family: str
    data: str
    scenario: str
    recipe: Recipe
    poisoned: tuple[int, ...]


def make_cases(family: dict[str, Any], settings: dict[str, Any], models: int) -> list[Case]:
    """Return the networks of a family, `models` for each scenario.

    Args:
        family: name, data, seed, depth and width as [least, most], rates to choose from, optimizer.
        settings: intervals as [least, most], steps, batch, share, and `earliest`, the part of the training that stays
            clean at its start.
        models: networks for each scenario.
    """
    random = np.random.default_rng(family["seed"])
    cases = []
    for number in range(models):
        for scenario in SCENARIOS:
            depth = int(random.integers(family["depth"][0], family["depth"][1] + 1))
            hidden = tuple(int(w) for w in random.integers(family["width"][0], family["width"][1] + 1, depth))
            intervals = int(random.integers(settings["intervals"][0], settings["intervals"][1] + 1))
            rate = float(random.choice(family["rates"]))
            first = int(np.ceil(intervals * settings["earliest"]))
            recipe = Recipe(
                hidden,
                intervals,
                settings["steps"],
                rate,
                settings["batch"],
                settings["share"],
                family.get("optimizer", "sgd"),
                1000 * family["seed"] + number,
            )
            poisoned = _draw(random, scenario, first, intervals)
            cases.append(Case(family["name"], family["data"], scenario, recipe, poisoned))
    return cases


def _draw(random: np.random.Generator, scenario: str, first: int, intervals: int) -> tuple[int, ...]:
    """Return the poisoned intervals: none, one, two to four with a gap between them, or two to four in a row."""
    if scenario == CLEAN:
        return ()
    if scenario == SINGLE:
        return (int(random.integers(first, intervals)),)
    count = int(random.integers(2, 5))
    if scenario == CONSECUTIVE:
        start = int(random.integers(first, intervals - count + 1))
        return tuple(range(start, start + count))
    while True:
        drawn = sorted(int(x) for x in random.choice(np.arange(first, intervals), count, replace=False))
        if all(after - before > 1 for before, after in pairwise(drawn)):
            return tuple(drawn)
