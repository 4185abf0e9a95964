"""Guards: what a recorded step read of Python, checked at every call.

After capture a graph runs in place of the user's body. Whatever the body reads of Python must therefore be as it was:
globals, closures, attributes, module flags, hooks, groups of optimizers, global modes of torch. Rates and the values of
the state are no guards: they are inputs of the graph.

Differs: attributes of foreign classes (torch, numpy, the standard library) are not watched, nor is the inside of
containers beyond `reachable.MAX_ITEMS` elements or `reachable.MAX_DEPTH` levels. `Guards.notes` lists what was left
out.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import chain
from operator import attrgetter, call, is_
from types import CodeType
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as _module
from torch.optim import optimizer as _optimizer

from assay.protocol.evidence.program import MAX_CONSTANT_BYTES
from assay.training.pytorch import code_reading
from assay.training.pytorch.device_profile import get_flags
from assay.training.pytorch.devices import CPU, fetch, get_device
from assay.training.pytorch.reachable import Walk
from assay.training.pytorch.reached import Reachable
from assay.training.pytorch.scopes import MISSING, describe_changes, is_same_value, show

_SMALLEST = 5e-324
_ONE = 1.0
_GLOBAL_HOOKS = tuple(name for name in vars(_module) if name.startswith("_global_") and name.endswith("_hooks"))
_OPTIMIZER_HOOKS = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")
_get_flags = attrgetter("requires_grad", "_backward_hooks", "_post_accumulate_grad_hooks")
_get_version = attrgetter("_version")


def _is_small(tensor: torch.Tensor) -> bool:
    """True if a tensor may be a constant of a program, so that its bytes are compared: `.data` leaves no version."""
    is_plain = tensor.device.type != "meta" and tensor.layout == torch.strided
    return is_plain and tensor.numel() * tensor.element_size() <= MAX_CONSTANT_BYTES


def _get_bytes(tensor: torch.Tensor) -> bytes:
    return bytes(fetch(tensor.detach().contiguous()).reshape(-1).view(torch.uint8).numpy())


MODES: tuple[tuple[str, Callable[[], Any]], ...] = (
    ("gradient mode", torch.is_grad_enabled),
    ("inference mode", torch.is_inference_mode_enabled),
    ("default dtype", torch.get_default_dtype),
    ("autocast on the CPU", lambda: torch.is_autocast_enabled("cpu")),
    ("autocast dtype on the CPU", lambda: torch.get_autocast_dtype("cpu")),
    ("deterministic algorithms", torch.are_deterministic_algorithms_enabled),
    ("threads", torch.get_num_threads),
    ("mkldnn", torch._C._get_mkldnn_enabled),
    ("anomaly mode", torch.is_anomaly_enabled),
    ("float32 matmul precision", torch.get_float32_matmul_precision),
    ("flash attention", torch._C._get_flash_sdp_enabled),
    ("efficient attention", torch._C._get_mem_efficient_sdp_enabled),
    ("math attention", torch._C._get_math_sdp_enabled),
    ("flushing of subnormal numbers", lambda: _SMALLEST * _ONE == 0.0),
    ("active torch function modes", torch._C._len_torch_function_stack),
    ("active torch dispatch modes", torch._C._len_torch_dispatch_stack),
)
"""Name and reader of each global mode."""

DEVICE_MODES: tuple[tuple[str, Callable[[], Any]], ...] = (
    ("autocast on the device", lambda: torch.is_autocast_enabled(get_device().type)),
    ("autocast dtype on the device", lambda: torch.get_autocast_dtype(get_device().type)),
    ("deterministic algorithms, warnings alone", torch.is_deterministic_algorithms_warn_only_enabled),
    ("flags of the device's libraries", lambda: str(get_flags())),
)
"""What is watched besides where programs are not computed on the CPU."""


class Guards:
    """What a step reads of Python, and how it was.

    Attributes:
        found: what is watched.
        modes: the values of `MODES` that are expected.
        notes: what is not watched, and what happens only while a step is recorded; one sentence each.
    """

    def __init__(self, found: Reachable) -> None:
        self.found = found
        self.notes = list(dict.fromkeys(found.notes))
        self._readers = [scope.read for scope in found.scopes]
        self._empty = [container for _, container in found.empty]
        self._parameters = [parameter for _, parameter in found.parameters]
        self._tensors = [tensor for _, tensor in found.tensors]
        self._small = [tensor for tensor in self._tensors if _is_small(tensor)]
        self._watched = MODES if get_device() == CPU else (*MODES, *DEVICE_MODES)
        self._mode_readers = [reader for _, reader in self._watched]
        self.refresh()

    def refresh(self) -> None:
        """Take everything as it is now as what is expected."""
        for scope in self.found.scopes:
            scope.refresh()
        self._expected = self._read()
        self._flags = list(map(_get_flags, self._parameters))
        self._versions = list(map(_get_version, self._tensors))
        self._bytes = list(map(_get_bytes, self._small))
        self._arrays = [array.tobytes() for _, array in self.found.arrays]
        self.modes = list(map(call, self._mode_readers))

    def _read(self) -> list[Any]:
        return list(chain.from_iterable(map(call, self._readers)))

    def holds(self) -> bool:
        """True if nothing that the step reads has changed since the guards were collected or refreshed."""
        try:
            values = self._read()
        except (KeyError, AttributeError, ValueError, RuntimeError):  # a name, attribute or cell is gone
            return False
        if len(values) != len(self._expected):
            return False
        if not all(map(is_, values, self._expected)):
            if not all(map(is_same_value, values, self._expected)):
                return False
            self._expected = values  # equal objects: the next call is fast again
        return (
            not any(self._empty)
            and list(map(call, self._mode_readers)) == self.modes
            and list(map(_get_flags, self._parameters)) == self._flags
            and list(map(_get_version, self._tensors)) == self._versions
            and list(map(_get_bytes, self._small)) == self._bytes
            and all(space.keys().isdisjoint(names) for space, names, _ in self.found.absent)
            and [array.tobytes() for _, array in self.found.arrays] == self._arrays
        )

    def describe_change(self) -> list[str]:
        """Return one line for each thing that has changed: name, old value, new value. Empty if nothing has."""
        lines = [line for scope in self.found.scopes for line in scope.describe_change()]
        for label, container in self.found.empty:
            if container:
                first = ", ".join(map(str, list(container)[:5]))
                lines.append(f"{label.replace('{}', '...')}: was empty, has {len(container)} elements ({first})")
        modes = [(name, reader()) for name, reader in self._watched]
        before = [(name, old) for (name, _), old in zip(self._watched, self.modes, strict=True)]
        lines += describe_changes("{}", before, modes)
        for (label, parameter), flags in zip(self.found.parameters, self._flags, strict=True):
            for what, old, new in zip(("requires_grad", "hooks", "hooks"), flags, _get_flags(parameter), strict=True):
                if old is not new and old != new:
                    lines.append(f"{what} of {label}: {show(old)} -> {show(new)}")
        changed = [id(t) for t, data in zip(self._small, self._bytes, strict=True) if _get_bytes(t) != data]
        for (label, tensor), version in zip(self.found.tensors, self._versions, strict=True):
            if tensor._version != version or id(tensor) in changed:
                lines.append(f"{label}: a tensor outside the models was written (make it a buffer, or pass its module)")
        for space, names, label in self.found.absent:
            lines += [
                f"{label.replace('{}', name)}: {show(MISSING)} -> {show(space[name])}"
                for name in sorted(names)
                if name in space
            ]
        for (label, array), data in zip(self.found.arrays, self._arrays, strict=True):
            if array.tobytes() != data:
                lines.append(f"{label}: the numpy array was written")
        return list(dict.fromkeys(lines))

    def find_line(self, change: str) -> str:
        """Return `file:line` of what the step most likely does with something that has changed.

        Args:
            change: a line of `describe_change`.
        """
        names = re.findall(r"[^\W\d]\w*", change.partition(": ")[0].partition(" (")[0])
        return code_reading.find_line(self.found.code, names[::-1]) or "<step>:0"


def collect_guards(
    function: Callable[..., Any],
    models: Iterable[nn.Module],
    optimizers: Iterable[torch.optim.Optimizer],
    executed: frozenset[CodeType] | None = None,
) -> Guards:
    """Walk over what a step can reach and return guards over it.

    Args:
        function: the step's body.
        models: every module whose tensors are part of the state.
        optimizers: every optimizer that the step uses.
        executed: see `reachable.Walk`.

    Raises:
        StepRefused: the step can reach what no graph can repeat: generators of random numbers, clocks, iterators,
            compiled or parallel modules, gradient scalers, LBFGS. The message has file, line and cure.
    """
    models, optimizers = list(models), list(optimizers)
    roots: list[tuple[str, Any]] = [(getattr(function, "__name__", "step"), function)]
    roots += [("model" if len(models) == 1 else f"model {index}", model) for index, model in enumerate(models)]
    roots += [("optimizer" if len(optimizers) == 1 else f"optimizer {i}", opt) for i, opt in enumerate(optimizers)]
    found = Walk(models, optimizers, executed).run(roots)
    hooks = [(name, getattr(_module, name)) for name in _GLOBAL_HOOKS]
    hooks += [(name, getattr(_optimizer, name)) for name in _OPTIMIZER_HOOKS]
    found.empty += [(f"torch's {name}", container) for name, container in hooks if not container]
    return Guards(found)
