"""The engine of one operator: its thread, its clock, its end."""

import threading
import time

import pytest

from assay.consensus.reveals import RevealChain, RevealsExhausted
from assay.consensus.solo import EngineHalted, OperatorRefused, SoloEngine
from assay.errors import StorageError
from assay.node.application import LedgerApplication
from assay.node.memory_store import MemoryStore
from assay.node.mempool import Mempool
from assay.protocol.contracts.account_records import Account
from assay.protocol.contracts.accounts import account_key
from assay.protocol.encoding import decode
from tests.conformance.test_engines import BEACON, LENGTH, OPERATOR, StoredBlocks, make_genesis, transfer


class Clock:
    """Shows what it is told."""

    def __init__(self, *times):
        self.times = list(times)

    def __call__(self):
        return self.times.pop(0) if len(self.times) > 1 else self.times[0]


class FailingStore(MemoryStore):
    """Cannot commit the block of one height."""

    fail_at = 0

    def commit(self, block, finalized, changes):
        if block.header.height == self.fail_at:
            raise StorageError("the disk is full")
        super().commit(block, finalized, changes)


def find_nonce(application, account):
    """Return the nonce that the next transaction of an account must have."""
    value = application.query(account_key(account)).value
    return 0 if value is None else decode(value, Account).nonce


def make_engine(store=None, **settings):
    """Return an engine on a new ledger, and its store."""
    store = MemoryStore() if store is None else store
    application = LedgerApplication(store)
    application.init_chain(make_genesis())
    settings = {"operator_seed": OPERATOR, "reveals": RevealChain.build(BEACON, LENGTH), **settings}
    pool = Mempool(application.open_checked, lambda account: find_nonce(application, account))
    return SoloEngine(application, make_genesis(), StoredBlocks(store), pool, **settings), store


def wait_until(is_so):
    """Wait for another thread."""
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_dates_of_blocks_never_fall_when_the_clock_jumps():
    """A clock that jumps back or far ahead moves no date back and stops no block."""
    engine, store = make_engine(clock=Clock(5_000, 9_000, 2_000, 0, 10**15, 6_000))
    for _ in range(6):
        engine.make_block()
    assert [block.header.time for block in store.blocks] == [5_000, 9_000, 9_000, 9_000, 10**15, 10**15]


def test_only_the_operator_of_the_genesis_can_start():
    """Another key, or another chain of reveals, is refused before any block."""
    for settings in (
        {"operator_seed": b"x" * 32},
        {"reveals": RevealChain.build(b"x" * 32, LENGTH)},
        {"reveals": RevealChain.build(BEACON, LENGTH - 1)},
    ):
        with pytest.raises(OperatorRefused):
            make_engine(**settings)


def test_on_demand_there_are_blocks_only_for_transactions():
    """At interval 0 the thread makes a block when something waits, and none otherwise."""
    committed = threading.Event()
    engine, store = make_engine(on_block=lambda *_: committed.set())
    engine.start()
    assert not committed.wait(0.05)
    engine.submit(transfer(0))
    assert committed.wait(30)
    engine.stop()
    assert [len(block.transactions) for block in store.blocks] == [1]


def test_whoever_submits_makes_the_block():
    """At interval 0 the block is durable when `submit` returns; before `start` nothing is made."""
    makers = []
    engine, store = make_engine(on_block=lambda *_: makers.append(threading.current_thread()))
    engine.submit(transfer(0))
    assert store.blocks == []
    engine.start()
    wait_until(lambda: len(store.blocks) == 1)  # what waited before
    engine.submit(transfer(1))
    assert [len(block.transactions) for block in store.blocks] == [1, 1]
    assert makers[1] is threading.current_thread()
    engine.stop()


def test_what_comes_while_a_block_is_made_is_in_the_next():
    """At interval 0, twenty threads at once: everything is committed, each once, and no block is empty."""
    engine, store = make_engine()
    engine.start()
    threads = [threading.Thread(target=engine.submit, args=(transfer(nonce),)) for nonce in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: sum(len(block.transactions) for block in store.blocks) == 20)
    engine.stop()
    assert all(block.transactions for block in store.blocks)


def test_what_no_block_can_take_makes_no_empty_blocks():
    """At interval 0 a transaction whose nonce is not the next waits; blocks go on with what comes."""
    engine, store = make_engine()
    engine.start()
    engine.submit(transfer(1))
    time.sleep(0.1)
    assert store.blocks == []
    engine.submit(transfer(0))
    assert [len(block.transactions) for block in store.blocks] == [2]
    engine.stop()


def test_at_an_interval_there_are_empty_blocks_too():
    """Deadlines are counted in blocks, so blocks come without transactions; after `stop` none comes any more."""
    third = threading.Event()
    engine, store = make_engine(interval_ms=5, on_block=lambda block, _: block.header.height == 3 and third.set())
    engine.start()
    assert third.wait(30)
    engine.stop()
    made = len(store.blocks)
    assert made >= 3
    with pytest.raises(EngineHalted):
        engine.submit(transfer(0))
    with pytest.raises(EngineHalted):
        engine.make_block()
    assert len(store.blocks) == made


def test_a_fault_of_the_disk_halts_the_engine():
    """After a commit that failed nothing more is taken or made, once is told why, and what was there stays."""
    told = []
    store = FailingStore()
    store.fail_at = 2
    engine, _ = make_engine(store, on_halt=told.append)
    engine.make_block()
    with pytest.raises(EngineHalted, match="no more blocks"):
        engine.make_block()
    for action in (engine.make_block, lambda: engine.submit(transfer(0))):
        with pytest.raises(EngineHalted) as caught:
            action()
        assert "the disk is full" in caught.value.actual
    assert [type(error) for error in told] == [StorageError]
    assert len(store.blocks) == 1


def test_ctrl_c_in_the_thread_that_makes_a_block_halts_the_engine():
    """Memory and disk may differ then; nothing more is made, and the interruption goes on."""
    told = []

    def interrupt(*_):
        raise KeyboardInterrupt

    engine, store = make_engine(on_block=interrupt, on_halt=told.append)
    with pytest.raises(KeyboardInterrupt):
        engine.make_block()
    with pytest.raises(EngineHalted):
        engine.make_block()
    assert (len(told), len(store.blocks)) == (1, 1)


def test_the_last_reveal_is_the_last_block():
    """When the chain of reveals has ended, the engine halts and says what to do."""
    engine, store = make_engine()
    for _ in range(LENGTH):
        engine.make_block()
    with pytest.raises(EngineHalted) as caught:
        engine.make_block()
    assert isinstance(caught.value.__cause__, RevealsExhausted)
    assert len(store.blocks) == LENGTH
