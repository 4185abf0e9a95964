"""What belongs to the state of a run, in which order and under which names.

Names: model index '/' qualified name; optimizer index '/' parameter name '/' slot. Tied tensors stand once, under their
first name; the others are aliases. Step counters of optimizers are not part of the state: t is in the leaf.

Source: `spec/model-state.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from assay.errors import CaptureRefused
from assay.protocol.evidence.model_state import BUFFER, PARAM, SLOT, TRANSIENT, Alias, AliasTable
from assay.protocol.evidence.program import StateInput
from assay.training.pytorch.lower import get_type

COUNTERS = frozenset({"step", "mu_product"})
"""The names under which torch's optimizers keep numbers that follow from their settings and the number of steps."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of the state; for a slot `owner` is its parameter."""

    namespace: int
    name: str
    tensor: torch.Tensor
    optimizer: int = -1
    owner: torch.Tensor | None = None
    slot: str = ""

    @property
    def key(self) -> tuple[int, str]:
        """Namespace and name."""
        return self.namespace, self.name


def list_model_tensors(models: Sequence[nn.Module]) -> tuple[list[Entry], AliasTable]:
    """Return parameters and buffers of the models, sorted by (namespace, name), and the table of tied names."""
    entries: list[Entry] = []
    aliases: list[Alias] = []
    seen: dict[int, str] = {}
    for index, model in enumerate(models):
        transient = _list_transient(model)
        named: list[tuple[int, str, torch.Tensor]] = [
            (PARAM, name, value) for name, value in model.named_parameters(remove_duplicate=False)
        ]
        named += [
            (TRANSIENT if name in transient else BUFFER, name, value)
            for name, value in model.named_buffers(remove_duplicate=False)
        ]
        for namespace, name, tensor in named:
            full = f"{index}/{name}"
            if id(tensor) in seen:
                aliases.append(Alias(full, seen[id(tensor)]))
                continue
            seen[id(tensor)] = full
            entries.append(Entry(namespace, full, tensor))
    entries.sort(key=lambda entry: (entry.namespace, entry.name.encode()))
    return entries, AliasTable(tuple(sorted(aliases, key=lambda alias: alias.name.encode())))


def _list_transient(model: nn.Module) -> set[str]:
    names = set()
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name in module._non_persistent_buffers_set:
            names.add(f"{prefix}.{name}" if prefix else name)
    return names


def list_slots(optimizers: Sequence[torch.optim.Optimizer], model_entries: Sequence[Entry]) -> list[Entry]:
    """Return the tensors that the optimizers keep for their parameters, sorted by name.

    Raises:
        CaptureRefused: an optimizer trains a parameter that no given model has, or keeps state for something else.
    """
    names = {id(entry.tensor): entry.name for entry in model_entries}
    slots = []
    for index, optimizer in enumerate(optimizers):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) not in names:
                    raise CaptureRefused(
                        f"optimizer {index} trains a parameter of shape {tuple(parameter.shape)} that no model has",
                        next_step="pass the module that owns it in models=[...]",
                    )
                for slot, value in optimizer.state.get(parameter, {}).items():
                    if isinstance(value, torch.Tensor) and slot not in COUNTERS:
                        name = f"{index}/{names[id(parameter)]}/{slot}"
                        slots.append(Entry(SLOT, name, value, index, parameter, slot))
    slots.sort(key=lambda entry: entry.name.encode())
    return slots


def list_counters(optimizers: Sequence[torch.optim.Optimizer]) -> list[torch.Tensor]:
    """Return the step counters that are tensors."""
    return [
        state[name]
        for optimizer in optimizers
        for state in optimizer.state.values()
        for name in sorted(COUNTERS & state.keys())
        if isinstance(state[name], torch.Tensor)
    ]


def list_state(
    models: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[list[Entry], AliasTable]:
    """Return the whole state in canonical order, and the alias table."""
    entries, aliases = list_model_tensors(models)
    return [*entries, *list_slots(optimizers, entries)], aliases


def get_inputs(entries: Sequence[Entry]) -> list[StateInput]:
    """Return the entries in the words of a program."""
    return [StateInput(entry.namespace, entry.name, get_type(entry.tensor)) for entry in entries]
