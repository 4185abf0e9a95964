"""`AveragedModel` in a recorded step: its update without a branch on how many models it has averaged.

PyTorch's `update_parameters` copies the model the first time and averages later, and looks into the buffer `n_averaged`
to know which. While a step is recorded the average is always computed, as PyTorch does it later, and `torch.where` puts
the copy in its place the first time: the same bits, and one program for all steps. That is the same only if averaging
does nothing else, so a function that writes to other memory than the average is refused. A class that overrides the
method, and a method that somebody put in the place of PyTorch's, are recorded as they are.

Source: `torch.optim.swa_utils`, whose results these are; `docs/explanation/recording.md`.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import swa_utils
from torch.optim.swa_utils import AveragedModel
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from assay.errors import CaptureRefused
from assay.training.pytorch.tape import get_user_location

_PLAIN = swa_utils.get_swa_multi_avg_fn()
_Average = Callable[..., Any]


@contextmanager
def adapt_averages() -> Iterator[None]:
    """Replace PyTorch's own `AveragedModel.update_parameters` by what can be recorded."""
    own = AveragedModel.update_parameters
    if not _is_of_pytorch(own):
        yield
        return
    AveragedModel.update_parameters = _update_parameters  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        AveragedModel.update_parameters = own  # type: ignore[method-assign]


def _is_of_pytorch(method: Any) -> bool:
    code = getattr(method, "__code__", None)
    return code is not None and code.co_filename == swa_utils.__file__


@torch.no_grad()
def _update_parameters(averaged: Any, model: nn.Module) -> None:
    """Do what `averaged.update_parameters(model)` does."""
    pairs = zip(_list_averaged(averaged, averaged.module), _list_averaged(averaged, model), strict=False)
    targets, sources = [], []
    for target, source in pairs:
        targets.append(target.detach())
        sources.append(source.detach().to(target.device))
    is_first = averaged.n_averaged == 0
    _average(averaged, targets, sources)
    for target, source in zip(targets, sources, strict=True):
        target.copy_(torch.where(is_first.to(target.device), source.to(target.dtype), target))
    if not averaged.use_buffers:
        for target, source in zip(averaged.module.buffers(), model.buffers(), strict=True):
            target.detach().copy_(source.detach().to(target.device))
    averaged.n_averaged += 1


def _list_averaged(averaged: Any, model: nn.Module) -> Iterable[torch.Tensor]:
    return itertools.chain(model.parameters(), model.buffers()) if averaged.use_buffers else model.parameters()


def _average(averaged: Any, targets: Sequence[torch.Tensor], sources: Sequence[torch.Tensor]) -> None:
    """Average the sources into the targets, as for every model but the first."""
    if averaged.multi_avg_fn is None:
        function = averaged.avg_fn or swa_utils.get_swa_avg_fn()
        for target, source in zip(targets, sources, strict=True):
            count = averaged.n_averaged.to(target.device)
            with _WritesOnly([target]):
                result = function(target, source, count)
            target.copy_(result)
        return
    kinds = [(target.device, target.dtype) for target in targets]
    for kind in dict.fromkeys(kinds):
        chosen = [place for place, other in enumerate(kinds) if other == kind]
        own, other = [targets[place] for place in chosen], [sources[place] for place in chosen]
        count = averaged.n_averaged.to(kind[0])
        if _is_plain(averaged.multi_avg_fn) and kind[1].is_floating_point:
            _average_plainly(own, other, count)
        else:
            with _WritesOnly(own):
                averaged.multi_avg_fn(own, other, count)


def _is_plain(function: _Average) -> bool:
    """Return whether this is what `get_swa_multi_avg_fn` returns, and nothing around it."""
    inner, plain = getattr(function, "__wrapped__", None), inspect.unwrap(_PLAIN)
    codes = [getattr(one, "__code__", None) for one in (function, inner)]
    return codes == [_PLAIN.__code__, plain.__code__] and not hasattr(inner, "__wrapped__")


def _average_plainly(own: Sequence[torch.Tensor], other: Sequence[torch.Tensor], count: torch.Tensor) -> None:
    """Do what PyTorch's function does, which reads 1 / (n + 1) as a number: here it stays a tensor."""
    for target, source in zip(own, other, strict=True):
        wide = target.dtype if target.dtype.itemsize >= 4 else torch.float32  # in which the number would be used
        weight = (1 / (count + 1)).to(wide)
        target.copy_(torch.lerp(target.to(wide), source.to(wide), weight))


class _WritesOnly(TorchDispatchMode):
    """Refuses, inside the block, writes to memory that existed before it, but for that of some tensors.

    Args:
        targets: what may be written to.
    """

    def __init__(self, targets: Sequence[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._own = {_get_memory(target) for target in targets}

    def __torch_dispatch__(
        self, func: torch._ops.OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for place, argument in enumerate(func._schema.arguments):
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            if argument.alias_info is not None and argument.alias_info.is_write and _list_memory(value) - self._own:
                raise CaptureRefused(
                    f"{get_user_location()}: a function of AveragedModel writes to more than the average",
                    expected="a function that computes the average and changes nothing else: PyTorch does not call it "
                    "for the first model",
                    next_step="return a new tensor from avg_fn, or make the other change in the step itself",
                )
        result = func(*args, **kwargs)
        self._own |= _list_memory(result) - _list_memory((args, kwargs))
        return result


def _get_memory(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _list_memory(value: Any) -> set[int]:
    return {_get_memory(leaf) for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)}
