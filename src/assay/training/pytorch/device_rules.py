"""Everything that a step computes is computed on the device of the run: the rest of a tape may only move data there.

A program names no device. So what a step computed in the processor's memory, in a run on another device, would be
computed on that device by the program and could have other bits. Refused is everything but what has the same bits
wherever it runs: memory filled with given numbers, draws by their specification, views, copies, moves, and conversions
that have one right result.

Source: `docs/explanation/devices.md`; `spec/plan.md`, PLN-18.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import torch

from assay.training.pytorch.devices import DeviceRefused
from assay.training.pytorch.tape import Call, Geometry, Tape, TensorRef, map_structure

aten = torch.ops.aten

_FILLS: Final = frozenset({
    "zeros", "ones", "full", "empty", "empty_strided", "zeros_like", "ones_like", "full_like", "empty_like",
    "new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided", "scalar_tensor", "fill", "zero",
})  # fmt: skip
_COPIES: Final = frozenset({
    "clone", "copy", "detach", "alias", "lift_fresh", "lift_fresh_copy", "_reshape_alias", "_unsafe_view", "cat",
    "stack",
})  # fmt: skip
_SELECTING: Final = frozenset({aten.where.self, aten.masked_fill.Tensor, aten.masked_fill_.Tensor})
"""They pass a value on as it is, so that it may come from the processor's memory."""

_CURES: Final = {
    "cudnn_batch_norm": "set torch.backends.cudnn.enabled = False before assay.start: batch norm then has an operator "
    "that is in the list",
    "_cudnn_rnn": "recurrent layers are recorded on the CPU alone",
    "_thnn_fused_lstm_cell": "recurrent layers are recorded on the CPU alone",
    "_thnn_fused_gru_cell": "recurrent layers are recorded on the CPU alone",
}
"""By the name of an operator that only another device than the CPU has: what to do."""


def get_cure(operator: str) -> str | None:
    """Return the cure for an operator that is not in the closed list, None if there is none of its own."""
    return _CURES.get(operator)


def verify_devices(tape: Tape, calls: Sequence[Call], device: torch.device) -> None:
    """Check that the calls of a program computed on the device of the run.

    Args:
        tape: on which they stand.
        calls: those that become the program.
        device: of the run.

    Raises:
        DeviceRefused: naming the first call that computed elsewhere, with the user's line.
    """
    elsewhere = {
        geometry: tensor
        for geometry, tensor in tape.tensors.items()
        if tensor.device != device and tensor.device.type != "meta"
    }
    for call in calls if elsewhere else ():
        strangers = [elsewhere[one] for one in _iterate_geometries(call) if one in elsewhere]
        if strangers and not _is_exact(call, tape, device):
            found = ", ".join(sorted({str(tensor.device) for tensor in strangers}))
            raise DeviceRefused(
                f"{call.location}: the step computes on {found}, and the run is on {device} ({call.operator})",
                expected=f"everything computed on {device}, where the models are",
                next_step="move the batch with .to(device) before anything is computed from it, and make tensors in "
                "the step with device=...",
            )


def _iterate_geometries(call: Call) -> Iterator[Geometry]:
    found: list[Geometry] = []

    def visit(value: object) -> object:
        if isinstance(value, TensorRef):
            found.append(value.geometry)
        return value

    map_structure([*call.args, *call.kwargs.values(), call.outputs], visit)
    yield from found


def _is_exact(call: Call, tape: Tape, device: torch.device) -> bool:
    """True for a call that gives the same bits on every device."""
    name = call.operator._opname.rstrip("_")
    if call.operator.namespace == "prim":
        return True  # asks where a tensor lies, not what is in it
    if call.operator.namespace == "assay" and name in ("bernoulli", "uniform", "normal", "integers", "permutation"):
        return True
    if call.operator in _SELECTING:
        tensors = [tape.tensors[one] for one in _iterate_geometries(call)]
        return all(tensor.device == device or tensor.dim() == 0 for tensor in tensors)
    if name in ("_to_copy", "copy"):
        kinds = {tape.tensors[one].dtype for one in _iterate_geometries(call)}
        return len(kinds) == 1 or _is_widening(call, tape)
    if name in _COPIES | _FILLS:
        return True
    return any(
        result.alias_info is not None and not result.alias_info.is_write for result in call.operator._schema.returns
    )


def _is_widening(call: Call, tape: Tape) -> bool:
    """True for a conversion to a type that holds every value, or integers to the nearest real: one right result."""
    kinds = [tape.tensors[one].dtype for one in _iterate_geometries(call)]
    target, source = (kinds[0], kinds[1]) if call.operator is aten.copy_.default else (kinds[-1], kinds[0])
    return torch.promote_types(source, target) == target
