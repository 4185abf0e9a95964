"""Every ledger store does the same: one suite, run by the one in memory and the one in SQLite."""

import random

import pytest

from assay.node.application import LedgerApplication
from assay.node.chain_store import ChainStore
from assay.node.memory_store import MemoryStore
from assay.protocol.contracts.account_records import Transfer
from assay.protocol.contracts.accounts import account_key
from assay.protocol.encoding import encode
from assay.protocol.ledger_proofs import hash_key, hash_value, verify_state_proof
from assay.protocol.ledger_tree import PlainLedgerTree
from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import judge, open_world, submit
from experiments.simulation.world import World, make_actor, make_parameters
from tests.protocol.memory_leaves import MemoryLeaves

KINDS = ("memory", "sqlite")


@pytest.fixture(params=KINDS)
def store(request, tmp_path):
    """An empty store."""
    if request.param == "memory":
        yield MemoryStore()
    else:
        with ChainStore(tmp_path / "chain") as made:
            yield made


@pytest.fixture(scope="module")
def judged():
    """A ledger in memory on which a run with a false interval was judged, with everything that this touches."""
    world, submitter, crew = open_world(9, name="conformance")
    run = pretend(world, submitter, false=(7,))
    assert submit(world, submitter, run, sample=8) == ""
    assert judge(world, run, crew) == "rejected"
    return world


def replay(world, store):
    """Execute every block of a world over another store; return the application."""
    application = LedgerApplication(store)
    application.init_chain(world.genesis)
    for block in world.engine.blocks:
        application.process_proposal(block)
        application.commit(block)
    return application


def test_an_empty_store(store):
    """Before `create` there is nothing: no genesis, no header, no leaf."""
    assert store.load_genesis() is None
    assert store.load_header() is None
    assert store.count_leaves() == 0
    assert [list(leaves) for leaves in store.get_leaves(1, [0, 1])] == [[], []]


def test_a_whole_life_gives_the_same_state(store, judged):
    """Every block of a judged submission ends in the same root and the same values, whatever keeps them."""
    application = replay(judged, store)
    assert application.info() == judged.application.info()
    assert store.load_genesis() == encode(judged.genesis)
    assert store.load_header() == judged.engine.blocks[-1].header
    assert store.count_leaves() == len(judged.store.values)
    assert all(store.get(key) == value for key, value in judged.store.values.items())
    assert store.get(account_key(bytes(32))) is None
    keys = [account_key(bytes(32)), *judged.store.values, account_key(b"\xff" * 32)]
    for wanted in (keys, keys * 40, keys[::-1], []):
        assert store.get_many(wanted) == [judged.store.values.get(key) for key in wanted]


def test_leaves_by_prefix(store, judged):
    """For any depth and prefixes, the leaves are those below the prefix, sorted by path."""
    replay(judged, store)
    oracle = MemoryLeaves({hash_key(key): hash_value(value) for key, value in judged.store.values.items()})
    chance = random.Random(1)
    for depth in (0, 1, 3, 8, 13, 200, 256):
        prefixes = sorted({chance.getrandbits(depth) for _ in range(9)})
        some = [int.from_bytes(path, "big") >> (256 - depth) for path in list(oracle.leaves)[:5]]
        for wanted in (prefixes, sorted({*prefixes, *some})):
            found = [[tuple(leaf) for leaf in leaves] for leaves in store.get_leaves(depth, wanted)]
            assert found == list(oracle.get_leaves(depth, wanted))


def test_proofs_hold(store, judged):
    """Any value, and any absence, is proven under the root of the last header."""
    application = replay(judged, store)
    root = judged.engine.blocks[-1].header.state_root
    keys = [*judged.store.values, *(account_key(bytes([i]) * 32) for i in range(20))]
    for key in keys:
        answer = application.query(key, prove=True)
        assert answer.value == judged.store.values.get(key)
        verify_state_proof(root, int.from_bytes(key[:2], "little"), key[2:], answer.value, answer.proof)


def test_a_second_application_goes_on(store, judged):
    """Over the same store a new application stands at the last block, and makes the next one like the first."""
    replay(judged, store)
    again = LedgerApplication(store)
    assert again.info() == judged.application.info()
    assert PlainLedgerTree(store).root == judged.engine.blocks[-1].header.state_root


def test_what_was_deleted_is_gone(store):
    """A key whose record was deleted has no value and no leaf."""
    alice, bob = make_actor("alice"), make_actor("bob")
    world = World(make_parameters(snapshot_period=1, snapshot_age=1), (alice, bob))
    for amount in range(1, 4):
        world.do(alice, Transfer(bob.account, amount))
    world.pass_blocks(70)
    replay(world, store)
    assert store.count_leaves() == len(world.store.values)
    from assay.protocol.contracts.stakes import snapshot_key

    assert store.get(snapshot_key(1)) is None
    assert store.get(snapshot_key(world.height)) == world.store.values[snapshot_key(world.height)]
