"""Ledgers for tests: at a wanted phase of a submission, and what a refusal must leave behind."""

from assay.protocol.beacon import compute_beacon
from assay.protocol.contracts.accounts import account_key
from assay.protocol.contracts.stake_records import Stake
from assay.protocol.contracts.stakes import stake_key
from assay.protocol.contracts.submission_keys import payments_key
from assay.protocol.contracts.submission_records import AVAILABILITY, PaymentList
from assay.protocol.environment import Environment
from assay.protocol.transition import execute_block, open_or_refuse
from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import carry_on, open_world, submit


def make_environment(world, height=None):
    """Return the environment of the next block, or of a later one."""
    position = world.application.info().position
    return Environment(
        chain_id=world.chain_id,
        height=position.height + 1 if height is None else height,
        time=position.time + 1,
        proposer=world.operator.account,
        beacon=compute_beacon(position.beacon, bytes(32)),
        parameters=world.parameters,
    )


def execute(world, transactions, height=None):
    """Return what a block of these transactions would do; the world stays as it is."""
    opened = [open_or_refuse(world.chain_id, data, world.parameters.max_transaction_bytes) for data in transactions]
    return execute_block(world.store, opened, make_environment(world, height))


def find_moved(world, outcome, height=None):
    """Return the keys that an outcome changes and an empty block would not."""
    empty = execute(world, (), height).changes
    keys = {*outcome.changes, *empty}

    def after(changes, key):
        return changes.get(key, world.store.get(key)) if key in changes else world.store.get(key)

    return {key for key in keys if after(outcome.changes, key) != after(empty, key)}


def assert_refused(world, actor, body, refusal, height=None):
    """Check that a body is refused by this class and that nothing moved but fee and nonce; return the message."""
    outcome = execute(world, [world.sign(actor, body)], height)
    (result,) = outcome.results
    assert (result.code, result.charged, result.fee) == (refusal.code, True, 1), outcome.messages
    assert find_moved(world, outcome, height) == {account_key(actor.account), account_key(world.operator.account)}
    return outcome.messages[0]


def assert_done(world, actor, body):
    """Carry a body out in a block and check that it was accepted."""
    result = world.do(actor, body)
    assert (result.code, result.charged) == ("", True)


def open_ledger(phase=AVAILABILITY, honest=7, bad=(), false=(), intervals=8, terms=None, **changes):
    """Return a ledger whose only submission has come to a phase of its first round: world, submitter, crew, run."""
    world, submitter, crew = open_world(honest, bad, **changes)
    run = pretend(world, submitter, intervals=intervals, false=false)
    assert submit(world, submitter, run, **(terms or {})) == ""
    while world.get_status(run.submission).phase != phase:
        carry_on(world, run, crew)
    return world, submitter, crew, run


def get_payments(world, run):
    """Return what moved because of a run: (account, kind) to amount."""
    found = world.read(payments_key(run.submission), PaymentList)
    moved = {}
    for each in () if found is None else found.payments:
        moved[each.account, each.kind] = moved.get((each.account, each.kind), 0) + each.amount
    return moved


def get_stake(world, actor):
    """Return the bonded points of an actor."""
    return world.expect(stake_key(actor.account), Stake).bonded
