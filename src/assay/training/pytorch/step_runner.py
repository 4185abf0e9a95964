"""Carries out the steps of one decorated body: by its program where there is one, by capture where there is none.

The graph is not trusted blindly: eager runs beside it for the first steps of each program and at rare random later
ones, with the same draws, and every bit must agree.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import is_
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils import _pytree as pytree

from assay.errors import CaptureRefused, UsageError
from assay.protocol.evidence import program as ir
from assay.protocol.evidence.operand_rules import UnsafeOperand
from assay.protocol.evidence.operators import OPERATORS
from assay.protocol.evidence.plan import Profile
from assay.protocol.evidence.program_rules import verify_program
from assay.protocol.evidence.randomness import STEP, derive_key
from assay.training.pytorch import devices, layout
from assay.training.pytorch.capture import StepCapture
from assay.training.pytorch.executed_code import uses_packages
from assay.training.pytorch.executor import Executor
from assay.training.pytorch.first_try import try_step
from assay.training.pytorch.guards import Guards, collect_guards
from assay.training.pytorch.home import StateHome, get_bytes
from assay.training.pytorch.profile import get_differences
from assay.training.pytorch.scalars import OptimizerRefused, ScalarReader
from assay.training.pytorch.snapshot import Flags, Snapshot, set_flags
from assay.training.pytorch.tape import get_user_location

MAX_PROGRAMS = 64
"""Programs of one run: batch shapes and phases. More are a sign that something changes at every step."""

CHECKS_BESIDE = 2
CHECK_ONE_IN = 1000

Rebuild = Callable[[Sequence[torch.Tensor]], tuple[tuple[Any, ...], dict[str, Any]]]


class GraphDiffers(UsageError):
    """The program and the user's own step gave different bits."""

    code: ClassVar[str] = "capture.graph-differs"


@dataclass
class Variant:
    """A program for one kind of batch, one layout of the state and of the scalars row, and one set of guards.

    `updated`: for each optimizer the ids of the parameters that its step updates. `flags`: parameters that the step
    leaves with another `requires_grad`. `places`: where the body left its results; None: all where they are computed.
    `bound`: the tensors that the executor works on.
    """

    program: ir.Program
    results: pytree.TreeSpec
    guards: Guards
    layout: tuple[object, ...]
    updated: Sequence[frozenset[int]]
    flags: Flags
    places: Sequence[torch.device] | None = None
    executor: Executor | None = None
    bound: list[torch.Tensor] | None = None
    checks_left: int = CHECKS_BESIDE


class ProfileLeft(CaptureRefused):
    """Settings that decide the bits were changed after the run began."""

    code: ClassVar[str] = "capture.profile"


@dataclass(frozen=True)
class Outcome:
    """What a step did.

    Attributes:
        program: the program that it followed.
        results: flat, detached tensors.
        spec: the structure of what the body returns.
        row: the scalars, float64.
        lines: of the user's source, for each node of a program that was just recorded.
    """

    program: ir.Program
    results: Sequence[torch.Tensor]
    spec: pytree.TreeSpec
    row: Any
    lines: tuple[str, ...] = ()


def _locate(error: OptimizerRefused) -> OptimizerRefused:
    """Put the user's line before the message of a refusal: that of the call of the recorded step."""
    error.message = f"{get_user_location()}: {error.message}"
    return error


class StepRunner:
    """The steps of one body.

    Args:
        body: the user's function.
        models, optimizers: whose tensors are the state.
        home: their tensors.
        seed: of the run, 32 bytes.
        profile: under which every step is carried out; None: whatever the process has.

    Attributes:
        toggled: parameters, by `id`, that a step left with another `requires_grad` than it had found.
    """

    def __init__(
        self,
        body: Callable[..., Any],
        models: Sequence[nn.Module],
        optimizers: Sequence[torch.optim.Optimizer],
        home: StateHome,
        seed: bytes,
        profile: Profile | None = None,
    ) -> None:
        self.profile = profile
        self.body = body
        self.models = models
        self.optimizers = optimizers
        self.home = home
        self.seed = seed
        try:
            self.reader = ScalarReader(optimizers)
        except OptimizerRefused as error:
            raise _locate(error) from None
        self.recording = StepCapture(body, models, optimizers)
        self.toggled: dict[int, torch.Tensor] = {}
        self._variants: dict[tuple[object, ...], list[Variant]] = {}

    def run(self, step: int, batch: Sequence[torch.Tensor], rebuild: Rebuild) -> Outcome:
        """Carry out `step` on a batch; the state is left after it."""
        key = derive_key(self.seed, STEP, step)
        try:
            row = self.reader.read()
        except OptimizerRefused as error:
            raise _locate(error) from None
        kinds = (self.home.signature, *((tensor.shape, tensor.dtype) for tensor in batch))
        variant = self._find(kinds)
        if variant is None:
            return self._capture(kinds, batch, rebuild, key)
        placed = devices.place(batch)
        executor = self._bind(variant, placed)
        numbers = row.tolist()
        has_gradients = any(parameter.grad is not None for parameter in self.home.parameters)  # left by other code
        if variant.checks_left > 0 or has_gradients or secrets.randbelow(CHECK_ONE_IN) == 0:
            variant.checks_left -= 1
            results = self._run_beside(variant, executor, step, batch, rebuild, numbers, key)
        else:
            results = executor.run(placed, numbers, key)
        if variant.places is not None:
            results = [result.to(place) for result, place in zip(results, variant.places, strict=True)]
        set_flags(variant.flags)
        self.reader.advance(variant.updated)
        self.home.note_versions()
        return Outcome(variant.program, results, variant.results, row)

    def _bind(self, variant: Variant, batch: Sequence[torch.Tensor]) -> Executor:
        """Return the executor of a variant, bound to the tensors that are the state now.

        A step that is recorded may put other tensors in the place of buffers; executors made before hold the old ones.
        """
        tensors = self.home.tensors
        if variant.executor is None or variant.bound is not tensors:
            if variant.executor is None or not all(map(is_, variant.bound or [], tensors)):
                variant.executor = Executor(variant.program, tensors, batch)
                self.home.note()
            variant.bound = tensors
        return variant.executor

    def _find(self, kinds: tuple[object, ...]) -> Variant | None:
        for variant in self._variants.get(kinds, ()):
            if variant.layout == self.reader.get_layout() and variant.guards.holds():
                return variant
        return None

    def _capture(
        self, kinds: tuple[object, ...], batch: Sequence[torch.Tensor], rebuild: Rebuild, key: tuple[int, int]
    ) -> Outcome:
        self._refuse_too_many(kinds)
        self._refuse_other_profile()
        tried = None
        if uses_packages(self.models, self.body):
            eager = partial(self.recording.run_eager, batch, rebuild, key)
            tried = try_step(self.models, self.optimizers, eager)
        guards = collect_guards(self.body, self.models, self.optimizers, tried.executed if tried else None)
        scalars = self.reader.get_layout()
        captured, results = self.recording.capture(batch, rebuild, key, self.reader, guards, tried)
        try:
            verify_program(captured.program, OPERATORS)
        except UnsafeOperand as error:
            raise CaptureRefused(error.message, next_step="leave that option out, or write it with others") from error
        variant = Variant(captured.program, captured.results, guards, scalars, captured.updated, captured.flags)
        places = [result.device for result in results]
        if any(place != devices.get_device() for place in places):
            variant.places = places
        self.toggled |= {id(parameter): parameter for parameter, _ in captured.flags}
        self._variants.setdefault(kinds, []).append(variant)
        self.home.refresh()
        return Outcome(captured.program, results, captured.results, captured.row, captured.lines)

    def _refuse_other_profile(self) -> None:
        """A changed mode would be recorded as another program; one that the profile fixes cannot be replayed."""
        differences = get_differences(self.profile) if self.profile is not None else []
        if differences:
            raise ProfileLeft(
                "the process left the profile of the run: " + ", ".join(name for name, _, _ in differences),
                expected=", ".join(f"{name}={wanted}" for name, wanted, _ in differences),
                actual=", ".join(f"{name}={found}" for name, _, found in differences),
                next_step="set threads and mkldnn in assay.start, and change none of these settings after it",
            )

    def _refuse_too_many(self, kinds: tuple[object, ...]) -> None:
        count = sum(len(variants) for variants in self._variants.values())
        if count < MAX_PROGRAMS:
            return
        last = self._variants.get(kinds, [None])[-1]
        changes = last.guards.describe_change() if last is not None else ["the shapes of the batch"]
        where = f"{last.guards.find_line(changes[0])}: " if last is not None and changes else ""
        raise CaptureRefused(
            f"{where}the step needed more than {MAX_PROGRAMS} programs",
            actual="; ".join(changes[:5]),
            next_step="keep what changes in a buffer of the model or pass it in the batch; pad batches to a few shapes",
        )

    def _run_beside(
        self,
        variant: Variant,
        executor: Executor,
        step: int,
        batch: Sequence[torch.Tensor],
        rebuild: Rebuild,
        row: Sequence[float],
        key: tuple[int, int],
    ) -> Sequence[torch.Tensor]:
        before = Snapshot.take(self.models, self.optimizers)
        try:
            expected = self.recording.run_eager(batch, rebuild, key, is_recorded=True)
            entries, _ = layout.list_state(self.models, self.optimizers)
            eager = {entry.key: get_bytes(entry.tensor.contiguous()).tobytes() for entry in entries}
            flags = before.find_flags()
        finally:
            before.restore()
        results = executor.run(devices.place(batch), row, key)
        differing = [
            entry.name
            for entry, tensor in zip(self.home.entries, self.home.tensors, strict=True)
            if get_bytes(tensor).tobytes() != eager.pop(entry.key, None)
        ]
        differing += [name for _, name in eager]
        differing += [
            f"result {index}"
            for index, (one, other) in enumerate(zip(expected, results, strict=True))
            if get_bytes(one.contiguous()).tobytes() != get_bytes(other.contiguous()).tobytes()
        ]
        if [(id(p), flag) for p, flag in flags] != [(id(p), flag) for p, flag in variant.flags]:
            differing.append("requires_grad")
        if differing:
            before.restore()
            self.home.note()
            raise GraphDiffers(
                f"the recorded program and the step itself differ at step {step}: {', '.join(differing[:5])}",
                next_step="the step depends on something that was not seen while recording; look for Python state "
                "that it reads or changes, or for gradients that code outside the step left",
            )
        return results
