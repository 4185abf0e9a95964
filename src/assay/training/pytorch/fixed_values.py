"""Values that nothing but the step's own code decides: made by `arange`, `ones` and the like, and computed from such.

Neither state, batch nor a draw is in them, nor a tensor from outside the step. They are the same in every call, as far
as the guarded Python side is: a step may read them, branch on them and select by them.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

_WRITES_IN_SECRET = torch.ops.aten.native_batch_norm.default
"""Its schema does not say that it writes to the running statistics."""


def _iterate_storages(values: Any) -> Iterator[int]:
    if isinstance(values, torch.Tensor):
        if values.layout is not torch.strided:
            return  # it has no storage of its own, and is refused
        yield int(values.untyped_storage()._cdata)
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _iterate_storages(value)


class FixedValues:
    """The storages that hold such values, while a step is recorded; all storages stay alive as long."""

    def __init__(self) -> None:
        self._storages: set[int] = set()

    def holds(self, values: Sequence[Any]) -> bool:
        """Return whether all tensors among some arguments, and at least one, are such values."""
        found = set(_iterate_storages(values))
        return bool(found) and found <= self._storages

    def note(self, operator: torch._ops.OpOverload, arguments: Sequence[Any], result: Any) -> None:
        """Note what a call that was carried out has made; it draws nothing.

        Args:
            operator: of the call.
            arguments: all, those by name too.
            result: what it gave.
        """
        read = set(_iterate_storages(arguments))
        if read <= self._storages:
            self._storages.update(_iterate_storages(result))
            return
        self._storages.difference_update(_iterate_storages(result))
        if operator._schema.is_mutable or operator is _WRITES_IN_SECRET:
            self._storages -= read
