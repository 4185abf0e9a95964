"""One suite for every engine: what it takes, orders, seals and shows is the same."""

import pytest

from assay.consensus.in_memory import MemoryEngine
from assay.consensus.reveals import RevealChain
from assay.consensus.solo import SoloEngine
from assay.errors import InvalidTransaction, UsageError
from assay.node.application import LedgerApplication
from assay.node.chain_store import ChainStore
from assay.node.memory_store import MemoryStore
from assay.node.mempool import Mempool
from assay.protocol.beacon import build_chain
from assay.protocol.blocks import (
    Endowment,
    Genesis,
    SoloConfig,
    compute_chain_id,
    get_position,
    get_start,
    verify_header,
)
from assay.protocol.contracts.account_records import Account, Transfer
from assay.protocol.contracts.accounts import account_key
from assay.protocol.encoding import decode
from assay.protocol.params import DEFAULT_PARAMETERS
from assay.protocol.seals.solo import verify_seal
from assay.protocol.signatures import get_public_key
from assay.protocol.transactions import Transaction, sign_transaction

OPERATOR, ALICE, BOB = b"o" * 32, b"a" * 32, b"b" * 32
BEACON, LENGTH = b"r" * 32, 50
BOB_KEY = get_public_key(BOB)


def make_genesis():
    """Return a genesis in which Alice has points."""
    *_, anchor = build_chain(BEACON, LENGTH)
    endowment = Endowment(get_public_key(ALICE), 1000)
    return Genesis(
        0, "test", 1_000, SoloConfig(get_public_key(OPERATOR), anchor, LENGTH), DEFAULT_PARAMETERS, (endowment,)
    )


class StoredBlocks:
    """Reads blocks back from the store in memory."""

    def __init__(self, store):
        self._store = store

    def get_block(self, height):
        return self._store.blocks[height - 1] if 1 <= height <= len(self._store.blocks) else None


def make_memory(folder):
    """Return the engine in memory, its application, and how it makes a block."""
    application = LedgerApplication(MemoryStore())
    application.init_chain(make_genesis())
    engine = MemoryEngine(application, OPERATOR, BEACON, LENGTH)
    return engine, application, engine.make_block


def make_solo(folder, *, on_disk):
    """Return the engine solo over a store in memory or in SQLite."""
    store = ChainStore(folder / "chain") if on_disk else MemoryStore()
    application = LedgerApplication(store)
    application.init_chain(make_genesis())

    def get_nonce(account):
        value = application.query(account_key(account)).value
        return 0 if value is None else decode(value, Account).nonce

    if on_disk:
        from assay.node.views import ChainViews

        blocks = ChainViews(folder / "chain")
    else:
        blocks = StoredBlocks(store)
    engine = SoloEngine(
        application,
        make_genesis(),
        blocks,
        Mempool(application.open_checked, get_nonce),
        operator_seed=OPERATOR,
        reveals=RevealChain.build(BEACON, LENGTH),
        clock=lambda: 5_000,
    )
    return engine, application, engine.make_block


ENGINES = {
    "memory": make_memory,
    "solo": lambda folder: make_solo(folder, on_disk=False),
    "solo on SQLite": lambda folder: make_solo(folder, on_disk=True),
}


@pytest.fixture(params=sorted(ENGINES))
def parts(request, tmp_path):
    """An engine that was not started, its application, and a function that makes a block."""
    return ENGINES[request.param](tmp_path)


def transfer(nonce, amount=10, seed=ALICE):
    """Return a signed transfer to Bob."""
    body = Transfer(BOB_KEY, amount)
    return sign_transaction(
        seed, compute_chain_id(make_genesis()), Transaction(0, get_public_key(seed), nonce, 1, body)
    )


def test_submitted_transactions_stand_in_the_next_block(parts):
    """What was submitted is carried out in order, and its effect is in the committed state."""
    engine, application, make_block = parts
    ids = [engine.submit(transfer(nonce)) for nonce in range(3)]
    assert len(set(ids)) == 3
    make_block()
    block = engine.get_block(1)
    assert block.transactions == tuple(transfer(nonce) for nonce in range(3))
    assert decode(application.query(account_key(BOB_KEY)).value, Account).balance == 30
    make_block()
    assert engine.get_block(2).transactions == ()


def test_blocks_follow_one_another_and_are_sealed(parts):
    """Every header follows the one before, from the genesis on, by all rules; every seal is the operator's."""
    engine, _, make_block = parts
    genesis, position = make_genesis(), get_start(make_genesis())
    for nonce in range(4):
        engine.submit(transfer(nonce))
        make_block()
        block = engine.get_block(nonce + 1)
        verify_header(position, block.header)
        verify_seal(genesis, block.header, block.seal)
        verify_seal(genesis, block.header, engine.get_commit_proof(nonce + 1))
        position = get_position(block.header)
    assert engine.get_validators() == (genesis.engine.operator,)


def test_a_replica_accepts_the_blocks(parts):
    """An application elsewhere executes each block to the same header: it depends on nothing but block and genesis."""
    engine, _, make_block = parts
    for nonce in range(3):
        engine.submit(transfer(nonce, amount=nonce * 900 + 1))
        make_block()
    replica = LedgerApplication(MemoryStore())
    replica.init_chain(make_genesis())
    for height in (1, 2, 3):
        block = engine.get_block(height)
        assert replica.process_proposal(block).header == block.header
        replica.commit(block)


def test_refused_transactions_never_wait(parts):
    """Garbage, a wrong signature, a used nonce and a poor account are refused on submission; no block has them."""
    engine, _, make_block = parts
    engine.submit(transfer(0))
    make_block()
    altered = bytearray(transfer(1))
    altered[-1] ^= 1
    for data in (b"", b"garbage", bytes(altered), transfer(0), transfer(0, seed=b"p" * 32)):
        with pytest.raises(InvalidTransaction):
            engine.submit(data)
    make_block()
    assert engine.get_block(2).transactions == ()


def test_missing_blocks_are_said_to_be_missing(parts):
    """Heights below 1 and above the last have no block and no proof."""
    engine, _, make_block = parts
    make_block()
    for height in (-1, 0, 2, 10**9):
        assert engine.get_block(height) is None
        with pytest.raises(UsageError):
            engine.get_commit_proof(height)


def test_starting_and_stopping_commits_nothing_by_itself(parts):
    """After `stop` the chain stands still."""
    engine, application, _ = parts
    engine.start()
    engine.stop()
    assert application.info().position.height == 0


def test_capabilities_say_who_must_be_honest(parts):
    """Each engine names itself and its fault model, as certificates print them."""
    said = parts[0].get_capabilities()
    assert said.name
    assert "operator" in said.fault_model
    assert said.final
    assert not said.many_machines
