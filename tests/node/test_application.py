import threading

import msgspec
import pytest

from assay.consensus.engine import Application, Proposal
from assay.errors import InvalidBlock, MalformedEvidence
from assay.kernels.ledger_tree import make_ledger_tree
from assay.node import application as application_module
from assay.node.application import ApplicationNotReady, LedgerApplication
from assay.node.memory_store import MemoryStore
from assay.protocol.beacon import RevealRefused
from assay.protocol.blocks import BlockTooLarge, WrongParent, WrongRoot
from assay.protocol.contracts.account_records import Account, Transfer
from assay.protocol.contracts.accounts import FeeTooLow, Unaffordable, WrongNonce, account_key
from assay.protocol.ledger_proofs import verify_state_proof
from assay.protocol.ledger_tree import PlainLedgerTree
from assay.protocol.state_view import LedgerFault
from assay.protocol.transactions import MalformedTransaction, WrongSignature
from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import judge, open_world, submit
from experiments.simulation.world import WEALTH, World, make_actor, make_parameters
from tests.protocol import state_oracle

ALICE, BOB = make_actor("alice"), make_actor("bob")
replace = msgspec.structs.replace


@pytest.fixture
def world():
    """A ledger with one block."""
    made = World(make_parameters(), (ALICE, BOB))
    made.do(ALICE, Transfer(BOB.account, 5))
    return made


def test_it_is_an_application(world):
    """Every method of the interface is there."""
    names = [name for name in vars(Application) if not name.startswith("_")]
    assert names
    assert all(callable(getattr(world.application, name)) for name in names)


def test_a_replica_gets_the_same_state(world):
    """BLK-8: a second application that executes the blocks of the first has the same roots, results and values."""
    main, submitter, crew = open_world(7)
    run = pretend(main, submitter, false=(7,))
    submit(main, submitter, run)
    judge(main, run, crew)
    store = MemoryStore()
    replica = LedgerApplication(store)
    replica.init_chain(main.genesis)
    for block, finalized in zip(main.engine.blocks, main.engine.finalized, strict=True):
        assert replica.process_proposal(block) == finalized
        replica.commit(block)
    assert store.values == main.store.values
    assert replica.info() == main.application.info()


def test_the_root_is_that_of_the_oracle(world):
    """BLK-8, LST-3: the header's root is the slow tree's root over all values."""
    for _ in range(12):
        world.make_block()
    leaves = {state_oracle.sha256(k).digest(): state_oracle.sha256(v).digest() for k, v in world.store.values.items()}
    assert state_oracle.hash_tree(leaves) == world.engine.blocks[-1].header.state_root


def test_fees_come_before_deadlines(world):
    """BLK-8: the fees of a block are the proposer's at its end."""
    for _ in range(3):
        world.send(ALICE, Transfer(BOB.account, 5))
    world.make_block()
    assert world.get_balance(world.operator) == 4


def test_finalizing_persists_nothing(world):
    """A block that is finalized and never committed leaves everything as it was; the next one may be another."""
    before = (dict(world.store.values), world.application.info())
    reveals = world.engine._reveals
    proposal = Proposal(2, 9999, world.operator.account, reveals[2], (world.sign(ALICE, Transfer(BOB.account, 5)),))
    finalized = world.application.finalize_block(proposal)
    assert finalized.header.state_root != before[1].state_root
    assert (world.store.values, world.application.info()) == before
    world.make_block()
    assert world.height == 2


def test_refused_proposals(world):
    """BLK-5, BLK-7, BLK-10: another height, an earlier date, a foreign reveal, too many transactions."""
    reveals = world.engine._reveals
    good = (2, 9999, world.operator.account, reveals[2], ())
    for changes, refusal in (
        ({0: 3}, WrongParent),
        ({1: 0}, WrongParent),
        ({3: reveals[3]}, RevealRefused),
        ({4: (b"x",) * 16385}, BlockTooLarge),
    ):
        fields = [changes.get(i, value) for i, value in enumerate(good)]
        with pytest.raises(refusal):
            world.application.finalize_block(Proposal(*fields))


@pytest.mark.parametrize("field", ["state_root", "results", "transactions"])
def test_a_header_that_lies(world, field):
    """BLK-6, BLK-8: whoever executes the block sees each wrong root, and stays where it was."""
    other = World(make_parameters(), (ALICE, BOB))
    block = world.engine.blocks[0]
    foreign = other.application.info().state_root
    lie = foreign if field == "state_root" else replace(getattr(block.header, field), size=2)
    forged = replace(block, header=replace(block.header, **{field: lie}))
    with pytest.raises(WrongRoot):
        other.application.process_proposal(forged)
    with pytest.raises(ApplicationNotReady):
        other.application.commit(forged)
    assert other.application.info().position.height == 0
    other.application.process_proposal(block)
    other.application.commit(block)
    assert other.application.info() == world.application.info()


def test_other_transactions_under_the_same_header(world):
    """BLK-6: swapped transactions change the root of the list."""
    other = World(make_parameters(), (ALICE, BOB))
    block = world.engine.blocks[0]
    with pytest.raises(InvalidBlock):
        other.application.process_proposal(replace(block, transactions=()))
    other.application.process_proposal(block)
    with pytest.raises(InvalidBlock):
        other.application.commit(replace(block, transactions=(b"x",)))


def test_check_tx_refuses_what_cannot_stand_in_a_block(world):
    """ACC-3, ACC-4, TXN-5: used nonces, bad fees, foreign signatures, nonsense; a later nonce may wait."""
    check = world.application.check_tx
    body = Transfer(BOB.account, 5)
    for data, refusal in (
        (world.sign(ALICE, body, nonce=0), WrongNonce),
        (world.sign(ALICE, body, fee=0), FeeTooLow),
        (world.sign(ALICE, body, fee=WEALTH), Unaffordable),
        (world.sign(ALICE, body)[:-1] + b"\x00", WrongSignature),
        (b"nonsense", MalformedTransaction),
    ):
        with pytest.raises(refusal):
            check(data)
    assert check(world.sign(ALICE, body, nonce=9))


def test_a_proposal_has_what_can_be_charged(world):
    """ACC-3, BLK-7: gaps, repetitions and nonsense are left out; the order of the others stays."""
    body = Transfer(BOB.account, 5)
    first, second, gap = (world.sign(ALICE, body, nonce=nonce) for nonce in (1, 2, 5))
    bob = world.sign(BOB, Transfer(ALICE.account, 5))
    chosen = world.application.prepare_proposal([gap, first, b"nonsense", bob, first, second])
    assert chosen == (first, bob, second)


def test_a_proposal_fits_the_limits():
    """BLK-7: at most as many transactions, and bytes of them, as the parameters say."""
    body = Transfer(BOB.account, 5)
    for changes, expected in (({"max_block_transactions": 2}, 2), ({"max_block_bytes": 1024}, 6)):
        world = World(make_parameters(max_transaction_bytes=1024, **changes), (ALICE, BOB))
        waiting = [world.sign(ALICE, body, nonce=nonce) for nonce in range(9)]
        chosen = world.application.prepare_proposal(waiting)
        assert chosen == tuple(waiting[:expected])


def test_queries_are_proven(world):
    """LST-5, LST-6: a value and an absence hold under the root of the last header."""
    root = world.engine.blocks[-1].header.state_root
    for account in (ALICE.account, bytes(32)):
        key = account_key(account)
        answer = world.application.query(key, prove=True)
        assert answer.height == 1
        verify_state_proof(root, int.from_bytes(key[:2], "little"), key[2:], answer.value, answer.proof)
    assert world.application.query(account_key(ALICE.account)).proof is None
    assert world.application.query(account_key(bytes(32))).value is None


def test_queries_while_blocks_are_made(world):
    """A query sees one block whole, never half of the next: its proof always fits the header of its height."""
    failures = []
    done = threading.Event()

    def ask():
        while not done.is_set():
            answer = world.application.query(account_key(ALICE.account), prove=True)
            header = world.store.blocks[answer.height - 1].header
            try:
                verify_state_proof(header.state_root, 0x2A, ALICE.account, answer.value, answer.proof)
            except Exception as error:  # noqa: BLE001 - reported by the test's own thread
                failures.append(error)

    asker = threading.Thread(target=ask)
    asker.start()
    for _ in range(60):
        world.do(ALICE, Transfer(BOB.account, 1))
    done.set()
    asker.join()
    assert failures == []


def test_a_restart_goes_on(world):
    """An application over the same store stands where the last one stood."""
    again = LedgerApplication(world.store)
    assert again.info() == world.application.info()
    assert again.genesis == world.genesis


def test_a_changed_state_is_seen_at_the_start(world):
    """LST-4: a value that was changed behind the application's back contradicts the last header."""
    path = state_oracle.sha256(account_key(ALICE.account)).digest()
    world.store._leaves[path] = bytes(32)
    with pytest.raises(LedgerFault):
        LedgerApplication(world.store)


def test_there_is_one_genesis(world):
    """An application without a ledger says so; one with a ledger takes no second genesis, and no broken one."""
    empty = LedgerApplication(MemoryStore())
    with pytest.raises(ApplicationNotReady):
        empty.info()
    with pytest.raises(ApplicationNotReady):
        _ = empty.genesis
    with pytest.raises(MalformedEvidence):
        empty.init_chain(replace(world.genesis, name=""))
    with pytest.raises(ApplicationNotReady):
        world.application.init_chain(world.genesis)


def test_signatures_are_checked_once(world, monkeypatch):
    """A transaction that `check_tx` accepted is not opened again for its block; the memory of them is bounded."""
    monkeypatch.setattr(application_module, "MAX_OPENED", 2)
    data = [world.sign(ALICE, Transfer(BOB.account, 5), nonce=nonce) for nonce in (1, 2, 3)]
    for each in data:
        world.application.check_tx(each)
    assert list(world.application._opened) == data[1:]
    monkeypatch.setattr(application_module, "open_or_refuse", None)
    proposal = Proposal(2, 9999, world.operator.account, world.engine._reveals[2], tuple(data[1:]))
    assert len(world.application.finalize_block(proposal).results) == 2


def test_a_query_while_a_block_is_committed(world):
    """Whoever must not wait is told at once; everybody else gets the state after the commit."""
    key = account_key(BOB.account)
    seen = []
    commit = world.store.commit

    def commit_slowly(*arguments):
        seen.append(world.application.try_query(key, prove=True))
        commit(*arguments)

    world.store.commit = commit_slowly
    before = world.application.try_query(key, prove=True)
    assert before == world.application.query(key, prove=True)
    world.do(ALICE, Transfer(BOB.account, 5))
    assert seen == [None]
    after = world.application.try_query(key, prove=True)
    assert (after.height, after.value != before.value) == (before.height + 1, True)


@pytest.mark.parametrize("make_tree", [make_ledger_tree, PlainLedgerTree])
def test_a_ledger_that_grows(monkeypatch, make_tree):
    """A ledger that grows far beyond its first size keeps the right root, with the native tree and without it."""
    monkeypatch.setattr(application_module, "make_ledger_tree", make_tree)
    world = World(make_parameters(), (ALICE, BOB))
    world.make_block()
    for start in range(0, 90, 30):
        for number in range(start, start + 30):
            world.send(ALICE, Transfer(bytes([number]) * 32, 5))
        world.make_block()
    assert LedgerApplication(world.store).info() == world.application.info()
    assert world.expect(account_key(bytes([7]) * 32), Account).balance == 5
