"""The chance that a sub-quorum is corrupt, and how large one must be; exact, for equal stakes."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np


def compute_corrupt_chance(verifiers: int, lying: int, size: int) -> Fraction:
    """Return the chance that at least two thirds of a sub-quorum lie, drawn without replacement."""
    needed = -(-2 * size // 3)
    ways = sum(
        comb(lying, bad) * comb(verifiers - lying, size - bad)
        for bad in range(needed, min(size, lying) + 1)
        if size - bad <= verifiers - lying
    )
    return Fraction(ways, comb(verifiers, size))


def choose_size(verifiers: int, lying: int, limit: float, least: int) -> int:
    """Return the smallest sub-quorum that is corrupt with at most the chance `limit`; everybody if none is."""
    sizes = range(min(least, verifiers), verifiers + 1)
    return next((size for size in sizes if compute_corrupt_chance(verifiers, lying, size) <= limit), verifiers)


def find_limits(trials: int, chance: float, mass: float = 0.99) -> tuple[int, int]:
    """Return the smallest and largest count that the central interval of a binomial distribution holds."""
    if trials == 0:
        return 0, 0
    counts = np.arange(trials + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    with np.errstate(divide="ignore"):
        weights = logs[trials] - logs[counts] - logs[trials - counts]
        weights = weights + np.where(counts > 0, counts * np.log(chance) if chance > 0 else -np.inf, 0.0)
        rest = trials - counts
        weights = weights + np.where(rest > 0, rest * np.log1p(-chance) if chance < 1 else -np.inf, 0.0)
    total = np.cumsum(np.exp(weights))
    low = int(np.searchsorted(total, (1 - mass) / 2))
    high = int(np.searchsorted(total, 1 - (1 - mass) / 2))
    return low, min(high, trials)
