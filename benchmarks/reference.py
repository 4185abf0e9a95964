"""The user's own step in eager PyTorch with the draws of a run: in its own precision, and in binary64 as a reference.

Compared are *distances*, not values: where a gradient is rounding noise (the bias of a convolution before batch norm),
one step of Adam in eager itself lies far from the reference, and equally far is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from assay.training.pytorch import draws, layout
from benchmarks.zoo import Case, list_optimizers, make_step

Optimizer = torch.optim.Optimizer
State = dict[tuple[int, str], torch.Tensor]


class InjectedDraws(TorchDispatchMode):
    """Runs everything as it is, but random calls: those give the counter-based draws of `key`, in order."""

    def __init__(self, key: tuple[int, int]) -> None:
        super().__init__()
        self.key = key
        self.ordinal = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not draws.is_random(func, args):
            return func(*args, **kwargs)
        draw = draws.translate(func, args, kwargs, self.ordinal)
        if draw is None:
            raise RuntimeError(f"{func} has no counter-based draw")
        self.ordinal += 1
        with draws.use_key(self.key):
            drawn = draw.operator(*draw.args, **draw.kwargs)
            if draw.then is not None:
                drawn = draw.then(drawn, lambda operator, args, kwargs: operator(*args, **kwargs))
        return drawn if draw.target is None else draw.target.copy_(drawn)


def get_state(net: nn.Module, optimizer: Optimizer | Sequence[Optimizer]) -> State:
    """Return every tensor of the state by namespace and name; nothing is copied."""
    entries, _ = layout.list_state([net], list_optimizers(optimizer))
    return {entry.key: entry.tensor.detach() for entry in entries}


def copy_state(state: State) -> State:
    """Return copies."""
    return {key: tensor.clone() for key, tensor in state.items()}


class EagerCopy:
    """A second model and optimizer of a case.

    Args:
        case: what to train.
        dtype: of all floating-point tensors.
    """

    def __init__(self, case: Case, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.net = case.make().to(dtype)
        self.net.train()
        self.optimizer = case.optimizer(self.net)
        self.optimizers = list_optimizers(self.optimizer)
        self.body: Callable[[Any], torch.Tensor] = make_step(case, self.net, self.optimizer)

    def _convert(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.detach().clone().to(self.dtype if value.is_floating_point() else value.dtype)
        return value

    def load(self, net: nn.Module, optimizer: Optimizer | Sequence[Optimizer]) -> None:
        """Take over parameters, buffers, slots, counters and settings of another model and optimizer."""
        with torch.no_grad():
            pairs = zip((*self.net.parameters(), *self.net.buffers()), (*net.parameters(), *net.buffers()), strict=True)
            for own, other in pairs:
                own.copy_(other)
        for mine, theirs in zip(self.optimizers, list_optimizers(optimizer), strict=True):
            self._load_slots(mine, theirs)
        self.follow(optimizer)

    def _load_slots(self, mine: Optimizer, theirs: Optimizer) -> None:
        mine.state.clear()
        for own_group, group in zip(mine.param_groups, theirs.param_groups, strict=True):
            for own, other in zip(own_group["params"], group["params"], strict=True):
                slots = theirs.state.get(other, {})
                if slots:
                    mine.state[own] = {
                        name: value.clone() if name in layout.COUNTERS and isinstance(value, torch.Tensor)
                        else self._convert(value)
                        for name, value in slots.items()
                    }  # fmt: skip

    def follow(self, optimizer: Optimizer | Sequence[Optimizer]) -> None:
        """Take over the settings that a scheduler changes."""
        for mine, theirs in zip(self.optimizers, list_optimizers(optimizer), strict=True):
            for own_group, group in zip(mine.param_groups, theirs.param_groups, strict=True):
                own_group.update({name: value for name, value in group.items() if name != "params"})

    def step(self, batch: Sequence[torch.Tensor], key: tuple[int, int]) -> torch.Tensor:
        """Carry out the user's step; returns the loss."""
        fields = [self._convert(field) for field in batch]
        with InjectedDraws(key):
            return self.body(fields).detach()

    def get_state(self) -> State:
        """Return the state."""
        return get_state(self.net, self.optimizers)


def is_equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """True if two tensors have the same type, shape and bits."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    first, second = one.contiguous().reshape(-1), other.contiguous().reshape(-1)
    return torch.equal(first.view(torch.uint8), second.view(torch.uint8))


def find_differing(ours: State, theirs: State) -> list[str]:
    """Return the names of the tensors that differ in any bit, or that only one side has."""
    names = ours.keys() | theirs.keys()
    return sorted(k[1] for k in names if k not in ours or k not in theirs or not is_equal(ours[k], theirs[k]))


def compute_distance(tensor: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the Euclidean distance in binary64; infinite where one has a NaN."""
    distance = float((tensor.double() - reference.double()).norm())
    return distance if not math.isnan(distance) else math.inf


def compute_excess(ours: State, eager: State, reference: State) -> tuple[float, str]:
    """Return the largest ratio of our distance from the reference to eager's, over all tensors, and its tensor's name.

    Where eager has no distance at all, the ratio is 1 if we have none and infinite if we have.
    """
    worst, worst_name = 0.0, ""
    for key, expected in reference.items():
        own, base = compute_distance(ours[key], expected), compute_distance(eager[key], expected)
        ratio = own / base if base > 0 else (1.0 if own == 0 else math.inf)
        if ratio > worst:
            worst, worst_name = ratio, key[1]
    return worst, worst_name
