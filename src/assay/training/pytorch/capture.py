"""From a step that the user wrote to a program, through the soundness gate.

1. The state is copied. 2. The body runs on the real batch, taped. 3. The state is put back and the body runs again on a
rolled batch with other draws, taped. 4. The tapes must agree in everything but values. 5. The numbers in each
optimizer's step must be those of its stand-in; they become scalars. 6. The tape is made functional and lowered. 7. The
naive interpreter runs the program on the copy, and must give the bits of the first recording.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from assay.errors import CaptureRefused
from assay.protocol.evidence import program as ir
from assay.protocol.evidence.operators import OPERATORS
from assay.training.pytorch import device_rules, devices, functional, layout
from assay.training.pytorch.adafactor import adapt_adafactor
from assay.training.pytorch.averages import adapt_averages
from assay.training.pytorch.call_numbers import verify_slots
from assay.training.pytorch.compare_tapes import collect_constants, compare_calls
from assay.training.pytorch.first_try import FirstTry
from assay.training.pytorch.guards import Guards
from assay.training.pytorch.interpreter import interpret
from assay.training.pytorch.lifting import Training, attribute_calls, lift_scalars
from assay.training.pytorch.lower import get_type, lower_graph
from assay.training.pytorch.scalars import ScalarReader
from assay.training.pytorch.snapshot import Flags, Snapshot, set_flags
from assay.training.pytorch.source_lines import match_lines
from assay.training.pytorch.tape import Call, Geometry, Recorder, Tape, get_geometry
from assay.training.pytorch.value_reads import watch_value_reads
from assay.training.pytorch.watches import watch_python_randomness, watch_side_effects

ALTERNATIVE_KEY = (0x243F6A8885A308D3, 0x13198A2E03707344)
"""Key of the second recording's draws: any two words other than the step's own key will do."""


@dataclass(frozen=True)
class Captured:
    """A step as data, and what it takes to call it in place of the user's body.

    Attributes:
        program: the step.
        results: the structure of what the body returned.
        row: the scalars of the recorded step.
        updated: for each optimizer the ids of the parameters that its step updates.
        flags: parameters that the body leaves with another `requires_grad` than it finds.
        lines: of the user's source, one for each node.
    """

    program: ir.Program
    results: pytree.TreeSpec
    row: np.ndarray
    updated: list[frozenset[int]]
    flags: Flags
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Recording:
    tape: Tape
    inputs: list[Geometry]
    outputs: list[tuple[tuple[int, str], Geometry]]
    results: list[Any]
    spec: pytree.TreeSpec
    training: Training
    counters: set[int]


class StepCapture:
    """Records one step of one set of models and optimizers.

    Args:
        body: the user's function; it takes what `arguments` returns.
        models, optimizers: everything whose tensors are the state.
    """

    def __init__(
        self,
        body: Callable[..., Any],
        models: Sequence[nn.Module],
        optimizers: Sequence[torch.optim.Optimizer],
    ) -> None:
        self.body = body
        self.models = models
        self.optimizers = list(optimizers)

    def capture(
        self,
        batch: Sequence[torch.Tensor],
        rebuild: Callable[[Sequence[torch.Tensor]], tuple[tuple[Any, ...], dict[str, Any]]],
        key: tuple[int, int],
        reader: ScalarReader,
        guards: Guards,
        tried: FirstTry | None = None,
    ) -> tuple[Captured, list[torch.Tensor]]:
        """Record the step on `batch` and carry it out.

        Args:
            batch: the tensors of the batch.
            rebuild: from such tensors to the arguments of the body.
            key: Philox key of the step.
            reader: reads the scalars as they are on entry.
            guards: what the body reads of Python; it must not change any of it.
            tried: the same step as it was run before the guards were collected; the recording must give its bits.

        Returns:
            What was captured, and the flat results of the real step; models and optimizers are left after the step.

        Raises:
            CaptureRefused: with file, line, reason and cure; models and optimizers are left as they were.
        """
        row = reader.read().copy()
        structure = reader.read_structured()
        before = Snapshot.take(self.models, self.optimizers)
        entries, _ = layout.list_state(self.models, self.optimizers)
        start = [entry.tensor.detach().clone() for entry in entries]
        try:
            with watch_python_randomness(guards.found.contexts), watch_side_effects(guards):
                first = self._record(entries, batch, rebuild, key)
                after, flags = Snapshot.take(self.models, self.optimizers), before.find_flags()
                set_flags(before.flags)  # the program's caller sets them; no side effect that would be lost
            before.restore(gradients=False)
            with watch_python_randomness(guards.found.contexts), watch_side_effects(guards):
                second = self._record(entries, roll_batch(batch), rebuild, ALTERNATIVE_KEY)
                other_flags = before.find_flags()
                set_flags(before.flags)
            before.restore()
            _require_same_flags(flags, other_flags)
            captured = self._build(entries, start, batch, first, second, structure, row, flags)
            self._check(captured, start, batch, row, key, first, after)
            if tried is not None:
                tried.require_repeated(self.models, self.optimizers, first.results)
        except BaseException:
            before.restore()
            raise
        after.restore()
        for parameter, _ in after.grads:
            parameter.grad = None
        return captured, first.results

    def run_eager(
        self,
        batch: Sequence[torch.Tensor],
        rebuild: Callable[[Sequence[torch.Tensor]], tuple[tuple[Any, ...], dict[str, Any]]],
        key: tuple[int, int],
        *,
        is_recorded: bool = False,
    ) -> list[torch.Tensor]:
        """Run the body itself with the counter-based draws of `key`; returns the flat results.

        Args:
            batch: the tensors of the batch.
            rebuild: from such tensors to the arguments of the body.
            key: Philox key of the step.
            is_recorded: whether a recording exists: then nothing of PyTorch's is adapted to being recorded, so that a
                comparison shows whether what was adapted does the same.
        """
        entries, _ = layout.list_state(self.models, self.optimizers)
        results = self._record(entries, batch, rebuild, key, is_adapted=not is_recorded).results
        for model in self.models:
            for parameter in model.parameters():
                parameter.grad = None
        return results

    def _record(
        self,
        entries: Sequence[layout.Entry],
        batch: Sequence[torch.Tensor],
        rebuild: Callable[[Sequence[torch.Tensor]], tuple[tuple[Any, ...], dict[str, Any]]],
        key: tuple[int, int],
        *,
        is_adapted: bool = True,
    ) -> _Recording:
        counters = layout.list_counters(self.optimizers)
        batch = [tensor.clone() for tensor in batch]  # the body may write to it
        known = [*(entry.tensor for entry in entries), *batch]
        recorder = Recorder(key, [*known, *counters], may_read=not is_adapted)
        training = Training()
        inputs = [get_geometry(tensor) for tensor in known]
        hooks = [
            optimizer.register_step_pre_hook(lambda optimizer, *_, index=index: training.note(index, optimizer))
            for index, optimizer in enumerate(self.optimizers)
        ]
        try:
            averages = adapt_averages() if is_adapted else nullcontext()
            adafactor = adapt_adafactor() if is_adapted else nullcontext()
            with averages, adafactor, recorder.regions(self.optimizers), watch_value_reads(recorder), recorder:
                args, kwargs = rebuild(batch)
                returned = self.body(*args, **kwargs)
        finally:
            for hook in hooks:
                hook.remove()
        leaves, spec = pytree.tree_flatten(returned)
        results = [_check_result(leaf) for leaf in leaves]
        for index, optimizer in enumerate(self.optimizers):
            verify_slots(index, optimizer)
        finished, _ = layout.list_state(self.models, self.optimizers)
        outputs = [(entry.key, get_geometry(entry.tensor)) for entry in finished]
        storages = {tensor.untyped_storage()._cdata for tensor in [*counters, *layout.list_counters(self.optimizers)]}
        return _Recording(recorder.tape, inputs, outputs, results, spec, training, storages)

    def _build(
        self,
        entries: Sequence[layout.Entry],
        start: Sequence[torch.Tensor],
        batch: Sequence[torch.Tensor],
        first: _Recording,
        second: _Recording,
        structure: Any,
        row: np.ndarray,
        flags: Flags,
    ) -> Captured:
        calls = functional.select_calls(first.tape, first.counters)
        others = functional.select_calls(second.tape, second.counters)
        compare_calls(calls, others, first.inputs, second.inputs)
        if [key for key, _ in first.outputs] != [key for key, _ in second.outputs] or first.spec != second.spec:
            raise CaptureRefused("two recordings of the step end with different state or results")
        members = attribute_calls(calls, first.training.owners)
        kept = [call.region is None or member is not None for call, member in zip(calls, members, strict=True)]
        calls, others = list(compress(calls, kept)), list(compress(others, kept))
        known = {geometry[0] for geometry in first.inputs} | first.counters
        device_rules.verify_devices(first.tape, calls, devices.get_device())
        constants = collect_constants(first.tape, calls, second.tape, others, known)
        calls, sentinels = lift_scalars(calls, list(compress(members, kept)), structure, first.training.members)
        outputs = [*(geometry for _, geometry in first.outputs), *(get_geometry(r) for r in first.results)]
        graph = functional.build_graph(
            calls,
            [*first.inputs, *(geometry for geometry, _ in constants)],
            devices.place([*start, *batch, *(value for _, value in constants)]),
            outputs,
        )
        program = lower_graph(
            graph,
            kind=ir.STEP,
            state=layout.get_inputs(entries),
            batch=[get_type(tensor) for tensor in batch],
            constants=[make_constant_record(value) for _, value in constants],
            scalars=sentinels,
            row_length=len(row),
            state_outputs=[key for key, _ in first.outputs],
        )
        refuse_unlisted(program, calls)
        updated = [
            frozenset(
                id(optimizer.param_groups[group]["params"][place])
                for number, group, place in first.training.members
                if number == index
            )
            for index, optimizer in enumerate(self.optimizers)
        ]
        return Captured(program, first.spec, row, updated, flags, match_lines(program, calls))

    def _check(
        self,
        captured: Captured,
        start: Sequence[torch.Tensor],
        batch: Sequence[torch.Tensor],
        row: np.ndarray,
        key: tuple[int, int],
        first: _Recording,
        after: Snapshot,
    ) -> None:
        changed, results = interpret(captured.program, start, devices.place(batch), row.tolist(), key)
        after.restore()
        finished, _ = layout.list_state(self.models, self.optimizers)
        eager = {entry.key: entry.tensor for entry in finished}
        for output, tensor in zip(captured.program.state_outputs, changed, strict=True):
            _require_equal(output.name, eager[output.namespace, output.name].detach(), tensor)
        unchanged = {(s.namespace, s.name) for s in captured.program.state}
        unchanged -= {(o.namespace, o.name) for o in captured.program.state_outputs}
        for entry, tensor in zip(captured.program.state, start, strict=True):
            if (entry.namespace, entry.name) in unchanged:
                _require_equal(entry.name, eager[entry.namespace, entry.name].detach(), tensor)
        for index, (expected, actual) in enumerate(zip(first.results, results, strict=True)):
            _require_equal(f"result {index}", expected, actual)


def _check_result(leaf: Any) -> torch.Tensor:
    if isinstance(leaf, torch.Tensor):
        return leaf.detach()
    raise CaptureRefused(
        f"the step returns {type(leaf).__name__}",
        expected="tensors, or lists, tuples and dictionaries of tensors",
        next_step="return tensors and compute anything else outside the step",
    )


def _require_same_flags(one: Flags, other: Flags) -> None:
    if [(id(parameter), flag) for parameter, flag in one] != [(id(parameter), flag) for parameter, flag in other]:
        raise CaptureRefused(
            "two recordings of the step leave other parameters with requires_grad",
            next_step="set requires_grad of the same parameters whatever the batch is",
        )


def _require_equal(name: str, expected: torch.Tensor, actual: torch.Tensor) -> None:
    first, second = devices.place([expected.contiguous().flatten(), actual.contiguous().flatten()])
    if first.dtype != second.dtype or not torch.equal(first.view(torch.uint8), second.view(torch.uint8)):
        raise CaptureRefused(
            f"the recorded program does not reproduce the step: {name} differs",
            next_step="please report the model: this step cannot be recorded rightly yet",
        )


def make_constant_record(value: torch.Tensor) -> ir.Constant:
    """Return a small tensor as a constant of a program."""
    flat = devices.fetch(value.detach().contiguous()).flatten().view(torch.uint8)
    return ir.Constant(get_type(value), flat.numpy().tobytes())


def refuse_unlisted(program: ir.Program, calls: Sequence[Call]) -> None:
    """Refuse a program with an operator outside the closed list.

    Raises:
        CaptureRefused: with the operator, and the user's line of the first call that gave it.
    """
    for node in program.nodes:
        if node.operator not in OPERATORS:
            name = node.operator.split(".")[1]
            lines = [call.location for call in calls if call.operator._opname.rstrip("_") == name]
            raise CaptureRefused(
                f"{lines[0] if lines else 'the step'}: operator {node.operator} is not in the closed list",
                expected="operators of `assay.protocol.evidence.operators`",
                next_step=device_rules.get_cure(name)
                or "write it with other operators, or open an issue with the model that needs it",
            )


def roll_batch(batch: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return a batch of the same types and ranges and other contents: each field is rolled by another distance."""
    return [
        torch.roll(tensor, position + 1, 0).contiguous() if tensor.dim() and len(tensor) > 1 else tensor.clone()
        for position, tensor in enumerate(batch)
    ]
