"""Somebody sees a submission before it is in a block, and hands the same run in first under another name."""

import msgspec

from assay.protocol.contracts.submission_keys import model_key, submission_key
from assay.protocol.contracts.submission_records import Reference, Submission
from assay.protocol.contracts.submission_rejections import ContextRefuted
from assay.protocol.transactions import SignedTransaction, Transaction, read_transaction
from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import open_world, submit
from experiments.simulation.world import make_actor
from tests.ledgers import assert_refused, execute

THIEF = make_actor("honest 0")


def test_copied_roots_belong_to_the_account_that_linked_them():
    """The transcript begins with the submitter's context: the thief's copy of the transaction is refused."""
    world, submitter, _ = open_world(8)
    run = pretend(world, submitter)
    seen = read_transaction(world.chain_id, world.sign(submitter, run.make_body(world.height)), 2**16)
    assert_refused(world, THIEF, seen.transaction.body, ContextRefuted)
    for nonce in range(3):
        stolen = msgspec.structs.replace(seen.transaction.body, context_nonce=nonce)
        assert_refused(world, THIEF, stolen, ContextRefuted)
    assert submit(world, submitter, run) == ""


def test_a_signature_does_not_move_to_another_account():
    """The signed bytes name their account; exchanging it breaks the signature, and nothing is charged."""
    world, submitter, _ = open_world(8)
    data = world.sign(submitter, pretend(world, submitter).make_body(world.height))
    signed = msgspec.msgpack.decode(data, type=SignedTransaction)
    transaction = msgspec.msgpack.decode(signed.unsigned, type=Transaction)
    moved = msgspec.structs.replace(transaction, account=THIEF.account)
    forged = msgspec.msgpack.encode(SignedTransaction(msgspec.msgpack.encode(moved), signed.signature))
    (result,) = execute(world, [forged]).results
    assert (result.code, result.charged) == ("transaction.signature", False)


def test_a_run_that_was_linked_again_comes_second_and_says_so():
    """Not stopped: with the parts of a run anybody can link it again. By then the first is in state, and is named."""
    world, submitter, _ = open_world(8)
    run = pretend(world, submitter)
    assert submit(world, submitter, run) == ""
    relinked = pretend(world, THIEF)
    assert submit(world, THIEF, relinked, attempt=2) == ""
    assert world.expect(submission_key(relinked.submission), Submission).earlier == run.submission
    model = run.make_body(1).model_root
    assert world.expect(model_key(model), Reference).submission == run.submission
