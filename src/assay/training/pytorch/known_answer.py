"""Known answers: what a program gives on inputs that everybody can make. A machine that gets others must abstain.

Source: `spec/program.md`, PRG-23.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import torch

from assay.errors import AssayError
from assay.protocol import tags
from assay.protocol.evidence import program as ir
from assay.protocol.hashing import ZERO, compute_bulk_digest, compute_digest
from assay.training import randomness
from assay.training.pytorch import devices
from assay.training.pytorch.home import get_bytes
from assay.training.pytorch.interpreter import interpret
from assay.training.pytorch.lower import DTYPES

SCALES = (1.0, 2.0**-6, 2.0**-12)
"""Factors of the made inputs: one after the other, until no operator refuses what it is given."""


class _Refused(Exception):
    """An operator refused the made inputs, as a loss does that takes probabilities and is given something else."""


def compute_known_answer(program: ir.Program) -> bytes:
    """Return the digest of the program's outputs on the known inputs, 32 bytes (PRG-23).

    The zero digest is returned for an initialiser: it has no inputs, so that its result is its own known answer.
    """
    if program.kind == ir.INITIALISER:
        return ZERO
    identity = ir.compute_program_id(program)
    key = (int.from_bytes(identity[:8], "little"), int.from_bytes(identity[8:16], "little"))
    for scale in SCALES:
        with suppress(_Refused):
            outputs = _compute_outputs(program, key, scale)
            digests = b"".join(compute_bulk_digest(get_bytes(tensor).tobytes()) for tensor in outputs)
            return compute_digest(tags.KNOWN_ANSWER, identity + digests)
    return compute_digest(tags.KNOWN_ANSWER, identity)


def _compute_outputs(program: ir.Program, key: tuple[int, int], scale: float) -> list[torch.Tensor]:
    kinds = [*(entry.type for entry in program.state), *program.batch]
    inputs = devices.place([_make_input(kind, key, index, scale) for index, kind in enumerate(kinds)])
    state, batch = inputs[: len(program.state)], inputs[len(program.state) :]
    try:
        changed, results = interpret(program, state, batch, [0.015625] * program.scalars, key)
    except (AssayError, MemoryError):
        raise
    except (RuntimeError, IndexError, ValueError) as error:
        if "allocate memory" in str(error) or "out of memory" in str(error):  # the second on CUDA
            raise
        raise _Refused from error
    return [tensor.contiguous() for tensor in [*changed, *results]]


def _make_input(kind: ir.TensorType, key: tuple[int, int], ordinal: int, scale: float) -> torch.Tensor:
    dtype = DTYPES[kind.dtype]
    if not dtype.is_floating_point:
        return torch.zeros(kind.shape, dtype=dtype)
    count = int(np.prod(kind.shape, dtype=np.int64))
    drawn = randomness.draw_uniform(key, ordinal, count, 0.0625, 1.0, np.float32)
    return torch.from_numpy(drawn * np.float32(scale)).reshape(kind.shape).to(dtype)
