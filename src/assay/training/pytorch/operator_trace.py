"""The operator trace of one step: what every operator gave, as digests; one value's bytes on demand.

It runs like the naive interpreter, one operator after the other, and is the way from "the same step gave other bits" to
the first operator that did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from assay.protocol.evidence import program as ir
from assay.protocol.hashing import compute_bulk_digest
from assay.training.arrays import Array
from assay.training.pytorch import devices, draws
from assay.training.pytorch.home import get_bytes
from assay.training.pytorch.interpreter import check_inputs, make_constant, run_node
from assay.training.pytorch.lower import get_type


@dataclass(frozen=True)
class TracedValue:
    """One output of one operator: BLAKE3 of its raw little-endian contiguous bytes."""

    node: int
    output: int
    dtype: str
    shape: tuple[int, ...]
    digest: bytes


@dataclass
class StepTrace:
    """What `trace_step` found.

    Attributes:
        values: in the order of the program; an output that is no tensor is left out.
        kept: the bytes of the value that was asked for, or None.
    """

    values: list[TracedValue] = field(default_factory=list)
    kept: bytes | None = None


def trace_step(
    program: ir.Program,
    tensors: Mapping[tuple[int, str], torch.Tensor],
    arrays: Sequence[Array],
    row: Sequence[float],
    key: tuple[int, int],
    *,
    keep: tuple[int, int] | None = None,
) -> StepTrace:
    """Carry out a program and hash every value; inputs are not changed.

    Args:
        program: any kind.
        tensors: the state by (namespace, name), contiguous.
        arrays: one per `program.batch`, contiguous.
        row: the scalars.
        key: Philox key of the step.
        keep: node and output whose bytes are kept; the trace then ends there.

    Raises:
        OperatorNotAllowed, TypeMismatch: the program is not what it claims to be.
    """
    state = [tensors[entry.namespace, entry.name] for entry in program.state]
    batch = devices.place([torch.from_numpy(array) for array in arrays])
    check_inputs(program, state, batch)
    values: list[Any] = [*state, *batch, *(make_constant(constant) for constant in program.constants)]
    trace = StepTrace()
    with torch.inference_mode(), draws.use_key(key):
        for number, node in enumerate(program.nodes):
            outputs = run_node(node, values, row, devices.get_device())
            values.extend(outputs)
            for place, output in enumerate(outputs):
                if not isinstance(output, torch.Tensor):
                    continue
                data = get_bytes(output.contiguous())
                kind = get_type(output)
                trace.values.append(TracedValue(number, place, kind.dtype, kind.shape, compute_bulk_digest(data.data)))
                if keep == (number, place):
                    trace.kept = data.tobytes()
                    return trace
    return trace
