"""`AveragedModel` in a recorded step: its update without a branch on how many models it has averaged.

PyTorch's `update_parameters` copies the model the first time and averages later, and looks into the buffer `n_averaged`
to know which. While a step is recorded the same update is computed both ways and chosen by `torch.where`: the same
bits, and one program for all steps. A class that overrides the method keeps its own.

Source: `torch.optim.swa_utils`, whose results these are; `docs/explanation/recording.md`.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import swa_utils
from torch.optim.swa_utils import AveragedModel

_SWA_CODE = inspect.unwrap(swa_utils.get_swa_multi_avg_fn()).__code__  # what torch.no_grad() wraps is all one code


@contextmanager
def adapt_averages() -> Iterator[None]:
    """Replace `AveragedModel.update_parameters` by what can be recorded."""
    own = AveragedModel.update_parameters
    AveragedModel.update_parameters = _update_parameters  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        AveragedModel.update_parameters = own  # type: ignore[method-assign]


@torch.no_grad()
def _update_parameters(averaged: Any, model: nn.Module) -> None:
    """Do what `averaged.update_parameters(model)` does."""
    own = itertools.chain(averaged.module.parameters(), averaged.module.buffers())
    other = itertools.chain(model.parameters(), model.buffers())
    pairs = list(zip(own, other, strict=True) if averaged.use_buffers else _pair(averaged, model))
    targets, sources = [one.detach() for one, _ in pairs], [two.detach().to(one.device) for one, two in pairs]
    is_first = averaged.n_averaged == 0
    for target, source, update in zip(targets, sources, _average(averaged, targets, sources), strict=True):
        target.copy_(torch.where(is_first.to(target.device), source.to(target.dtype), update))
    if not averaged.use_buffers:
        for target, source in zip(averaged.module.buffers(), model.buffers(), strict=True):
            target.detach().copy_(source.detach().to(target.device))
    averaged.n_averaged += 1


def _pair(averaged: nn.Module, model: nn.Module) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    return zip(averaged.parameters(), model.parameters(), strict=False)


def _average(averaged: Any, targets: Sequence[torch.Tensor], sources: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return what each target becomes if this is not the first model."""
    if averaged.multi_avg_fn is None:
        function = averaged.avg_fn or swa_utils.get_swa_avg_fn()
        return [
            function(target, source, averaged.n_averaged.to(target.device)).to(target.dtype)
            for target, source in zip(targets, sources, strict=True)
        ]
    function = averaged.multi_avg_fn
    is_plain = getattr(inspect.unwrap(function), "__code__", None) is _SWA_CODE
    updates = [target.clone() for target in targets]
    for kind in dict.fromkeys((update.device, update.dtype) for update in updates):
        chosen = [place for place, update in enumerate(updates) if (update.device, update.dtype) == kind]
        own, other = [updates[place] for place in chosen], [sources[place] for place in chosen]
        count = averaged.n_averaged.to(kind[0])
        if is_plain and kind[1].is_floating_point:  # it reads 1 / (n + 1) as a number: here it stays a tensor
            wide = kind[1] if kind[1].itemsize >= 4 else torch.float32  # in which the number would be used
            for update, source in zip(own, other, strict=True):
                update.copy_(torch.lerp(update.to(wide), source.to(wide), (1 / (count + 1)).to(wide)))
        else:
            function(own, other, count)
    return updates
