"""The start of a run as a program: constructors under a tape whose random operators are counter-based draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from assay.errors import CaptureRefused, UsageError
from assay.protocol.evidence import program as ir
from assay.protocol.evidence.randomness import INIT, derive_key
from assay.training.pytorch import devices, functional, layout
from assay.training.pytorch.capture import make_constant_record
from assay.training.pytorch.home import get_bytes
from assay.training.pytorch.interpreter import interpret
from assay.training.pytorch.lower import lower_graph
from assay.training.pytorch.tape import Recorder, get_geometry


class StartNotReproduced(CaptureRefused):
    """The models are not what their recorded constructors make."""

    code: ClassVar[str] = "init.not-reproduced"


class InitialiserTape:
    """Records what happens inside `with run.init():`.

    Args:
        seed: 32 bytes.
    """

    def __init__(self, seed: bytes) -> None:
        self.key = derive_key(seed, INIT, 0)
        self.recorder = Recorder(self.key, [], may_read=True)
        self.is_used = False

    def __enter__(self) -> None:
        if self.is_used:
            raise UsageError(
                "run.init() was entered twice", next_step="make all models in one `with run.init():` block"
            )
        self.is_used = True
        self.recorder.__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *details: object) -> None:
        self.recorder.__exit__(*details)  # type: ignore[no-untyped-call]

    def build(self, models: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer] = ()) -> ir.Program:
        """Return the program whose state outputs are the tensors of models and optimizers, as they are now.

        Optimizers may be made outside the block: a slot that is there before the first step, as Adagrad's, is filled
        with one number.

        Raises:
            CaptureRefused: a tensor of a model was not made inside the block, or one was changed after it.
        """
        entries, _ = layout.list_model_tensors(models)
        slots = layout.list_slots(optimizers, entries)
        filled = self._fill_like(slots)
        tape = self.recorder.tape
        calls = functional.select_calls(tape, set())
        made = {reference.geometry for call in calls for reference in functional.iterate_references(call.outputs)}
        geometries = [get_geometry(entry.tensor) for entry in entries]
        foreign = list(tape.foreign.items())
        known = made | {geometry for geometry, _ in foreign}
        for entry, geometry in zip(entries, geometries, strict=True):
            if geometry not in known:
                raise CaptureRefused(
                    f"{entry.name} was not made inside `with run.init():`",
                    next_step="construct every model inside the block, and move it there with .to(device), or leave "
                    "the block out: then the start is declared",
                )
        entries += slots
        geometries += [get_geometry(tensor) for tensor in filled]
        values = devices.place([value for _, value in foreign], devices.CPU)
        graph = functional.build_graph(
            calls, [geometry for geometry, _ in foreign], values, geometries, device=devices.CPU
        )
        program = lower_graph(
            graph,
            kind=ir.INITIALISER,
            state=[],
            batch=[],
            constants=[make_constant_record(value) for _, value in foreign],
            scalars={},
            row_length=0,
            state_outputs=[entry.key for entry in entries],
        )
        self._check(program, entries)
        return program

    def _fill_like(self, slots: Sequence[layout.Entry]) -> list[torch.Tensor]:
        """Write down how tensors like the slots are made; whether they have the slots' bits is checked in the end."""
        first = [entry.tensor.reshape(-1)[0].item() if entry.tensor.numel() else 0 for entry in slots]
        with self.recorder:
            return [
                torch.full(entry.tensor.shape, value, dtype=entry.tensor.dtype)
                for entry, value in zip(slots, first, strict=True)
            ]

    def _check(self, program: ir.Program, entries: Sequence[layout.Entry]) -> None:
        made = run_initialiser(program, self.key)
        for entry in entries:
            tensor = made.get(entry.key)
            if tensor is None or get_bytes(tensor).tobytes() != get_bytes(entry.tensor.contiguous()).tobytes():
                raise StartNotReproduced(
                    f"{entry.name} is not what the recorded constructors make: it was changed after `with run.init():`"
                    + ("" if entry.tensor.is_cpu else ", or computed on a device that gives other bits than the CPU"),
                    next_step="make the change inside the block, models on the CPU before .to(device), or leave the "
                    "block out: the start is then declared",
                )


def run_initialiser(program: ir.Program, key: tuple[int, int]) -> dict[tuple[int, str], torch.Tensor]:
    """Return the tensors that an initialiser makes, by namespace and name; it is computed on the CPU (PLN-18)."""
    changed, _ = interpret(program, [], [], [], key, device=devices.CPU)
    keys = [(output.namespace, output.name) for output in program.state_outputs]
    return dict(zip(keys, changed, strict=True))
