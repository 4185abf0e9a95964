"""The process that replays single steps for `assay diff`: one for each side, under that side's own profile.

Usage: `python -m assay.verification.trace_process RUN MEMORY_BYTES`. It reads requests and writes replies, one JSON
object a line each way, and ends with its parent. Nothing that it says is evidence.
"""

from __future__ import annotations

import base64
import os
import sys
from typing import TextIO

import msgspec
import numpy as np

from assay.errors import AssayError
from assay.protocol.decoders import get_json_decoder
from assay.protocol.evidence.plan import InitialisedStart
from assay.protocol.evidence.randomness import STEP, derive_key
from assay.training.pytorch.backend import TorchBackend
from assay.training.pytorch.operator_trace import trace_step
from assay.training.pytorch.profile import apply_profile, tune_allocator
from assay.training.recorded import RecordedRun
from assay.training.replay import Replayer
from assay.verification.memory_bound import limit_memory
from assay.verification.tracing import MAX_VALUE_BYTES, Reply, Request, Traced, Walked
from assay.verification.worker import end_with_parent


class Tracer:
    """Replays steps of one run from its stored states."""

    def __init__(self, path: str) -> None:
        self.run = RecordedRun(path)
        apply_profile(self.run.profile)
        tune_allocator()
        self.backend = TorchBackend(self.run.start.aliases)
        self.replayer = Replayer(self.run, self.backend)

    def list_bases(self) -> list[int]:
        """Return the steps whose state is stored or can be made."""
        stored = self.run.directory.checkpoints.list_steps()
        made = [0] if isinstance(self.run.plan.start, InitialisedStart) else []
        return sorted({*made, *stored})

    def walk(self, base: int, last: int) -> list[Walked]:
        """Carry out the steps after `base` up to `last`, and say what came out."""
        self.replayer.load(base)
        found = []
        for step in range(base + 1, last + 1):
            row = self.run.rows[step - 1]
            own = self.replayer.carry_out(row, row.leaf.previous)
            root = self.backend.compute_roots().state_root
            found.append(Walked(step, root.hex(), own.loss.hex(), own == row.leaf))
        return found

    def trace(self, base: int, step: int, keep: tuple[int, int] | None) -> Reply:
        """Trace one step, begun at the stored state `base`."""
        if step - 1 > base:
            self.walk(base, step - 1)
        else:
            self.replayer.load(base)
        row = self.run.rows[step - 1]
        self.replayer.apply_events(step)
        program = self.run.read_program(row.leaf.program)
        batch = self.replayer.feed.get_batch(step).arrays
        scalars = np.frombuffer(row.scalars, "<f8").tolist()
        trace = trace_step(
            program, self.backend.tensors, batch, scalars, derive_key(self.run.plan.seed, STEP, step), keep=keep
        )
        if keep is None:
            return Reply(
                values=[Traced(v.node, v.output, v.dtype, list(v.shape), v.digest.hex()) for v in trace.values]
            )
        kept = trace.kept or b""
        return Reply(data=base64.b64encode(kept).decode() if len(kept) <= MAX_VALUE_BYTES else "")

    def answer(self, request: Request) -> Reply:
        """Return the reply to a request; what fails is a reply too."""
        try:
            if request.do == "walk":
                return Reply(walked=self.walk(request.base, request.step))
            keep = (request.node, request.output) if request.do == "value" else None
            return self.trace(request.base, request.step, keep)
        except AssayError as error:
            return Reply(problem=str(error)[:2000])
        except (MemoryError, RuntimeError, KeyError) as error:
            return Reply(problem=f"{type(error).__name__}: {str(error)[:500]}")


def serve(path: str, requests: TextIO, replies: TextIO) -> None:
    """Answer requests until the input ends."""

    def put(reply: Reply) -> None:
        replies.write(msgspec.json.encode(reply).decode() + "\n")
        replies.flush()

    try:
        tracer = Tracer(path)
    except (AssayError, MemoryError, RuntimeError) as error:
        put(Reply(problem=str(error)[:2000]))
        return
    put(Reply(bases=tracer.list_bases()))
    for line in requests:
        put(tracer.answer(get_json_decoder(Request).decode(line)))


if __name__ == "__main__":
    end_with_parent()
    np.seterr(all="ignore")
    limit_memory(int(sys.argv[2]))
    # What torch or a library prints must not mix with the replies.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.argv[1], sys.stdin, channel)
