"""A hostile program hands a fused update gradients or slots of another size or type than the parameter.

The kernels of the fused optimizers walk the memory of the parameter and trust that the other tensors are as long.
Called directly with shorter ones they crash, or read and write what is not theirs. No program gets that far.
"""

import subprocess
import sys

import pytest
import torch

from assay.errors import UsageError
from assay.protocol.evidence.operand_rules import UnsafeOperand
from assay.protocol.evidence.operators import OPERATORS
from assay.protocol.evidence.program_rules import MalformedEvidence, verify_program
from assay.training.pytorch.interpreter import OperatorNotAllowed, TypeMismatch
from tests.attacks.programs import node, program, run

CRASHES = """
import os, torch
aten, step = torch.ops.aten, [torch.ones(())]
full, short = [torch.ones(2**24)], [torch.ones(1)]
adam = {"lr": 0.1, "beta1": 0.9, "beta2": 0.9, "weight_decay": 0.0, "eps": 1e-8, "amsgrad": False, "maximize": False}
sgd = {"weight_decay": 0.0, "momentum": 0.9, "lr": 0.1, "dampening": 0.0, "nesterov": False, "maximize": False}
adagrad = {"lr": 0.1, "lr_decay": 0.0, "weight_decay": 0.0, "eps": 1e-8, "maximize": False}
calls = [
    lambda: aten._fused_adam_(full, full, short, full, [], step, **adam),
    lambda: aten._fused_adamw_(full, full, short, full, [], step, **adam),
    lambda: aten._fused_sgd_(full, full, short, is_first_step=False, **sgd),
    lambda: aten._fused_adagrad_(full, full, short, step, **adagrad),
]
for call in calls:
    child = os.fork()
    if not child:
        torch.set_num_threads(1)
        call()
        os._exit(0)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""

_SGD = {"weight_decay": 0.1, "lr": 0.1, "maximize": False}
_MOMENTUM = {**_SGD, "momentum": 0.9, "dampening": 0.0, "nesterov": True}
_ADAM = {"step": 1.0, "lr": 0.1, "beta1": 0.9, "beta2": 0.9, "weight_decay": 0.0, "eps": 0.1, "maximize": False}
_ADAGRAD = {"step": 1.0, "lr": 0.1, "lr_decay": 0.0, "weight_decay": 0.0, "eps": 0.1, "maximize": False}
UPDATES = {
    "assay.fused_sgd.default": (2, 1, _SGD),
    "assay.fused_sgd.first": (2, 2, _MOMENTUM),
    "assay.fused_sgd.momentum": (3, 2, _MOMENTUM),
    "assay.fused_adam.default": (4, 3, _ADAM),
    "assay.fused_adam.amsgrad": (5, 4, _ADAM),
    "assay.fused_adamw.default": (4, 3, _ADAM),
    "assay.fused_adamw.amsgrad": (5, 4, _ADAM),
    "assay.fused_adagrad.default": (3, 2, _ADAGRAD),
}
"""Operator to tensors, outputs and numbers."""

PLACES = [(name, place) for name, (tensors, _, _) in UPDATES.items() for place in range(tensors)]
TYPE = "f32 3 4"


def make_update(name, changes=None, *, arguments=None):
    """Return a program of one update whose tensors are batch fields; `changes` gives some of them other types."""
    tensors, outputs, numbers = UPDATES[name]
    kinds = [(changes or {}).get(place, TYPE) for place in range(tensors)]
    arguments = [f"${place}" for place in range(tensors)] if arguments is None else arguments
    return program(kinds, [node(name, arguments, [TYPE] * outputs, **numbers)])


def make_tensors(subject):
    """Return tensors of the stated types."""
    types = {"f32": torch.float32, "f64": torch.float64, "bf16": torch.bfloat16, "i64": torch.int64}
    return [torch.ones(entry.shape, dtype=types[entry.dtype]) for entry in subject.batch]


def test_the_kernels_do_crash():
    """The danger is real: each kernel, given one slot that is too short, ends in a signal."""
    done = subprocess.run([sys.executable, "-c", CRASHES], capture_output=True, text=True, timeout=120, check=False)
    assert [int(line) > 0 for line in done.stdout.split()] == [True] * 4


@pytest.mark.parametrize("name", UPDATES)
def test_honest_updates_run(name):
    """Tensors of one type are accepted, and the outputs have that type."""
    honest = make_update(name)
    verify_program(honest, OPERATORS)
    assert [tuple(output.shape) for output in run(honest, make_tensors(honest))] == [(3, 4)] * UPDATES[name][1]


@pytest.mark.parametrize("lie", ["f32 1", "f32 3 5", "f32 4 3", "f32", "f64 3 4", "bf16 3 4", "i64 3 4", "f32 0"])
@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_tensor_of_another_type_is_refused(name, place, lie):
    """When it is read (PRG-21), and by the operator itself if somebody runs it unread."""
    hostile = make_update(name, {place: lie})
    with pytest.raises(UnsafeOperand) as refusal:
        verify_program(hostile, OPERATORS)
    assert refusal.value.code == "program.unsafe-operand"
    with pytest.raises(UsageError):
        run(hostile, make_tensors(hostile))


@pytest.mark.parametrize("name", UPDATES)
def test_missing_and_spare_tensors_are_refused(name):
    """Fewer or more tensors than the update has, no tensor, a list of tensors."""
    tensors = UPDATES[name][0]
    whole = [f"${place}" for place in range(tensors)]
    for arguments in (whole[:-1], [*whole, "$0"], [*whole[:-1], None], [*whole[:-1], 1.0], [whole, *whole[1:]]):
        with pytest.raises(MalformedEvidence):
            verify_program(make_update(name, arguments=arguments), OPERATORS)


@pytest.mark.parametrize("name", UPDATES)
def test_one_tensor_in_every_place_is_not_written_to(name):
    """Kernels that write to their operands would see their own writes; here each update works on copies."""
    tensors = UPDATES[name][0]
    aliased = make_update(name, arguments=["$0"] * tensors)
    verify_program(aliased, OPERATORS)
    batch = make_tensors(aliased)
    given = run(make_update(name), [tensor.clone() for tensor in batch])
    for output, expected in zip(run(aliased, batch), given, strict=True):
        assert torch.equal(output, expected)
    assert all(torch.equal(tensor, torch.ones(3, 4)) for tensor in batch)


def test_a_view_that_repeats_one_element():
    """A gradient of stride 0 has one element in memory; the kernel would walk past it."""
    subject = program(
        ["f32 1", "f32 1000", "f32 1000", "f32 1000"],
        [
            node("expand", ["$0", [1000]], ["f32 1000"]),
            node("assay.fused_adam", ["$1", "$4", "$2", "$3"], ["f32 1000"] * 3, **_ADAM),
        ],
    )
    verify_program(subject, OPERATORS)
    updated = run(subject, make_tensors(subject))[0]
    assert torch.equal(updated, updated[:1].expand(1000))


@pytest.mark.parametrize("factor", ["f64 2", "f64 0", "f64 3 4", "i64 2"])
def test_a_factor_that_is_no_number(factor):
    """The factor of a sum (PRG-22) is read as one number; torch refuses a tensor that holds another count."""
    honest, hostile = (
        program([TYPE, TYPE, kind], [node("assay.add_scaled", ["$0", "$1", "$2"], [TYPE])]) for kind in ("f64", factor)
    )
    assert torch.equal(run(honest, make_tensors(honest))[0], torch.full((3, 4), 2.0))
    with pytest.raises(RuntimeError):
        run(hostile, make_tensors(hostile))


def test_shapes_are_those_of_the_tensors():
    """A program that states fitting types is not run on other tensors."""
    with pytest.raises(TypeMismatch):
        run(make_update("assay.fused_adam.default"), [torch.ones(3, 4), torch.ones(3, 4), torch.ones(1), torch.ones(1)])


@pytest.mark.parametrize("name", ["_fused_adam_", "_fused_adam", "_fused_sgd", "_fused_adamw", "_fused_adagrad"])
def test_the_list_forms_of_torch_are_not_in_the_closed_list(name):
    """A program cannot name the kernels themselves."""
    subject = program([TYPE], [node(name, [["$0"], ["$0"]], [TYPE])])
    with pytest.raises(MalformedEvidence):
        verify_program(subject, OPERATORS)
    with pytest.raises(OperatorNotAllowed):
        run(subject, [torch.ones(3, 4)])
