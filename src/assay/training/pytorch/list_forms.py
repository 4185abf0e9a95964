"""Whether an operator over lists has the bits of one call for each tensor: known on the CPU, tried elsewhere.

A program updates each parameter by its own operator. On the CPU the list forms loop over the kernels of single tensors.
On other devices they are kernels of their own, whose sums of products may be rounded otherwise. There the list form is
run once beside, on copies, whenever a step is recorded, and a bit that differs is refused: the run would not be the
training that the script does without Assay.

Source: `docs/explanation/devices.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from assay.training.pytorch.devices import DeviceRefused, fetch


class Beside(NamedTuple):
    """What a call over lists did on copies.

    Attributes:
        arguments: its arguments as the call left them.
        results: what it returned.
    """

    arguments: list[Any]
    results: Any


def run_beside(operator: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Beside | None:
    """Run a call over lists on copies, if its tensors lie on another device than the CPU; None on the CPU.

    Args:
        operator: of the call.
        args: of the call; lists of tensors among them.
        kwargs: of the call.
    """
    first = next((value[0] for value in args if _is_list(value)), None)
    if first is None or first.is_cpu:
        return None
    copies = [[tensor.clone() for tensor in value] if _is_list(value) else value for value in args]
    return Beside(copies, operator(*copies, **kwargs))


def require_same_bits(operator: Any, beside: Beside | None, args: Sequence[Any], results: Any) -> None:
    """Compare what calls for each tensor did with what the call over lists did.

    Args:
        operator: of the call over lists.
        beside: what that did; None: nothing is compared.
        args: of the call, as the calls for each tensor left them.
        results: what they returned.

    Raises:
        DeviceRefused: a bit differs.
    """
    if beside is None:
        return
    pairs = [*zip(beside.arguments, args, strict=True), (beside.results, results)]
    tensors = [pair for ours, theirs in pairs if _is_list(ours) for pair in zip(ours, theirs, strict=True)]
    if any(_get_raw(one) != _get_raw(other) for one, other in tensors):
        raise DeviceRefused(
            f"on this device {operator} gives other bits than one call for each tensor, of which a program is made",
            next_step="pass foreach=False to the optimizer, and leave fused out",
        )


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(item, torch.Tensor) for item in value)


def _get_raw(tensor: torch.Tensor) -> bytes:
    return bytes(fetch(tensor.detach().contiguous()).reshape(-1).view(torch.uint8).numpy())
