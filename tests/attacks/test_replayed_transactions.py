"""A signed transaction is used again: on the same ledger, on another one, in another domain."""

from assay.protocol.contracts.account_records import Transfer
from assay.protocol.contracts.accounts import account_key
from assay.protocol.encoding import encode
from assay.protocol.hashing import tag_bytes
from assay.protocol.signatures import sign
from assay.protocol.tags import RECORDER_SIGNATURE, SOLO_SEAL
from assay.protocol.transactions import SignedTransaction, Transaction
from experiments.simulation.world import World, make_actor, make_parameters
from tests.ledgers import execute, find_moved

ALICE, BOB = make_actor("alice"), make_actor("bob")
PAYMENT = Transfer(BOB.account, 1000)


def test_on_the_same_ledger():
    """The nonce is used up: the second time nothing is charged and nothing moves."""
    world = World(make_parameters(), (ALICE, BOB))
    data = world.sign(ALICE, PAYMENT)
    first = execute(world, [data])
    assert first.results[0].code == ""
    assert account_key(BOB.account) in find_moved(world, first)
    world.engine.submit(data)
    world.make_block()
    again = execute(world, [data])
    assert (again.results[0].code, again.results[0].charged) == ("account.nonce", False)
    assert find_moved(world, again) == set()


def test_on_another_ledger():
    """The id holds the chain id: the same bytes have no valid signature elsewhere."""
    here, there = (World(make_parameters(), (ALICE, BOB), name=name) for name in ("here", "there"))
    data = here.sign(ALICE, PAYMENT)
    assert execute(here, [data]).results[0].code == ""
    assert execute(there, [data]).results[0].code == "transaction.signature"


def test_in_another_domain():
    """A signature over the same bytes as a seal or as a recorder is none as a transaction."""
    world = World(make_parameters(), (ALICE, BOB))
    unsigned = encode(Transaction(0, ALICE.account, 0, 1, PAYMENT))
    for message in (
        unsigned,
        tag_bytes(SOLO_SEAL) + unsigned,
        tag_bytes(RECORDER_SIGNATURE) + world.chain_id + unsigned,
    ):
        forged = encode(SignedTransaction(unsigned, sign(ALICE.seed, message)))
        assert execute(world, [forged]).results[0].code == "transaction.signature"
