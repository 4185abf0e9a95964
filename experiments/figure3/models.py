"""The models that are submitted, as in the paper: half clean, a quarter poisoned here and there, a quarter in a row."""

from __future__ import annotations

import random
from typing import NamedTuple


class Model(NamedTuple):
    """One model: which intervals are false, and which of all are flagged by the weight analysis."""

    number: int
    false: tuple[int, ...]
    flagged: tuple[int, ...]


def make_models(count: int, intervals: int, recall: float, false_flags: float, seed: int) -> list[Model]:
    """Return models in the paper's shares; flags fall as often as the weight analysis was found to place them."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    models = []
    for number in range(count):
        false: list[int] = []
        if number % 4 == 1:
            false = sorted(chance.sample(range(intervals), chance.randint(2, 4)))
        elif number % 4 == 3:
            length = chance.randint(2, 4)
            start = chance.randrange(intervals - length + 1)
            false = list(range(start, start + length))
        flagged = [i for i in range(intervals) if chance.random() < (recall if i in false else false_flags)]
        models.append(Model(number, tuple(false), tuple(flagged)))
    return models
