"""One node without its HTTP door: chain, application, pool, engine and blobs, wired together and stopped in order."""

from __future__ import annotations

import gc
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final, NamedTuple, TypeVar

from assay.consensus.engine import FinalizedBlock, QueryAnswer
from assay.consensus.solo import SoloEngine
from assay.errors import AssayError, UsageError
from assay.node.address import CHAIN
from assay.node.api.limits import Limits
from assay.node.api.metrics import Metrics
from assay.node.application import LedgerApplication
from assay.node.bundles import BundleLimits, Bundles
from assay.node.chain_store import ChainStore
from assay.node.founding import GENESIS, read_reveals
from assay.node.logs import log
from assay.node.mempool import Mempool, MempoolLimits
from assay.node.views import ChainViews, NothingCommitted
from assay.protocol.blocks import Block, Genesis, compute_chain_id
from assay.protocol.contracts.account_records import Account
from assay.protocol.contracts.accounts import account_key
from assay.protocol.contracts.submission_keys import status_key, submission_key
from assay.protocol.contracts.submission_records import Submission, SubmissionStatus
from assay.protocol.encoding import Record, decode, encode
from assay.protocol.ledger_proofs import StateProof
from assay.storage.anchors import read_genesis_file
from assay.storage.chain_reads import StoredHeader
from assay.storage.files import Files
from assay.storage.retained_blobs import RetainedBlobs

RecordT = TypeVar("RecordT", bound=Record)

BLOBS: Final = "blobs"


class NotFounded(UsageError):
    """The folder holds no ledger."""

    code: ClassVar[str] = "node.not-founded"


@dataclass(frozen=True)
class NodeSettings:
    """What the operator chooses for a node; none of it is part of the ledger.

    Attributes:
        folder: of the node, with the genesis in it.
        interval_ms: from one block to the next, in milliseconds; 0: on demand, and never an empty one.
        host: address to listen on; the loopback only, unless told otherwise.
        port: 0: any free one.
        limits: of the HTTP door.
        mempool: of what waits.
        bundles: of what is kept for others.
    """

    folder: Path
    interval_ms: int = 1000
    host: str = "127.0.0.1"
    port: int = 7373
    limits: Limits = field(default_factory=Limits)
    mempool: MempoolLimits = field(default_factory=MempoolLimits)
    bundles: BundleLimits = field(default_factory=BundleLimits)


class ProvenState(NamedTuple):
    """A value of the ledger state, or None, its proof, and the header under whose root the proof stands."""

    value: bytes | None
    proof: StateProof
    header: StoredHeader


class NodeCore:
    """A node, open until `close`; `start` lets it make blocks.

    Args:
        settings: the operator's.
        operator_seed: seed of the operator's key.

    Raises:
        NotFounded: the folder holds no ledger.
        FileTaken: another node has the folder.
        StorageError: the disk, or what it holds is damaged.
    """

    def __init__(self, settings: NodeSettings, operator_seed: bytes) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.genesis = _read_genesis(settings.folder)
        self.chain_id = compute_chain_id(self.genesis)
        self._started = time.monotonic()
        self.halt: BaseException | None = None
        self._on_halt = _do_nothing
        self._on_block = _do_nothing
        self._last: StoredHeader | None = None
        self.store = ChainStore(settings.folder / CHAIN)
        try:
            self.application = _open_application(self.store, self.genesis)
            self.views = ChainViews(settings.folder / CHAIN)
            self.pool = Mempool(self.application.open_checked, self._get_nonce, settings.mempool)
            self.engine = SoloEngine(
                self.application,
                self.genesis,
                self.views,
                self.pool,
                operator_seed=operator_seed,
                reveals=read_reveals(settings.folder),
                interval_ms=settings.interval_ms,
                on_block=self._note_block,
                on_halt=self._note_halt,
            )
            self.metrics.height.set_function(self.get_height)
            self.metrics.waiting.set_function(self.pool.__len__)
            bounds = settings.bundles
            blobs = RetainedBlobs(settings.folder / BLOBS, max_bytes=bounds.total, reserve=bounds.reserve)
            self.bundles = Bundles(blobs, self._find_submission, bounds)
        except BaseException:
            self.store.close()
            raise

    def start(self) -> None:
        """Make the first block if there is none, so that everything can be proven; then go on making blocks."""
        self.store.reserve_log()
        if self.get_height() == 0:
            self.engine.make_block()
        self.engine.start()
        log("node started", chain=self.chain_id.hex(), height=self.get_height(), folder=self.settings.folder)

    def close(self) -> None:
        """Finish the block in progress, then close everything."""
        self.engine.stop()
        self.bundles.blobs.close()
        self.views.close()
        self.store.close()
        log("node stopped", chain=self.chain_id.hex())

    def listen(self, on_block: Callable[[], None], on_halt: Callable[[], None]) -> None:
        """Call these, in the thread that made the block, after each block and when no more blocks can be made."""
        self._on_block, self._on_halt = on_block, on_halt

    @property
    def is_halted(self) -> bool:
        """Whether a fault keeps the engine from making blocks."""
        return self.halt is not None

    def get_height(self) -> int:
        """Return the height of the last block."""
        return self.application.info().position.height

    def get_uptime(self) -> int:
        """Return for how many seconds the node has been open."""
        return int(time.monotonic() - self._started)

    def submit(self, data: bytes) -> bytes:
        """Take a transaction for one of the next blocks; return its id.

        Raises:
            InvalidTransaction: the rules or the limits of what waits refuse it.
            EngineHalted: no more blocks are made.
        """
        try:
            return self.engine.submit(data)
        except AssayError as error:
            self.metrics.refused.labels(error.code).inc()
            raise

    def read_state(self, key: bytes) -> ProvenState:
        """Return a value of the ledger state at the last block, with its proof.

        Raises:
            NothingCommitted: there is no block yet.
        """
        return self._add_header(self.application.query(key, prove=True))

    def try_read_state(self, key: bytes) -> ProvenState | None:
        """Return the same at once, or None where a block is being committed."""
        found = self.application.try_query(key, prove=True)
        return None if found is None else self._add_header(found)

    def _add_header(self, found: QueryAnswer) -> ProvenState:
        header = self._last if self._last is not None and self._last.height == found.height else None
        if header is None:
            header = self.views.get_header(found.height)
        if header is None or found.proof is None:
            raise NothingCommitted("the ledger has no block yet", next_step="ask again in a moment")
        return ProvenState(found.value, found.proof, header)

    def read_record(self, key: bytes, kind: type[RecordT]) -> RecordT | None:
        """Return a record of the ledger state at the last block, without proof."""
        value = self.application.query(key).value
        return None if value is None else decode(value, kind)

    def collect(self) -> None:
        """Delete the blobs that nobody needs any more."""
        collected = self.bundles.collect(self.get_height())
        self.metrics.blob_bytes.set(self.bundles.blobs.measure()[0])
        if collected.holds:
            log("blobs collected", holds=collected.holds, objects=collected.objects)

    def _get_nonce(self, account: bytes) -> int:
        found = self.read_record(account_key(account), Account)
        return 0 if found is None else found.nonce

    def _find_submission(self, submission: bytes) -> tuple[Submission, SubmissionStatus] | None:
        found = self.read_record(submission_key(submission), Submission)
        status = self.read_record(status_key(submission), SubmissionStatus)
        return None if found is None or status is None else (found, status)

    def _note_block(self, block: Block, finalized: FinalizedBlock) -> None:
        header = block.header
        self._last = StoredHeader(header.height, finalized.id, encode(header), block.seal)
        self._on_block()  # those who wait first
        self.metrics.blocks.inc()
        self.metrics.block_seconds.observe(self.engine.last_seconds)
        for code, count in Counter(result.code for result in finalized.results).items():
            self.metrics.transactions.labels(code or "carried-out").inc(count)
        if block.transactions:
            log("block", height=header.height, transactions=len(block.transactions))

    def _note_halt(self, error: BaseException) -> None:
        self.halt = error
        log("engine halted", level=logging.CRITICAL, error=error)
        self._on_halt()


def freeze_memory() -> None:
    """Take all objects that live now out of the rounds of the garbage collector, in the whole process.

    A node calls it once its ledger is in memory: a genesis can name millions of accounts, and a block makes enough
    objects for many rounds.
    """
    gc.collect()
    gc.freeze()


def _open_application(store: ChainStore, genesis: Genesis) -> LedgerApplication:
    """Return the application at its last block, or at the genesis of a new chain."""
    held = store.load_genesis()
    if held is not None and held != encode(genesis):
        raise NotFounded("the chain was founded with another genesis", next_step="put the folder together again")
    application = LedgerApplication(store)
    if held is None:
        application.init_chain(genesis)
    return application


def _read_genesis(folder: Path) -> Genesis:
    if Files().get_kind(folder / GENESIS) == "missing":
        raise NotFounded(f"{folder} holds no ledger", next_step="assay node start --name NAME founds one")
    return read_genesis_file(folder / GENESIS)


def _do_nothing() -> None:
    """Listen to nothing."""
