"""Places where Python keeps values: read fast at every call, and slowly, with names, to say what changed.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter, itemgetter
from types import CellType
from typing import Any

import numpy as np
import torch

Items = list[tuple[str, Any]]
"""(name, value) pairs."""

_EXACT = (int, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size, range, slice)


class Missing:
    """Stands for a value that is not there."""

    def __repr__(self) -> str:
        return "(missing)"


MISSING = Missing()


def is_same_value(left: Any, right: Any) -> bool:
    """True if two objects are one, or immutable and equal in type and value (floats: in their bits)."""
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return struct.pack("<d", left) == struct.pack("<d", right)
    if isinstance(left, complex):
        return is_same_value(left.real, right.real) and is_same_value(left.imag, right.imag)
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(is_same_value, left, right))
    if isinstance(left, np.generic):
        return bool(left.tobytes() == right.tobytes())
    return isinstance(left, _EXACT) and bool(left == right)


def show(value: Any) -> str:
    """Return a short description of a value for a message."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, (float, complex, np.generic, Missing, *_EXACT)):
        text = repr(value)
        return text if len(text) <= 60 else text[:57] + "..."
    return f"{getattr(value, '__qualname__', None) or type(value).__qualname__} at {id(value):#x}"


@dataclass(slots=True)
class Scope:
    """A place.

    Attributes:
        label: where it is, for messages; `{}` stands for the name.
        read: returns the values, quickly, in the order of `list_items`; may raise when a name is gone.
        list_items: returns names and values.
        expected: what was there when the guards were collected.
        is_model_state: holds tensors that belong to the state of a run; replacing one by another is no change here.
    """

    label: str
    read: Callable[[], Iterable[Any]]
    list_items: Callable[[], Items]
    is_model_state: bool = False
    expected: Items = field(default_factory=list)

    def refresh(self) -> None:
        """Take what is there now as expected."""
        self.expected = self.list_items()

    def describe_change(self) -> list[str]:
        """Return a line for each name whose value has changed."""
        return describe_changes(self.label, self.expected, self.list_items())


def describe_changes(label: str, before: Items, after: Items) -> list[str]:
    """Return a line for each name whose value differs between two listings of a scope."""
    old, new = dict(before), dict(after)
    lines = []
    for name in [*old, *(name for name in new if name not in old)]:
        left, right = old.get(name, MISSING), new.get(name, MISSING)
        if not is_same_value(left, right):
            lines.append(f"{label.replace('{}', name)}: {show(left)} -> {show(right)}")
    return lines


def scope_of_mapping(mapping: Mapping[str, Any], label: str) -> Scope:
    """All values of a mapping, such as an object's `__dict__`."""
    return Scope(label, mapping.values, lambda: [(str(name), value) for name, value in mapping.items()])


def scope_of_keys(mapping: Mapping[str, Any], names: Iterable[str], label: str) -> Scope:
    """Some values of a mapping, such as the globals that a function reads."""
    chosen = tuple(names)
    return Scope(
        label,
        partial(itemgetter(*chosen, chosen[0]), mapping),  # two names at least: the result is a tuple
        lambda: [(name, mapping.get(name, MISSING)) for name in (*chosen, chosen[0])],
    )


def scope_of_attributes(owner: object, names: Iterable[str], label: str) -> Scope:
    """Some attributes of an object."""
    chosen = tuple(names)
    return Scope(
        label,
        partial(attrgetter(*chosen, chosen[0]), owner),
        lambda: [(name, getattr(owner, name, MISSING)) for name in (*chosen, chosen[0])],
    )


def scope_of_items(items: Iterable[Any], label: str) -> Scope:
    """The elements of a list, tuple, set or deque, or the keys of a dict."""
    return Scope(label, items.__iter__, lambda: [(str(place), value) for place, value in enumerate(items)])


def scope_of_kinds(mapping: Mapping[str, Any], label: str) -> Scope:
    """Whether each entry of a module's `_buffers` is a tensor or None; which tensor it is belongs to the state."""
    return Scope(
        label,
        lambda: map(type, mapping.values()),
        lambda: [(name, type(value)) for name, value in mapping.items()],
        is_model_state=True,
    )


def scope_of_cells(cells: list[CellType], names: list[str], label: str) -> Scope:
    """What the closure of a function holds."""

    def list_items() -> Items:
        return [(name, _read_cell(cell)) for name, cell in zip(names, cells, strict=True)]

    return Scope(label, partial(map, attrgetter("cell_contents"), cells), list_items)


def scope_of_context(variable: ContextVar[Any], label: str) -> Scope:
    """What a context variable holds."""
    return Scope(f"{label}.{{}}", lambda: (variable.get(MISSING),), lambda: [("get()", variable.get(MISSING))])


MEMOISED = "memoised function "


def scope_of_memory(function: Any, label: str) -> Scope:
    """What a memoised function remembers: emptied, it may give other values."""

    def list_items() -> Items:
        found = function.cache_info()
        return [("misses", found.misses), ("size", found.currsize)]

    return Scope(f"{MEMOISED}{label}: {{}}", lambda: [value for _, value in list_items()], list_items)


def _read_cell(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING
