"""Mutated records give typed refusals and nothing else, in bounded time and memory.

The number of inputs is ASSAY_FUZZ_INPUTS; 10**5 where it is not set, 10**7 in the torture run.
"""

import random
import resource
import statistics
import time

import pytest

from assay.errors import VerificationError
from assay.protocol.encoding import decode, encode
from assay.protocol.evidence.model_state import AliasTable, TensorRecord
from assay.protocol.evidence.model_state_rules import verify_records
from assay.protocol.evidence.operators import OPERATORS
from assay.protocol.evidence.plan import ClosingRecord, Plan, Profile, compute_plan_id
from assay.protocol.evidence.plan_rules import verify_closing_record, verify_plan, verify_profile
from assay.protocol.evidence.program import Program
from assay.protocol.evidence.program_cost import verify_cost
from assay.protocol.evidence.program_rules import verify_program
from assay.protocol.evidence.transcript import StartLeaf, StepLeaf, StepParts, compute_step_id, rebuild_leaf
from assay.protocol.evidence.transcript_rules import (
    verify_root_period,
    verify_start_leaf,
    verify_step_leaf,
    verify_step_parts,
)
from assay.protocol.merkle import MerkleRoot, verify_inclusion
from tests.fuzz.mutations import get_input_count, mutate_bytes, mutate_encoded_item
from tests.protocol import second_decoder
from tools.example_records import EXAMPLES, PLAN, RECORDS

SEED = 20240501


def check_program(program):
    """Check a program and its cost."""
    verify_program(program, OPERATORS)
    verify_cost(program, PLAN.limits)


def check_parts(parts):
    """Check kept parts and rebuild their leaf."""
    verify_step_parts(parts)
    compute_step_id(rebuild_leaf(parts, bytes(32), bytes(32), parts.scalars or b""))


def check_leaf(leaf):
    """Check a leaf by itself and under a plan."""
    verify_step_leaf(leaf)
    verify_root_period(PLAN, leaf, leaf.step + 1)


def check_plan(plan):
    """Check a plan and compute its id."""
    verify_plan(plan)
    compute_plan_id(plan)


CHECKS = {
    Profile: verify_profile,
    Program: check_program,
    Plan: check_plan,
    ClosingRecord: lambda closing: verify_closing_record(PLAN, closing),
    TensorRecord: lambda record: verify_records((record,), AliasTable(())),
    AliasTable: lambda aliases: verify_records(RECORDS, aliases),
    StartLeaf: verify_start_leaf,
    StepLeaf: check_leaf,
    StepParts: check_parts,
}


def judge(data, kind):
    """Return the code of the refusal, or None; any other exception ends the test."""
    try:
        record = decode(data, kind)
        CHECKS[kind](record)
    except VerificationError as refusal:
        str(refusal)  # must be printable, whatever was found
        return refusal.code
    assert encode(record) == data
    return None


def make_inputs(name, count):
    """Yield mutated inputs; half of them are well-formed items, so that the rules behind the decoder are reached."""
    chance = random.Random(f"{SEED} {name}")
    original = encode(EXAMPLES[name])
    item = second_decoder.read(original)
    others = [encode(record) for record in EXAMPLES.values()]
    for number in range(count):
        if number % 2:
            yield mutate_encoded_item(chance, item)
        else:
            yield mutate_bytes(chance, original, chance.choice(others))


@pytest.mark.torture
@pytest.mark.parametrize("name", EXAMPLES)
def test_only_typed_refusals(name):
    """Each mutated input is accepted and canonical, or refused by a class of ours, for every kind of record."""
    kind = type(EXAMPLES[name])
    count = max(1000, get_input_count() // len(EXAMPLES))
    assert judge(encode(EXAMPLES[name]), kind) is None
    codes = {}
    costs = []
    slowest = (0, b"")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data in make_inputs(name, count):
        start = time.process_time_ns()
        code = judge(data, kind)
        cost = (time.process_time_ns() - start) // (200 + len(data))
        codes[code] = codes.get(code, 0) + 1
        slowest = max(slowest, (cost, data))
        if len(costs) < 2000:
            costs.append(cost)
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert growth < 64 * 1024, f"memory grew by {growth} KiB"
    assert len(codes) > 5, codes
    assert {"encoding.shape", "encoding.truncated"} <= set(codes)
    assert measure(slowest[1], kind) < 100 * (1 + statistics.median(costs)), slowest[1].hex()


def measure(data, kind):
    """Return the least time of five of one input, in ns for each byte, as above."""
    times = []
    for _ in range(5):
        start = time.process_time_ns()
        judge(data, kind)
        times.append((time.process_time_ns() - start) // (200 + len(data)))
    return min(times)


def test_inclusion_proofs_of_any_form():
    """Proofs of any size, index and path are refused by a class of ours, or hold."""
    chance = random.Random(SEED)
    codes = set()
    for _ in range(2000):
        size = chance.choice((0, 1, 2, 3, 7, 8, 2**31, 2**63, -1))
        index = chance.choice((0, 1, size - 1, size, size // 2, -1, 2**70))
        path = [
            chance.randbytes(chance.choice((32, 32, 32, 31, 0))) for _ in range(chance.choice((0, 1, 2, 3, 31, 63)))
        ]
        try:
            verify_inclusion(MerkleRoot(20, size, bytes(32)), bytes(32), index, path)
            codes.add(None)
        except VerificationError as refusal:
            codes.add(refusal.code)
    assert codes == {None, "merkle.leaf-index", "merkle.path-length", "merkle.inclusion"}
