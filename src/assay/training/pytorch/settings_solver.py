"""Solving for the settings of an optimizer, such as its rate, from the numbers that its step feeds into operators.

Nothing is known of the formula but the code that evaluates it (`ScalarReader`). A setting is found from a number that
depends on it and on no other setting that is still open, by proportion and then by secants, and at last among the
neighbouring floating-point numbers: numbers must agree in every bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from assay.training.pytorch.scalars import ScalarReader

_SECANTS = 4
_NEIGHBOURS = 8
MOST_HOLDS = 32
"""How often a row may have a setting held: rows that nothing explains would else take every order of them."""


@dataclass(frozen=True)
class Setting:
    """One number of a parameter group: its key, and its place where the value is a tuple (else −1)."""

    key: str
    place: int = -1


class Settings:
    """The settings of one parameter group, and where their numbers stand in the row.

    Args:
        reader: evaluates the optimizers' code.
        group: of the optimizer; changed in place.
        places: of the group's numbers in the row.
    """

    def __init__(self, reader: ScalarReader, group: dict[str, object], places: Sequence[int]) -> None:
        self.reader = reader
        self.group = group
        self.places = tuple(places)
        self._numbers: np.ndarray | None = None  # of the present settings; None: to be read
        self._holds = MOST_HOLDS  # left for the present row
        self._held: Setting | None = None  # taken to be unchanged in the last row that left a choice
        self.reach = dict(self._find_reach())

    def get(self, setting: Setting) -> float:
        """Return the present value."""
        value = self.group[setting.key]
        return float(value[setting.place] if isinstance(value, tuple) else value)  # type: ignore[arg-type]

    def put(self, setting: Setting, value: float) -> None:
        """Set a value."""
        if value == self.get(setting):
            return
        self._numbers = None
        old = self.group[setting.key]
        if isinstance(old, tuple):
            self.group[setting.key] = (*old[: setting.place], value, *old[setting.place + 1 :])
        else:
            self.group[setting.key] = value

    def _read(self) -> np.ndarray:
        """Return the row under the present settings; empty if the optimizer's code cannot compute with them."""
        if self._numbers is None:
            try:
                self._numbers = self.reader.read()
            except (ArithmeticError, ValueError):  # a guess that was far off
                return np.empty(0)
        return self._numbers

    def _find_reach(self) -> Iterator[tuple[Setting, frozenset[int]]]:
        """Yield each setting that changes numbers of the group, and which."""
        before = dict(self.group)
        try:
            if self.group.get("lr") == 0.0:
                self.group["lr"] = 0.01  # at rate 0 other settings do not show
            base = self.reader.read()
            for setting in _list_settings(self.group):
                value = self.get(setting)
                self.put(setting, value * 0.875 if value else value)
                changed = self.reader.read()
                self.put(setting, value)
                if len(changed) == len(base):
                    reached = frozenset(place for place in self.places if changed[place] != base[place])
                    if reached:
                        yield setting, reached
        finally:
            self.group.update(before)

    def solve(self, row: np.ndarray, numbers: np.ndarray) -> bool:
        """Choose settings so that the group's numbers are those of `row`; False if none were found.

        `numbers` are those of the present settings.

        Where every number left depends on several open settings, one beside the rate is taken to be unchanged: each in
        turn, until all numbers agree.
        """
        self._numbers = numbers
        self._holds = MOST_HOLDS
        return self._solve(row, list(self.reach))

    def _solve(self, row: np.ndarray, waiting: list[Setting]) -> bool:
        while waiting:
            place = next((place for place in self.places if len(self._list_open(place, waiting)) == 1), None)
            if place is None:
                return self._hold_one(row, waiting)
            setting = self._list_open(place, waiting)[0]
            waiting.remove(setting)
            if not self._find(setting, place, row, waiting):
                return False
        return _agree(self._read(), row, self.places)

    def _hold_one(self, row: np.ndarray, waiting: list[Setting]) -> bool:
        """Solve for the open settings but one, which keeps its value: that of the last row first."""
        before = dict(self.group)
        beside = [setting for setting in waiting if setting.key != "lr"] or waiting
        for held in sorted(beside, key=lambda setting: setting != self._held):
            if not self._holds:
                return False
            self._holds -= 1
            if self._solve(row, [setting for setting in waiting if setting != held]):
                self._held = held
                return True
            self.group.update(before)
            self._numbers = None
        return False

    def _list_open(self, place: int, waiting: Sequence[Setting]) -> list[Setting]:
        return [setting for setting in waiting if place in self.reach[setting]]

    def _find(self, setting: Setting, place: int, row: np.ndarray, waiting: Sequence[Setting]) -> bool:
        """Choose a setting from the number at `place`; all numbers that depend on nothing open must then agree."""
        mine = [other for other in self.reach[setting] if not self._list_open(other, waiting)]
        if _agree(self._read(), row, mine):
            return True
        found = self._approach(setting, place, float(row[place]))
        for value in _list_neighbours(found):
            self.put(setting, value)
            if _agree(self._read(), row, mine):
                return True
        return False

    def _approach(self, setting: Setting, place: int, target: float) -> float:
        """Return a value of the setting at which the number at `place` is about `target`."""
        one = self.get(setting)
        at_one = self._evaluate(setting, one, place)
        other = one * (target / at_one) if one and at_one else one + 0.5
        for _ in range(_SECANTS):
            at_other = self._evaluate(setting, other, place)
            if at_other in (target, at_one):
                break
            following = other + (target - at_other) * (other - one) / (at_other - at_one)
            one, at_one, other = other, at_other, following
            if not math.isfinite(other):
                return one
        return other

    def _evaluate(self, setting: Setting, value: float, place: int) -> float:
        self.put(setting, value)
        numbers = self._read()
        return float(numbers[place]) if place < len(numbers) else math.nan


class RowSolver:
    """Explains one row after the other; what depends on which setting is found out once for each layout of the rows.

    Args:
        optimizers: whose groups are changed.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.optimizers = optimizers
        self.reader = ScalarReader(optimizers)
        self._known: dict[tuple[object, ...], list[Settings]] = {}

    def explain(self, row: np.ndarray) -> bool:
        """Choose settings under which the optimizers' code gives `row`, starting from the present ones.

        Args:
            row: float64, shape (numbers,).

        Returns:
            False if no settings were found; the groups then keep what fits best.
        """
        numbers = self.reader.read()
        if len(numbers) != len(row):
            return False
        if _agree(numbers, row, range(len(row))):
            return True
        found = [settings.solve(row, numbers) for settings in self._get_groups()]
        return all(found)

    def _get_groups(self) -> list[Settings]:
        layout = self.reader.get_layout()
        if layout not in self._known:
            places: dict[tuple[int, int], list[int]] = {}
            for log in self.reader.read_structured():
                numbers = range(log.first, log.first + len(log.numbers))
                places.setdefault((log.optimizer, log.group), []).extend(numbers)
            self._known[layout] = [
                Settings(self.reader, self.optimizers[optimizer].param_groups[group], numbers)
                for (optimizer, group), numbers in places.items()
            ]
        return self._known[layout]


def _list_settings(group: dict[str, object]) -> list[Setting]:
    found = []
    for key, value in group.items():
        if isinstance(value, float):
            found.append(Setting(key))
        elif isinstance(value, tuple):
            found += [Setting(key, place) for place, part in enumerate(value) if isinstance(part, float)]
    return found


def _list_neighbours(value: float) -> Iterator[float]:
    """Yield a number and those beside it, the nearest first."""
    yield value
    below = above = value
    for _ in range(_NEIGHBOURS):
        below, above = math.nextafter(below, -math.inf), math.nextafter(above, math.inf)
        yield below
        yield above


def _agree(numbers: np.ndarray, row: np.ndarray, places: Sequence[int] | range) -> bool:
    """Return whether numbers are the same; of NaN nothing is, and the sign of zero does not count."""
    return all(place < len(numbers) and numbers[place] == row[place] for place in places)
