"""Everything that a step may change in models and optimizers, kept so that the step can be run again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

Flags = list[tuple[torch.Tensor, bool]]
"""Parameters, each with whether it requires a gradient."""


def set_flags(flags: Flags) -> None:
    """Give parameters these flags."""
    for parameter, flag in flags:
        if parameter.requires_grad != flag:
            parameter.requires_grad_(flag)


@dataclass
class Snapshot:
    """Copies of all tensors, and which objects stood where.

    Attributes:
        tensors: each tensor, a view of the memory that it had, and a copy of the bytes.
        modules: each module, with its parameters and buffers.
        slots: for each optimizer its state.
        grads: each parameter and its gradient.
        flags: each parameter and whether it requires a gradient.
    """

    models: Sequence[nn.Module]
    optimizers: Sequence[torch.optim.Optimizer]
    tensors: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = field(default_factory=list)
    modules: list[tuple[nn.Module, dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    slots: list[dict[Any, dict[str, Any]]] = field(default_factory=list)
    grads: list[tuple[torch.Tensor, torch.Tensor | None]] = field(default_factory=list)
    flags: Flags = field(default_factory=list)

    @classmethod
    def take(cls, models: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer]) -> Snapshot:
        """Copy the present state."""
        snapshot = cls(models, optimizers)
        seen: set[int] = set()

        def keep(tensor: torch.Tensor | None) -> None:
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                snapshot.tensors.append((tensor, tensor.detach(), tensor.detach().clone()))

        for model in models:
            for module in model.modules():
                snapshot.modules.append((module, dict(module._parameters), dict(module._buffers)))
                for parameter in module._parameters.values():
                    keep(parameter)
                    if parameter is not None:
                        snapshot.grads.append((parameter, parameter.grad))
                        snapshot.flags.append((parameter, parameter.requires_grad))
                for buffer in module._buffers.values():
                    keep(buffer)
        for optimizer in optimizers:
            snapshot.slots.append({owner: dict(state) for owner, state in optimizer.state.items()})
            for state in optimizer.state.values():
                for value in state.values():
                    if isinstance(value, torch.Tensor):
                        keep(value)
        return snapshot

    def restore(self, *, gradients: bool = True) -> None:
        """Put everything back; `gradients=False` leaves the gradients as they are now."""
        for module, parameters, buffers in self.modules:
            module._parameters.update(parameters)
            module._buffers.update(buffers)
        for optimizer, slots in zip(self.optimizers, self.slots, strict=True):
            optimizer.state.clear()
            for owner, state in slots.items():
                optimizer.state[owner] = dict(state)
        with torch.no_grad():
            for tensor, memory, copy in self.tensors:
                if tensor.data_ptr() != memory.data_ptr() or tensor.stride() != memory.stride():
                    tensor.data = memory  # the step had put other memory in its place (`p.data = ...`)
                tensor.detach().copy_(copy)
        if gradients:
            for parameter, gradient in self.grads:
                parameter.grad = gradient
        set_flags(self.flags)

    def find_flags(self) -> Flags:
        """Return the parameters whose flag has changed since, with the present flag."""
        return [
            (parameter, parameter.requires_grad) for parameter, flag in self.flags if parameter.requires_grad != flag
        ]
