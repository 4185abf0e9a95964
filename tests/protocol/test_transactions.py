import hashlib

import msgspec
import pytest
from nacl.signing import SigningKey

from assay.protocol import tags, transition
from assay.protocol.contracts.account_records import Account, Transfer
from assay.protocol.contracts.accounts import SUPPLY_KEY, account_key
from assay.protocol.encoding import encode
from assay.protocol.state_view import LedgerFault, StateView
from assay.protocol.transactions import (
    Body,
    MalformedTransaction,
    SignedTransaction,
    Transaction,
    TransactionTooLarge,
    WrongSignature,
    compute_transaction_id,
    open_transaction,
    read_transaction,
    sign_transaction,
)
from assay.protocol.transition import TRANSITIONS, RefusedTransaction, TransactionFailed, open_or_refuse
from experiments.simulation.world import WEALTH, World, make_actor, make_parameters
from tests.ledgers import execute, find_moved
from tests.protocol import second_decoder

ALICE, BOB = make_actor("alice"), make_actor("bob")
CHAIN, OTHER_CHAIN = bytes([1] * 32), bytes([2] * 32)
LIMIT = 64 * 1024


def make(account=ALICE.account, nonce=0, fee=1, body=None):
    """Return a transaction."""
    return Transaction(0, account, nonce, fee, body or Transfer(BOB.account, 5))


def sign_anything(unsigned, chain_id=CHAIN, seed=ALICE.seed):
    """Return the signed form of any bytes."""
    signature = SigningKey(seed).sign(compute_transaction_id(chain_id, unsigned)).signature
    return encode(SignedTransaction(unsigned, signature))


def test_the_form_of_a_transaction():
    """TXN-1, TXN-2, TXN-4: two byte strings; the id and the signature by hashlib and nacl alone."""
    data = sign_transaction(ALICE.seed, CHAIN, make())
    unsigned, signature = second_decoder.read(data)
    assert second_decoder.read(unsigned) == [0, ALICE.account, 0, 1, ["transfer", BOB.account, 5]]
    identity = hashlib.sha256(b"\x24\x00" + CHAIN + unsigned).digest()
    assert tags.TRANSACTION == 0x24
    SigningKey(ALICE.seed).verify_key.verify(identity, signature)
    opened = open_transaction(CHAIN, data, LIMIT)
    assert (opened.id, opened.transaction) == (identity, make())


def test_a_transaction_belongs_to_one_chain():
    """TXN-2, TXN-5: on another ledger the same bytes have another id and no valid signature."""
    data = sign_transaction(ALICE.seed, CHAIN, make())
    assert read_transaction(CHAIN, data, LIMIT).id != read_transaction(OTHER_CHAIN, data, LIMIT).id
    with pytest.raises(WrongSignature):
        open_transaction(OTHER_CHAIN, data, LIMIT)


def test_only_the_account_signs():
    """TXN-5: another key, a changed byte of the signature or of what is signed: refused."""
    with pytest.raises(WrongSignature):
        sign_transaction(BOB.seed, CHAIN, make())
    with pytest.raises(WrongSignature):
        open_transaction(CHAIN, sign_anything(encode(make()), seed=BOB.seed), LIMIT)
    signed = msgspec.msgpack.decode(sign_transaction(ALICE.seed, CHAIN, make()), type=SignedTransaction)
    for broken in (
        SignedTransaction(signed.unsigned, bytes([signed.signature[0] ^ 1]) + signed.signature[1:]),
        SignedTransaction(encode(make(fee=2)), signed.signature),
        SignedTransaction(signed.unsigned, bytes(64)),
    ):
        with pytest.raises(WrongSignature):
            open_transaction(CHAIN, encode(broken), LIMIT)


def test_the_longest_transaction():
    """TXN-3: as many bytes as permitted, and not one more."""
    data = sign_transaction(ALICE.seed, CHAIN, make())
    assert open_transaction(CHAIN, data, len(data))
    with pytest.raises(TransactionTooLarge):
        open_transaction(CHAIN, data, len(data) - 1)


@pytest.mark.parametrize(
    "unsigned",
    [
        b"",
        b"\x00",
        encode(make())[:-1],
        encode(make()) + b"\x00",
        msgspec.msgpack.encode([1, ALICE.account, 0, 1, ["transfer", BOB.account, 5]]),
        msgspec.msgpack.encode([0, ALICE.account, 0, 1, ["steal", BOB.account, 5]]),
        msgspec.msgpack.encode([0, ALICE.account, 0, 1, ["transfer", BOB.account]]),
        msgspec.msgpack.encode([0, ALICE.account, 0, 1, ["transfer", BOB.account, 5, 6]]),
        msgspec.msgpack.encode([0, ALICE.account, 0, 1, ["transfer", BOB.account, 5.0]]),
        msgspec.msgpack.encode([0, ALICE.account, 0, 1.0, ["transfer", BOB.account, 5]]),
        msgspec.msgpack.encode([0, ALICE.account, 0, 1, {"to": BOB.account}]),
        msgspec.msgpack.encode([0, ALICE.account, -1, 1, ["transfer", BOB.account, 5]]),
        msgspec.msgpack.encode([0, ALICE.account, 2**63, 1, ["transfer", BOB.account, 5]]),
        msgspec.msgpack.encode([0, ALICE.account, 0, -1, ["transfer", BOB.account, 5]]),
        msgspec.msgpack.encode([0, ALICE.account[:31], 0, 1, ["transfer", BOB.account, 5]]),
        b"\x95\x00\xc4\x20" + ALICE.account + b"\xcc\x00\x01\x93\xa8transfer\xc4\x20" + BOB.account + b"\x05",
    ],
)
def test_malformed_transactions(unsigned):
    """TXN-1, TXN-4: other bytes than the one canonical form, and fields out of range, are refused, however signed."""
    with pytest.raises(MalformedTransaction):
        open_transaction(CHAIN, sign_anything(unsigned), LIMIT)


def test_malformed_envelopes():
    """TXN-1: what is no pair of bytes and 64 bytes is refused."""
    for data in (b"", b"\x92", msgspec.msgpack.encode([encode(make()), bytes(63)]), msgspec.msgpack.encode([1, 2])):
        with pytest.raises(MalformedTransaction):
            open_transaction(CHAIN, data, LIMIT)


def test_every_body_has_a_transition():
    """TXN-6: the table has exactly the bodies that a transaction can have."""
    assert set(TRANSITIONS) == set(Body.__args__)


def test_refused_bytes_have_an_id():
    """TXN-7, BLK-6: bytes that are no transaction stand in a block with an id and a code, and charge nobody."""
    world = World(make_parameters(), (ALICE,))
    refused = open_or_refuse(world.chain_id, b"nonsense", LIMIT)
    assert isinstance(refused, RefusedTransaction)
    assert refused.id == hashlib.sha256(b"\x24\x00nonsense").digest()
    outcome = execute(world, [b"nonsense"])
    assert [(r.code, r.charged, r.fee) for r in outcome.results] == [("transaction.malformed", False, 0)]
    assert find_moved(world, outcome) == set()


def test_a_refused_body_leaves_fee_and_nonce(monkeypatch):
    """TXN-7, TXN-8: what a body changed before it was refused is undone; the next transaction goes on from there."""
    world = World(make_parameters(), (ALICE, BOB))
    outcome = execute(
        world,
        [
            world.sign(ALICE, Transfer(BOB.account, WEALTH), nonce=0),
            world.sign(ALICE, Transfer(BOB.account, 7), nonce=1),
        ],
    )
    assert [result.code for result in outcome.results] == ["account.unaffordable", ""]
    assert outcome.messages[1] == ""
    assert "expected" in outcome.messages[0]
    bob = msgspec.msgpack.decode(outcome.changes[account_key(BOB.account)], type=Account)
    assert bob.balance == WEALTH + 7


def test_a_fault_of_the_rules_is_a_refusal(monkeypatch):
    """TXN-9: an unforeseen exception undoes the body like any refusal."""
    world = World(make_parameters(), (ALICE, BOB))

    def fail(view, environment, sender, body):
        view.write(account_key(BOB.account), None)
        raise ZeroDivisionError

    monkeypatch.setattr(transition, "TRANSITIONS", {**TRANSITIONS, Transfer: fail})
    outcome = execute(world, [world.sign(ALICE, Transfer(BOB.account, 7))])
    assert (outcome.results[0].code, outcome.results[0].charged) == (TransactionFailed.code, True)
    assert find_moved(world, outcome) == {account_key(ALICE.account), account_key(world.operator.account)}


def test_a_broken_state_stops_the_node():
    """TXN-9: a record that is none, or that is missing, is no transaction's fault."""
    world = World(make_parameters(), (ALICE, BOB))
    world.store.values[account_key(BOB.account)] = b"\xc1"
    with pytest.raises(LedgerFault):
        execute(world, [world.sign(ALICE, Transfer(BOB.account, 7))])
    view = StateView(world.store)
    with pytest.raises(LedgerFault):
        view.expect(account_key(bytes(32)), Account)
    view.write(SUPPLY_KEY, Account(0, 0))
    with pytest.raises(LedgerFault):
        view.read(SUPPLY_KEY, type(world))


def test_a_view_keeps_or_drops_together():
    """TXN-8: what was written since the last `keep` goes with `drop`; the base is never changed."""
    world = World(make_parameters(), (ALICE,))
    before = dict(world.store.values)
    view = StateView(world.store)
    key = account_key(BOB.account)
    view.write(key, Account(1, 0))
    view.drop()
    assert view.read(key, Account) is None
    view.write(key, Account(2, 0))
    view.keep()
    view.write(key, None)
    assert view.read(key, Account) is None
    view.drop()
    assert view.read(key, Account) == Account(2, 0)
    assert view.encode_changes() == {key: encode(Account(2, 0))}
    assert world.store.values == before
