"""Programs made to exhaust whoever runs them: shapes that overflow, memory, arithmetic, fan-out.

What a program states is checked before it runs. What it does not state ends its worker, which says nothing about the
run: "cannot judge", exit 3, never "refuted", and the machine stays up.
"""

import os
import sys
from pathlib import Path

import msgspec
import pytest

from assay.cli.__main__ import get_exit_code
from assay.errors import MalformedEvidence, Refuted
from assay.protocol.encoding import encode
from assay.protocol.evidence.operators import OPERATORS
from assay.protocol.evidence.plan import ProgramUse
from assay.protocol.evidence.program import MAX_NODES, compute_program_id
from assay.protocol.evidence.program_cost import CostExceeded, verify_cost
from assay.protocol.evidence.program_rules import ProgramTooLarge, TensorTypeRefused, verify_program
from assay.training.profile_environment import environment_for
from assay.training.recorded import RecordedRun
from assay.verification.audit import audit_run
from assay.verification.memory_bound import SMALLEST_SHARE, choose_memory, get_available, limit_memory
from assay.verification.pool import CannotJudge
from assay.verification.worker import open_worker
from tests.attacks.programs import node, program
from tests.attacks.runs import audit, copy_run, find_differing, rewrite_closing


def make_zeros(*shape):
    """Return a program that makes zeros of one byte."""
    return program([], [node("zeros", [list(shape)], [" ".join(["u8", *map(str, shape)])])])


FAR = 2**39
STATED = {
    "an extent of 2**40": (make_zeros(2**40), TensorTypeRefused),
    "a product that overflows": (make_zeros(FAR, FAR, FAR), TensorTypeRefused),
    "an extent of 0 that hides it": (make_zeros(0, FAR, FAR), TensorTypeRefused),
    "a negative extent": (make_zeros(-1), TensorTypeRefused),
    "too many nodes": (program(["f32"], [node("neg", ["$0"], ["f32"])] * (MAX_NODES + 1)), ProgramTooLarge),
    "fan-out": (program(["f32"], [node("stack", [["$0"] * 1024], ["f32 1024"])] * 1025), ProgramTooLarge),
}


@pytest.mark.parametrize("what", STATED)
def test_what_is_stated_is_refused_before_it_runs(what):
    """Shapes that overflow and programs that are too long break a rule of programs (PRG-3, PRG-4, PRG-6)."""
    verify_program(program(["f32"], [node("neg", ["$0"], ["f32"])]), OPERATORS)
    bomb, kind = STATED[what]
    with pytest.raises(kind) as refusal:
        verify_program(bomb, OPERATORS)
    assert isinstance(refusal.value, MalformedEvidence)


def test_memory_and_arithmetic_are_counted_beforehand(honest):
    """A program within the rules that needs more than the plan allows is refused (PRG-17)."""
    limits, side = RecordedRun(honest).plan.limits, 2**16
    square = f"f32 {side} {side}"
    kept = [node("zeros", [[side, side]], [square])] * 20
    products = [node("mm", ["$0", "$0"], [square])] * 20
    for bomb in (program([square], kept, results=range(21)), program([square], products)):
        verify_program(bomb, OPERATORS)
        with pytest.raises(CostExceeded):
            verify_cost(bomb, limits)


def plant(honest, target, bomb):
    """Return a run that says that its metric was measured by `bomb`."""
    run = copy_run(honest, target)
    identity = compute_program_id(bomb)
    (run / "programs" / f"{identity.hex()}.bin").write_bytes(encode(bomb))
    closing = RecordedRun(run).closing
    uses = tuple(use for use in closing.programs if use.program != closing.evaluations[0].program)
    evaluation = msgspec.structs.replace(closing.evaluations[0], program=identity)
    return rewrite_closing(run, programs=(*uses, ProgramUse(identity, 0, b"k" * 32)), evaluations=(evaluation,))


def make_environment(profile):
    """Return the environment of a worker, which must find the package."""
    source = str(Path(sys.modules["assay"].__file__).parents[1])
    return {**environment_for(profile), "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}


def recompute(run, **limits):
    """Audit a run in a worker process."""
    return audit_run(run, auditor=bytes(32), environment=make_environment, sample=1, workers=1, **limits)


LARGE = f"f32 {2**33}"
FULL = node("full", [[2**38], 1.0], ["f32 1"])
EXPANDED = [
    node("full", [[1], 1.0], ["f32 1"]),
    node("expand", ["$2", [2**33]], [LARGE]),
    node("clone", ["$3"], [LARGE]),
]
UNSTATED = {
    "more than any machine has": program(["f32 15 4", "i64 15"], [FULL]),
    "a copy of an expanded number": program(["f32 15 4", "i64 15"], EXPANDED),
}


def test_what_is_not_stated_ends_the_worker(honest, tmp_path):
    """Tensors of 1 TiB, stated as one number: the worker cannot judge, and nothing is refuted."""
    bomb = plant(honest, tmp_path / "bomb", UNSTATED["more than any machine has"])
    with pytest.raises(CannotJudge) as refusal:
        recompute(bomb, memory=SMALLEST_SHARE)
    assert not isinstance(refusal.value, Refuted)
    assert get_exit_code(refusal.value) == 3


@pytest.mark.parametrize("what", UNSTATED)
def test_the_bound_stops_what_the_machine_could_bear(what, honest, tmp_path):
    """32 GiB, within the limits of the plan: a bound of 1 GiB ends it in a child process, which says why."""
    bomb = plant(honest, tmp_path / "bomb", UNSTATED[what])
    child = os.fork()
    if not child:
        limit_memory(SMALLEST_SHARE)
        worker, ready = open_worker(str(bomb))
        os._exit(7 if worker is None and not ready.refuted and "memory" in ready.reason else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_worker_that_takes_too_long_says_nothing(honest, tmp_path):
    """A worker that has not answered in time is killed; the run is not refuted by that."""
    with pytest.raises(CannotJudge) as refusal:
        recompute(copy_run(honest, tmp_path / "copy"), seconds=0.01)
    assert get_exit_code(refusal.value) == 3


def test_an_honest_run_is_audited_under_the_default_bound(honest, tmp_path):
    """Without a bound of the caller's own, workers share three quarters of what is free; an honest run fits."""
    assert SMALLEST_SHARE <= choose_memory(1) <= max(SMALLEST_SHARE, get_available())
    found = recompute(copy_run(honest, tmp_path / "copy"))
    assert found.is_complete
    assert find_differing(found) == []
    assert audit(honest).is_complete
