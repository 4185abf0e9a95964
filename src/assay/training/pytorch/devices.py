"""The device on which this process computes programs: one, the run's, as its profile says.

A program names no device. State, batch and constants lie on the run's device and every operator runs there; a draw is
computed by its specification in the processor's memory and copied there; an initialiser is computed on the CPU.

Source: `docs/explanation/devices.md`; `spec/plan.md`, PLN-18.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch

from assay.errors import CaptureRefused

CPU = torch.device("cpu")

_device: torch.device = CPU


class DeviceRefused(CaptureRefused):
    """A run cannot be recorded on the device, or not in the way that the script uses it."""

    code: ClassVar[str] = "capture.device"


def get_device() -> torch.device:
    """Return the device on which programs are computed now."""
    return _device


def set_device(device: torch.device) -> None:
    """Compute programs on `device` from now on; `profile.apply_profile` calls this."""
    global _device  # noqa: PLW0603 - it is a setting of the process, as the number of threads is
    _device = CPU if device.type == CPU.type else device


@contextmanager
def use_device(device: torch.device) -> Iterator[None]:
    """Compute programs on `device` inside the block."""
    before = _device
    set_device(device)
    try:
        yield
    finally:
        set_device(before)


def find_present(kind: str) -> torch.device | None:
    """Return the present device of a kind, such as `cuda`, on this machine; None if there is none."""
    if kind == CPU.type:
        return CPU
    try:
        module = torch.get_device_module(kind)
        return torch.device(kind, module.current_device()) if module.is_available() else None
    except (RuntimeError, AssertionError):  # a kind that this PyTorch does not know, or was not built for
        return None


def find_device(named: Iterable[tuple[str, torch.Tensor]]) -> torch.device:
    """Return the one device on which tensors lie; the CPU if there are none.

    Args:
        named: name and tensor.

    Raises:
        DeviceRefused: they lie on several devices.
    """
    found: dict[torch.device, str] = {}
    for name, tensor in named:
        found.setdefault(tensor.device, name)
    if len(found) > 1:
        raise DeviceRefused(
            "the models lie on several devices",
            expected="every parameter and buffer on one device",
            actual=", ".join(f"{name} on {device}" for device, name in found.items()),
            next_step="move all models to one device with .to(device) before the first batch",
        )
    return next(iter(found), CPU)


def await_work() -> None:
    """Wait until what CUDA was asked to do is done, so that the time which it took can be read from a clock."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def fetch(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in the processor's memory: itself, or a copy of one on another device."""
    return tensor if tensor.is_cpu else tensor.cpu()


def place(tensors: Sequence[torch.Tensor], device: torch.device | None = None) -> Sequence[torch.Tensor]:
    """Return tensors on a device; those that lie there already are returned themselves.

    Args:
        tensors: on any devices.
        device: None: that on which programs are computed.
    """
    target = _device if device is None else device
    is_there = all(tensor.is_cpu for tensor in tensors) if target is CPU else False
    if is_there or all(tensor.device == target for tensor in tensors):
        return tensors
    return [tensor.to(target) for tensor in tensors]
