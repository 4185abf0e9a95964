"""Known answers: what a program gives on inputs that everybody can make. A machine that gets others must abstain.

Inputs: floats are uniform draws in [0.0625, 1), integers and booleans are zero, every scalar is 0.015625; the key is
(program id as two u64). The answer is the digest of all outputs, in order.

Source: `spec/program.md`.
"""

from __future__ import annotations

import numpy as np
import torch

from assay.protocol import tags
from assay.protocol.evidence import program as ir
from assay.protocol.hashing import ZERO, compute_bulk_digest, compute_digest
from assay.training import randomness
from assay.training.pytorch.home import get_bytes
from assay.training.pytorch.interpreter import interpret
from assay.training.pytorch.lower import DTYPES


def compute_known_answer(program: ir.Program) -> bytes:
    """Return the digest of the program's outputs on the known inputs, 32 bytes.

    The zero digest is returned for an initialiser: it has no inputs, so that its result is its own known answer.
    """
    if program.kind == ir.INITIALISER:
        return ZERO
    identity = ir.compute_program_id(program)
    key = (int.from_bytes(identity[:8], "little"), int.from_bytes(identity[8:16], "little"))
    state = [_make_input(entry.type, key, index) for index, entry in enumerate(program.state)]
    batch = [_make_input(entry, key, len(state) + index) for index, entry in enumerate(program.batch)]
    changed, results = interpret(program, state, batch, [0.015625] * program.scalars, key)
    outputs = [tensor.contiguous() for tensor in [*changed, *results]]
    digests = b"".join(compute_bulk_digest(get_bytes(tensor).tobytes()) for tensor in outputs)
    return compute_digest(tags.KNOWN_ANSWER, identity + digests)


def _make_input(kind: ir.TensorType, key: tuple[int, int], ordinal: int) -> torch.Tensor:
    dtype = DTYPES[kind.dtype]
    if not dtype.is_floating_point:
        return torch.zeros(kind.shape, dtype=dtype)
    count = int(np.prod(kind.shape, dtype=np.int64))
    drawn = randomness.draw_uniform(key, ordinal, count, 0.0625, 1.0, np.float32)
    return torch.from_numpy(drawn).reshape(kind.shape).to(dtype)
