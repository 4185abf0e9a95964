"""Twelve planted mistakes, each in a program, a scalars row, a key, a batch or a state, and what the distances say.

A model is trained for some steps; then one step is taken three times from the same start: by the naive interpreter on
the captured program with the mistake in it, by the user's code in eager PyTorch, and by the user's code in binary64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import torch

from assay.protocol.encoding import float_to_bits
from assay.protocol.evidence import program as ir
from assay.protocol.evidence.randomness import STEP, derive_key
from assay.training.pytorch.capture import StepCapture
from assay.training.pytorch.guards import collect_guards
from assay.training.pytorch.home import StateHome
from assay.training.pytorch.interpreter import interpret
from assay.training.pytorch.scalars import ScalarReader
from assay.training.pytorch.step_runner import StepRunner
from benchmarks.reference import EagerCopy, State, compute_excess, copy_state, get_state
from benchmarks.zoo import CASES, Case, make_step

STEPS_BEFORE = 12
WARM_UP = 40


@dataclass(frozen=True)
class Setting:
    """All that one step is a function of, and how to capture it once more."""

    program: ir.Program
    state: State
    batch: list[torch.Tensor]
    row: list[float]
    key: tuple[int, int]
    following: list[torch.Tensor]
    eager: EagerCopy
    rate: float
    seed: bytes


@dataclass(frozen=True)
class PlantedFinding:
    """What the distances say about one mistake, or about the unchanged program."""

    name: str
    is_mistake: bool
    excess: float
    tensor: str


Mistake = Callable[[Setting], Setting]


def prepare(case: Case, seed: bytes) -> tuple[Setting, EagerCopy, EagerCopy]:
    """Train for some steps; return the next step, and eager's and the reference's copies at its start."""
    torch.manual_seed(0)
    net = case.make()
    net.train()
    optimizer = case.optimizer(net)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (step + 1) / WARM_UP)
    body = make_step(case, net, optimizer)
    runner = StepRunner(body, [net], [optimizer], StateHome([net], [optimizer]), seed)
    batches = case.batches(3)
    for step in range(1, STEPS_BEFORE + 1):
        runner.run(step, list(next(batches)), lambda tensors: ((tuple(tensors),), {}))
        scheduler.step()
    copies = [EagerCopy(case, dtype) for dtype in (torch.float32, torch.float64, torch.float32)]
    for copy in copies:
        copy.load(net, optimizer)
    row, before, batch = runner.reader.read().tolist(), copy_state(get_state(net, optimizer)), list(next(batches))
    rate = optimizer.param_groups[0]["lr"]
    outcome = runner.run(STEPS_BEFORE + 1, batch, lambda tensors: ((tuple(tensors),), {}))
    key = derive_key(seed, STEP, STEPS_BEFORE + 1)
    setting = Setting(outcome.program, before, batch, row, key, list(next(batches)), copies[2], rate, seed)
    return setting, copies[0], copies[1]


def carry_out(setting: Setting, start: State) -> State:
    """Return the state and loss after the step of a setting; what the program leaves alone is as in `start`."""
    inputs = [setting.state[entry.namespace, entry.name] for entry in setting.program.state]
    changed, results = interpret(setting.program, inputs, setting.batch, setting.row, setting.key)
    outputs = [(output.namespace, output.name) for output in setting.program.state_outputs]
    return {**start, **dict(zip(outputs, changed, strict=True)), (-1, "loss"): results[0]}


# -- mistakes ---------------------------------------------------------------------------------------------------------


def _change_numbers(setting: Setting, change: Callable[[float], float | None]) -> Setting:
    """Replace every number of the row for which `change` returns another one."""
    row = [number if (changed := change(number)) is None else changed for number in setting.row]
    if row == setting.row:
        raise RuntimeError("the mistake changed no number of the row")
    return replace(setting, row=row)


def _change_nodes(setting: Setting, change: Callable[[ir.Node], ir.Node]) -> Setting:
    nodes = tuple(change(node) for node in setting.program.nodes)
    if nodes == setting.program.nodes:
        raise RuntimeError("the mistake changed no node of the program")
    return replace(setting, program=msgspec.structs.replace(setting.program, nodes=nodes))


def drop_bias_correction(setting: Setting) -> Setting:
    """Adam without bias correction: denominator and rate as if t were infinite."""
    step = STEPS_BEFORE + 1
    wrong = {math.sqrt(1 - 0.999**step): 1.0, -setting.rate / (1 - 0.9**step): -setting.rate}
    return _change_numbers(setting, lambda x: next((w for right, w in wrong.items() if math.isclose(x, right)), None))


def drop_decay(setting: Setting) -> Setting:
    """SGD without its weight decay."""
    return _change_numbers(setting, lambda x: 0.0 if x == 5e-4 else None)


def drop_decoupled_decay(setting: Setting) -> Setting:
    """AdamW without its weight decay."""
    return _change_numbers(setting, lambda x: 1.0 if math.isclose(x, 1 - setting.rate * 0.1, rel_tol=1e-12) else None)


def change_momentum(setting: Setting) -> Setting:
    """Momentum 0.89 instead of 0.9."""
    return _change_numbers(setting, lambda x: 0.89 if x == 0.9 else None)


def shift_schedule(setting: Setting) -> Setting:
    """The rate of the next step."""
    factor = (STEPS_BEFORE + 2) / (STEPS_BEFORE + 1)
    return _change_numbers(setting, lambda x: x * factor if math.isclose(x, -setting.rate) else None)


def keep_statistics(setting: Setting) -> Setting:
    """Batch norm whose running statistics stay as they were."""
    kept = tuple(output for output in setting.program.state_outputs if "running_" not in output.name)
    if kept == setting.program.state_outputs:
        raise RuntimeError("the program has no running statistics")
    return replace(setting, program=msgspec.structs.replace(setting.program, state_outputs=kept))


def reuse_mask(setting: Setting) -> Setting:
    """The dropout mask of the step before."""
    return replace(setting, key=derive_key(setting.seed, STEP, STEPS_BEFORE))


def forget_train(setting: Setting) -> Setting:
    """A model that was left in evaluation mode: captured once more from the same start."""
    copy = setting.eager
    copy.net.eval()
    reader = ScalarReader([copy.optimizer])
    guards = collect_guards(copy.body, [copy.net], [copy.optimizer])
    capture = StepCapture(copy.body, [copy.net], [copy.optimizer])
    rebuild = lambda tensors: ((tuple(tensors),), {})  # noqa: E731
    captured, _ = capture.capture(setting.batch, rebuild, setting.key, reader, guards)
    return replace(setting, program=captured.program)


def skip_clipping(setting: Setting) -> Setting:
    """A norm of the gradient that is never too large."""

    def change(node: ir.Node) -> ir.Node:
        if node.operator != "aten.clamp.default" or node.outputs[0] is None or node.outputs[0].shape:
            return node
        return msgspec.structs.replace(node, operator="aten.ones_like.default", arguments=node.arguments[:1])

    return _change_nodes(setting, change)


def skip_rescaling(setting: Setting) -> Setting:
    """Dropout that does not divide by the probability of keeping."""
    drawn = {
        number
        for number, node in _iterate_outputs(setting.program)
        if node.operator == "assay.bernoulli.default"
    }  # fmt: skip

    def change(node: ir.Node) -> ir.Node:
        first = node.arguments[0] if node.arguments else None
        if node.operator.startswith("aten.div") and isinstance(first, ir.Value) and first.index in drawn:
            return msgspec.structs.replace(node, arguments=(first, ir.Real(float_to_bits(1.0))))
        return node

    return _change_nodes(setting, change)


def _iterate_outputs(program: ir.Program) -> Sequence[tuple[int, ir.Node]]:
    following = len(program.state) + len(program.batch) + len(program.constants)
    found = []
    for node in program.nodes:
        found.append((following, node))
        following += len(node.outputs)
    return found


def drop_second_moment(setting: Setting) -> Setting:
    """A second moment that was not carried over from the step before."""
    state = {
        key: torch.zeros_like(tensor) if key[1].endswith("/exp_avg_sq") else tensor
        for key, tensor in setting.state.items()
    }
    return replace(setting, state=state)


def take_next_batch(setting: Setting) -> Setting:
    """The batch of the next step."""
    return replace(setting, batch=setting.following)


PLANTED: tuple[tuple[str, tuple[Mistake, ...]], ...] = (
    (
        "cnn nesterov",
        (
            drop_decay, change_momentum, shift_schedule, keep_statistics, reuse_mask, forget_train, skip_rescaling,
            take_next_batch,
        ),
    ),
    ("decoder sdpa adamw clip", (drop_bias_correction, drop_decoupled_decay, skip_clipping, drop_second_moment)),
)  # fmt: skip
"""The case and what is wrong in it."""


def plant_all(seed: bytes) -> list[PlantedFinding]:
    """Return for each case what the distances say about the unchanged program, then about each mistake."""
    findings = []
    for name, mistakes in PLANTED:
        case = next(case for case in CASES if case.name == name)
        setting, eager, reference = prepare(case, seed)
        start = copy_state(eager.get_state())
        losses = eager.step(setting.batch, setting.key), reference.step(setting.batch, setting.key)
        theirs = {**eager.get_state(), (-1, "loss"): losses[0]}
        exact = {**reference.get_state(), (-1, "loss"): losses[1]}
        excess, tensor = compute_excess(carry_out(setting, start), theirs, exact)
        findings.append(PlantedFinding(f"{name}, unchanged", False, excess, tensor))
        for mistake in mistakes:
            excess, tensor = compute_excess(carry_out(mistake(setting), start), theirs, exact)
            findings.append(PlantedFinding(f"{name}, {mistake.__name__.replace('_', ' ')}", True, excess, tensor))
    return findings
