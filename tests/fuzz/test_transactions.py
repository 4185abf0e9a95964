"""Mutated transactions and blocks give typed refusals and nothing else, in bounded time and memory.

Half of the inputs are bytes changed anywhere; the other half are changed within and signed again by their account, so
that the contracts behind the decoder are reached. The number of inputs is ASSAY_FUZZ_INPUTS; 10**5 where it is not
set, 10**7 in the torture run.
"""

import random
import resource
import sys
import time
from functools import cache

import msgspec
import pytest
from nacl.signing import SigningKey

from assay.errors import AssayError
from assay.protocol.blocks import compute_block_id, decode_block, get_start, verify_header
from assay.protocol.contracts.account_records import Transfer
from assay.protocol.contracts.stake_records import DepositStake, WithdrawStake
from assay.protocol.contracts.submission_bodies import (
    AbstainVotes,
    AttestAvailability,
    CommitVotes,
    FlagIntervals,
    IntervalCommitment,
    ReportEquivocation,
    RevealVotes,
    SubmitRun,
    WithdrawSubmission,
)
from assay.protocol.contracts.submission_keys import draw_key
from assay.protocol.contracts.submission_records import AVAILABILITY, COMMIT, FLAGS, REVEAL
from assay.protocol.encoding import encode
from assay.protocol.evidence.draw import Draw
from assay.protocol.transactions import (
    Body,
    SignedTransaction,
    Transaction,
    compute_transaction_id,
    open_transaction,
)
from assay.protocol.transition import open_or_refuse
from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import find_asked, find_committed
from experiments.simulation.world import verify_conserved
from tests.fuzz.mutations import get_input_count, mutate_bytes, mutate_encoded_item
from tests.ledgers import execute, open_ledger
from tests.protocol import second_decoder

SEED = 20260101


@cache
def open_at(phase):
    """Return a ledger at a phase, and its pieces."""
    return open_ledger(phase)


def make_reveal(world, run, verifier):
    """Return the reveal of a verifier in full."""
    asked = find_committed(world, run, verifier.actor.account)
    private = verifier.find_private(world, run)
    votes = [verifier._votes[run.submission, 0, interval] for interval in (*asked, *private)]
    openings = tuple(run.open(interval) for interval in sorted({*asked, *private}))
    secret = verifier.get_secret(run.submission)
    return RevealVotes(run.submission, 0, tuple(votes[: len(asked)]), secret, tuple(votes[len(asked) :]), openings)


def make_example(kind):
    """Return a ledger at which a body of this kind is accepted, who sends it, and the body."""
    phase = {
        FlagIntervals: FLAGS,
        CommitVotes: COMMIT,
        AbstainVotes: COMMIT,
        ReportEquivocation: COMMIT,
        RevealVotes: REVEAL,
    }
    world, submitter, crew, run = open_at(phase.get(kind, AVAILABILITY))
    first = crew[0]
    if kind is SubmitRun:
        return world, submitter, pretend(world, submitter, "another", nonce=1).make_body(world.height)
    if kind is FlagIntervals:
        sample = world.expect(draw_key(run.submission), Draw).sample
        free = [interval for interval in range(8) if interval not in sample]
        return world, first.actor, FlagIntervals(run.submission, tuple(free[:2]))
    if kind is RevealVotes:
        return world, first.actor, make_reveal(world, run, first)
    if kind is ReportEquivocation:
        busy = next(each for each in crew if find_asked(world, run, each.actor.account))
        interval = find_asked(world, run, busy.actor.account)[0]
        bodies = [CommitVotes(run.submission, 0, (IntervalCommitment(interval, bytes([i]) * 32),), ()) for i in (1, 2)]
        return world, submitter, ReportEquivocation(*(world.sign(busy.actor, body) for body in bodies))
    if kind in {CommitVotes, AbstainVotes}:
        busy = next(each for each in crew if find_asked(world, run, each.actor.account))
        asked = tuple(find_asked(world, run, busy.actor.account))
        pairs = tuple(IntervalCommitment(interval, bytes(32)) for interval in asked)
        body = CommitVotes(run.submission, 0, pairs, (bytes(32),))
        return (
            world,
            busy.actor,
            body if kind is CommitVotes else AbstainVotes(run.submission, 0, asked, True, "profile"),
        )
    simple = {
        Transfer: (submitter, Transfer(first.actor.account, 5)),
        DepositStake: (submitter, DepositStake(5)),
        WithdrawStake: (first.actor, WithdrawStake(5)),
        WithdrawSubmission: (submitter, WithdrawSubmission(run.submission)),
        AttestAvailability: (first.actor, AttestAvailability(run.submission, bytes(32))),
    }
    return world, *simple[kind]


def sign_again(world, actor, unsigned):
    """Return the signed form of changed bytes, by the right key."""
    signature = SigningKey(actor.seed).sign(compute_transaction_id(world.chain_id, unsigned)).signature
    return encode(SignedTransaction(unsigned, signature))


def get_unsigned(world, actor, body):
    """Return the encoded transaction that carries a body."""
    signed = msgspec.msgpack.decode(world.sign(actor, body), type=SignedTransaction)
    return signed.unsigned


def measure(world, data):
    """Return the least time of five in which a transaction is carried out or refused, in nanoseconds."""
    times = []
    for _ in range(5):
        start = time.process_time_ns()
        execute(world, [data])
        times.append(time.process_time_ns() - start)
    return min(times)


@pytest.mark.torture
@pytest.mark.parametrize("kind", Body.__args__, ids=lambda kind: kind.__name__)
def test_only_typed_refusals(kind):
    """Each mutated transaction is carried out or refused by a code of ours, and no point appears or goes."""
    chance = random.Random(f"{SEED} {kind.__name__}")
    world, actor, body = make_example(kind)
    assert execute(world, [world.sign(actor, body)]).results[0].code == ""
    before = dict(world.store.values)
    unsigned = get_unsigned(world, actor, body)
    signed = world.sign(actor, body)
    item = second_decoder.read(unsigned)
    codes = {}
    usual = measure(world, signed)
    slowest = (0, b"")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(max(500, get_input_count() // len(Body.__args__))):
        if number % 2:
            data = sign_again(world, actor, mutate_encoded_item(chance, item))
        else:
            data = mutate_bytes(chance, signed, unsigned)
        start = time.process_time_ns()
        outcome = execute(world, [data])
        (result,) = outcome.results
        slowest = max(slowest, (time.process_time_ns() - start, data))
        codes[result.code] = codes.get(result.code, 0) + 1
        if not result.code:
            verify_conserved({k: v for k, v in {**before, **outcome.changes}.items() if v is not None})
    assert world.store.values == before
    assert measure(world, slowest[1]) < 20 * usual, slowest[1].hex()
    assert "transaction.failed" not in codes, codes
    assert len(codes) > 3, codes
    assert {"transaction.malformed", "account.nonce"} <= set(codes)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 64 * 1024


@pytest.mark.torture
def test_mutated_blocks():
    """Mutated blocks are refused by a class of ours, or have the header that follows."""
    chance = random.Random(SEED)
    world, _, _, _ = open_at(AVAILABILITY)
    block = encode(world.engine.blocks[0])
    other = encode(world.engine.blocks[-1])
    item = second_decoder.read(block)
    codes = {}
    for number in range(max(500, get_input_count() // 20)):
        data = mutate_encoded_item(chance, item) if number % 2 else mutate_bytes(chance, block, other)
        try:
            decoded = decode_block(data, world.parameters)
            verify_header(get_start(world.genesis), decoded.header)
            compute_block_id(decoded.header)
            code = ""
        except AssayError as error:
            code = error.code
        codes[code] = codes.get(code, 0) + 1
    assert {"block.malformed", "block.parent", "block.root", "block.beacon-reveal"} <= set(codes)


def nest(depth, function):
    """Call a function with so many frames below it."""
    return function() if depth == 0 else nest(depth - 1, function)


def test_the_same_verdict_at_any_recursion_depth():
    """A deeply nested transaction is refused with the same code with a fresh stack and with hardly any left."""
    world, submitter, _, _ = open_at(AVAILABILITY)
    good = world.sign(submitter, Transfer(bytes(32), 5))
    deep = [sign_again(world, submitter, b"\x91" * depth + b"\x00") for depth in (1, 5, 23, 24, 25, 200, 20_000)]
    wide = sign_again(world, submitter, msgspec.msgpack.encode([0, bytes(32), 0, 0, [[[]]] * 5000]))
    inputs = [good, *deep, wide, b"\x91" * 60_000]

    def judge():
        return [getattr(open_or_refuse(world.chain_id, data, 2**16), "error", None).__class__ for data in inputs]

    fresh = judge()
    free = sys.getrecursionlimit() - len(__import__("inspect").stack())
    for depth in (free // 2, free - 80):
        assert nest(depth, judge) == fresh
    assert len(set(fresh)) > 1


def test_an_oversized_transaction_costs_nothing():
    """Bytes beyond the limit are refused by their length, before they are read."""
    world, _, _, _ = open_at(AVAILABILITY)
    with pytest.raises(AssayError) as refusal:
        open_transaction(world.chain_id, bytes(64 * 1024 + 1), world.parameters.max_transaction_bytes)
    assert refusal.value.code == "transaction.too-large"
    assert isinstance(encode(Transaction(0, bytes(32), 0, 0, Transfer(bytes(32), 1))), bytes)
