"""Every engine makes blocks that any reader accepts: one suite, run by the one in memory and by `solo`."""

from hashlib import sha256

import pytest

from assay.consensus.engine import Engine
from assay.consensus.in_memory import MemoryEngine, make_solo_config
from assay.consensus.reveals import RevealChain
from assay.consensus.solo import SoloEngine
from assay.errors import AssayError, InvalidTransaction
from assay.node.application import LedgerApplication
from assay.node.memory_store import MemoryStore
from assay.node.mempool import Mempool
from assay.protocol.blocks import Endowment, Genesis, compute_chain_id, get_position, get_start, verify_header
from assay.protocol.contracts.account_records import Account, Transfer
from assay.protocol.contracts.accounts import account_key
from assay.protocol.encoding import decode
from assay.protocol.seals.solo import verify_seal
from assay.protocol.transactions import Transaction, sign_transaction
from experiments.simulation.world import make_actor, make_parameters

ALICE, BOB, OPERATOR = make_actor("alice"), make_actor("bob"), make_actor("operator")
BEACON = sha256(b"beacon").digest()
LENGTH = 20


class Bench:
    """One engine over an application in memory, and a way to make it make a block."""

    def __init__(self, kind):
        self.genesis = Genesis(
            version=0,
            name="conformance",
            time=0,
            engine=make_solo_config(OPERATOR.seed, BEACON, LENGTH),
            parameters=make_parameters(),
            balances=tuple(Endowment(account, 1000) for account in sorted((ALICE.account, BOB.account))),
        )
        self.store = MemoryStore()
        self.application = LedgerApplication(self.store)
        self.application.init_chain(self.genesis)
        self.engine = self._make_memory() if kind == "memory" else self._make_solo()

    def _make_memory(self):
        return MemoryEngine(self.application, OPERATOR.seed, BEACON, LENGTH)

    def _make_solo(self):
        pool = Mempool(self.application.open_checked, self.get_nonce)
        blocks = self.store.blocks

        class Blocks:
            @staticmethod
            def get_block(height):
                return blocks[height - 1] if 1 <= height <= len(blocks) else None

        reveals = RevealChain.build(BEACON, LENGTH)
        return SoloEngine(
            self.application, self.genesis, Blocks(), pool, operator_seed=OPERATOR.seed, reveals=reveals, interval_ms=0
        )

    def get_nonce(self, account):
        value = self.store.get(account_key(account))
        return 0 if value is None else decode(value, Account).nonce

    def sign(self, actor, body, nonce=0):
        transaction = Transaction(0, actor.account, nonce, 1, body)
        return sign_transaction(actor.seed, compute_chain_id(self.genesis), transaction)


@pytest.fixture(params=["memory", "solo"])
def bench(request):
    """An engine that has made nothing yet."""
    return Bench(request.param)


def test_the_interface_is_whole(bench):
    """Every method of `Engine` is there."""
    names = [name for name in vars(Engine) if not name.startswith("_")]
    assert names
    assert all(callable(getattr(bench.engine, name)) for name in names)


def test_what_is_submitted_stands_in_the_next_block(bench):
    """BLK-6: a transaction is in the next block, is carried out, and has the id that `submit` returned."""
    data = bench.sign(ALICE, Transfer(BOB.account, 7))
    identity = bench.engine.submit(data)
    bench.engine.make_block()
    assert bench.engine.get_block(1).transactions == (data,)
    assert bench.store.finalized[0].results[0].transaction == identity
    assert decode(bench.store.get(account_key(BOB.account)), Account).balance == 1007


def test_any_reader_accepts_the_blocks(bench):
    """BLK-5, BLK-10, BLK-11, BLK-12: headers follow each other, reveals and beacons hold, the operator sealed."""
    for nonce in range(3):
        bench.engine.submit(bench.sign(ALICE, Transfer(BOB.account, 7), nonce))
        bench.engine.make_block()
    position = get_start(bench.genesis)
    for height in (1, 2, 3):
        block = bench.engine.get_block(height)
        verify_header(position, block.header)
        verify_seal(bench.genesis, block.header, bench.engine.get_commit_proof(height))
        position = get_position(block.header)
    assert position == bench.application.info().position


def test_engines_make_the_same_state():
    """BLK-8: the same transactions, genesis and reveals give one state root, whichever engine ordered them."""
    roots = set()
    for kind in ("memory", "solo"):
        bench = Bench(kind)
        for nonce in range(3):
            bench.engine.submit(bench.sign(ALICE, Transfer(BOB.account, nonce + 1), nonce))
            bench.engine.make_block()
        roots.add(bench.application.info().state_root)
        assert bench.engine.get_validators() == (OPERATOR.account,)
    assert len(roots) == 1


def test_nonsense_is_refused_at_the_door(bench):
    """TXN-1, TXN-5: malformed or wrongly signed bytes never wait for a block."""
    data = bench.sign(ALICE, Transfer(BOB.account, 7))
    for broken in (b"", b"nonsense", data[:-1] + bytes([data[-1] ^ 1])):
        with pytest.raises(InvalidTransaction):
            bench.engine.submit(broken)
    bench.engine.make_block()
    assert bench.engine.get_block(1).transactions == ()


def test_there_is_no_block_where_there_is_none(bench):
    """Heights outside the chain give None, and their seal a typed refusal."""
    bench.engine.make_block()
    for height in (0, 2):
        assert bench.engine.get_block(height) is None
        with pytest.raises(AssayError):
            bench.engine.get_commit_proof(height)


def test_the_fault_model_is_said(bench):
    """Both engines say that their operator decides everything."""
    capabilities = bench.engine.get_capabilities()
    assert "operator" in capabilities.fault_model
    assert capabilities.final
    assert not capabilities.many_machines
