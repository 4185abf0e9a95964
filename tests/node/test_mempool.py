"""What waits for a block: once, in order, within bounds."""

import threading

import pytest

from assay.errors import InvalidTransaction
from assay.node.mempool import AlreadyWaiting, Mempool, MempoolFull, MempoolLimits, NonceTooFar
from assay.protocol.blocks import Block
from assay.protocol.contracts.account_records import Transfer
from assay.protocol.transactions import OpenedTransaction, Transaction

BODY = Transfer(b"t" * 32, 1)


class Ledger:
    """Stands for the application: nonces, and a check that reads `account:nonce:text`."""

    def __init__(self):
        self.nonces = {}

    def check(self, data):
        account, nonce, _ = data.split(b":")
        if account == b"bad":
            raise InvalidTransaction("refused")
        opened = OpenedTransaction(b"id of " + data, Transaction(0, account, int(nonce), 1, BODY))
        return opened, self.get_nonce(account)

    def get_nonce(self, account):
        return self.nonces.get(account, 0)


@pytest.fixture
def ledger():
    """A ledger without accounts."""
    return Ledger()


def make_pool(ledger, **limits):
    """Return a pool on a ledger."""
    return Mempool(ledger.check, ledger.get_nonce, MempoolLimits(**limits))


def settle(pool, ledger, *transactions):
    """Let a block with these be committed."""
    for data in transactions:
        account, nonce, _ = data.split(b":")
        ledger.nonces[account] = int(nonce) + 1
    pool.settle(Block(0, None, transactions, b""))


def test_transactions_come_by_arrival_and_each_account_by_nonce(ledger):
    """Accounts in the order of their first arrival; one account's transactions by nonce, up to the first gap."""
    pool = make_pool(ledger)
    for data in (b"a:1:x", b"b:0:x", b"a:0:x", b"a:3:x", b"c:2:x"):
        pool.add(data)
    assert list(pool.select()) == [b"a:0:x", b"a:1:x", b"b:0:x", b"c:2:x"]
    assert len(pool) == 5
    settle(pool, ledger, b"a:0:x", b"a:1:x", b"b:0:x")
    pool.add(b"a:2:x")
    assert list(pool.select()) == [b"a:2:x", b"a:3:x", b"c:2:x"]


def test_duplicates_and_second_thoughts_are_refused(ledger):
    """The same transaction, and another one with a taken nonce, are refused; after its block it is stale."""
    pool = make_pool(ledger)
    pool.add(b"a:0:x")
    assert pool.is_waiting(b"id of a:0:x")
    for data in (b"a:0:x", b"a:0:other"):
        with pytest.raises(AlreadyWaiting):
            pool.add(data)
    settle(pool, ledger, b"a:0:x")
    assert len(pool) == 0
    with pytest.raises(NonceTooFar):
        pool.add(b"a:0:x")


def test_what_a_block_made_stale_is_forgotten(ledger):
    """If a block holds another transaction with the nonce, the waiting one is no candidate, and goes with the next."""
    pool = make_pool(ledger)
    for data in (b"a:0:x", b"a:1:x", b"a:2:x"):
        pool.add(data)
    settle(pool, ledger, b"a:0:x")
    settle(pool, ledger, b"a:1:other")
    assert list(pool.select()) == [b"a:2:x"]
    settle(pool, ledger, b"a:2:x")
    assert len(pool) == 0


def test_what_waits_too_long_is_forgotten(ledger):
    """A gap that is never filled is given up after the patience, and its room is free again."""
    pool = make_pool(ledger, patience=3, per_account=5)
    pool.add(b"a:4:x")
    for _ in range(2):
        settle(pool, ledger)
        assert len(pool) == 1
    settle(pool, ledger)
    assert len(pool) == 0
    pool.add(b"a:4:x")


def test_bounds_hold_for_all_and_for_each_account(ledger):
    """Number, bytes, transactions of one account and distance of nonces are bounded; the check's own refusal passes."""
    pool = make_pool(ledger, transactions=4, per_account=2)
    pool.add(b"a:0:x")
    with pytest.raises(NonceTooFar):
        pool.add(b"a:2:x")
    pool.add(b"a:1:x")
    ledger.nonces[b"a"] = 1
    with pytest.raises(MempoolFull):
        pool.add(b"a:2:x")
    pool.add(b"b:0:x")
    pool.add(b"c:0:x")
    with pytest.raises(MempoolFull):
        pool.add(b"d:0:x")
    small = make_pool(ledger, total_bytes=10)
    small.add(b"a:1:x")
    with pytest.raises(MempoolFull):
        small.add(b"b:0:xxx")
    with pytest.raises(InvalidTransaction):
        make_pool(ledger).add(b"bad:0:x")


def test_threads_lose_and_double_nothing(ledger):
    """Four threads add the same thousand while blocks are settled: each stands in exactly one block."""
    pool, settled, stop = make_pool(ledger), [], threading.Event()
    everything = [b"%d:%d:x" % (account, nonce) for account in range(100) for nonce in range(10)]

    def add_all():
        for data in everything:
            try:
                pool.add(data)
            except InvalidTransaction:
                continue

    def make_blocks():
        while not stop.is_set() or len(pool):
            block = tuple(pool.select())[:37]
            settle(pool, ledger, *block)
            settled.extend(block)

    maker = threading.Thread(target=make_blocks)
    adders = [threading.Thread(target=add_all) for _ in range(4)]
    for thread in (maker, *adders):
        thread.start()
    for thread in adders:
        thread.join()
    stop.set()
    maker.join()
    assert len(settled) == len(set(settled))
    assert set(settled) <= set(everything)
    assert len(settled) >= 900
