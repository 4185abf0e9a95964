"""Engine `solo`: one process, one operator, who seals every block.

A block is durable before anybody hears of it. Blocks are made at a fixed rate, empty ones too, because all deadlines
are counted in blocks: if traffic could hasten the blocks, it could shorten a verifier's time. At interval 0 they are
made on demand instead, for a ledger without deadlines: whoever submits makes the block, at once and in its own thread,
unless one is in progress; then the engine's thread makes the next.

The operator knows all beacons beforehand and can choose sample, verifiers and history. That is said by the seal's
`FAULT_MODEL`, in certificates and in the threat model; only the private samples of honest verifiers stand against it.

Source: `spec/blocks.md`, BLK-9 to BLK-12.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Final, Protocol

from assay.consensus.engine import Application, Capabilities, FinalizedBlock, Proposal
from assay.consensus.reveals import RevealChain
from assay.errors import AssayError, StorageError, UsageError
from assay.protocol.blocks import Block, Genesis
from assay.protocol.seals.solo import FAULT_MODEL, seal_header
from assay.protocol.signatures import Signer

CAPABILITIES: Final = Capabilities(name="solo", fault_model=FAULT_MODEL, final=True, many_machines=False)


class OperatorRefused(UsageError):
    """A key or chain of reveals that the genesis does not name."""

    code: ClassVar[str] = "solo.operator"


class EngineHalted(StorageError):
    """The engine met a fault of the disk or of its own rules and makes no more blocks; what was committed is kept."""

    code: ClassVar[str] = "solo.halted"


class BlockMissing(UsageError):
    """There is no block at this height."""

    code: ClassVar[str] = "solo.block-missing"


class Pool(Protocol):
    """Transactions that wait."""

    def add(self, data: bytes) -> bytes:
        """Check and take a transaction; return its id; raises InvalidTransaction."""

    def select(self) -> Sequence[bytes]:
        """Return candidates for the next block, in the order of execution; they keep waiting until `settle`."""

    def settle(self, block: Block) -> None:
        """Forget what stands in a committed block, and what became stale by it."""

    def __len__(self) -> int:
        """Return how many wait."""


class BlockSource(Protocol):
    """Where committed blocks are read."""

    def get_block(self, height: int) -> Block | None:
        """Return a block; None: there is none at this height."""


Listener = Callable[[Block, FinalizedBlock], None]


def _read_clock() -> int:
    """Return milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


class SoloEngine:
    """Makes blocks in one thread, from `start` to `stop`.

    Args:
        application: executes and keeps.
        genesis: of the ledger; the application stands at it or after it.
        blocks: committed blocks, as the application keeps them.
        pool: what waits.
        operator_seed: seed of the operator's key.
        reveals: the operator's chain.
        interval_ms: from one block to the next, in milliseconds; 0: on demand, and never an empty one.
        clock: milliseconds since 1970-01-01 UTC; it may jump, dates of blocks never fall.
        on_block: called in the thread that made the block, after its commit, and must not raise.
        on_halt: called once if the engine cannot go on.

    Raises:
        OperatorRefused: key or reveals are not those of the genesis.
    """

    def __init__(
        self,
        application: Application,
        genesis: Genesis,
        blocks: BlockSource,
        pool: Pool,
        *,
        operator_seed: bytes,
        reveals: RevealChain,
        interval_ms: int = 0,
        clock: Callable[[], int] = _read_clock,
        on_block: Listener | None = None,
        on_halt: Callable[[BaseException], None] | None = None,
    ) -> None:
        named = (genesis.engine.operator, genesis.engine.beacon_anchor, genesis.engine.beacon_length)
        operator = Signer(operator_seed)
        own = (operator.public_key, reveals.anchor, reveals.length)
        if named != own:
            raise OperatorRefused(
                "key or reveals are not those of the genesis",
                expected=f"operator {named[0].hex()}, anchor {named[1].hex()}, {named[2]} links",
                actual=f"operator {own[0].hex()}, anchor {own[1].hex()}, {own[2]} links",
            )
        self._application, self._blocks, self._pool = application, blocks, pool
        self._operator, self._reveals = operator, reveals
        self._interval, self._clock = interval_ms / 1000, clock
        self._on_block, self._on_halt = on_block, on_halt
        self._making = threading.Lock()
        self._wake = threading.Condition()
        self._asked = True  # on demand: for a block of what waits
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.last_seconds = 0.0
        """How long the last block took, from its chosen transactions to its being durable."""

    def start(self) -> None:
        """Begin to make blocks in a thread of its own."""
        if self._thread is not None:
            raise EngineHalted("the engine was started already")
        self._thread = threading.Thread(target=self._run, name="assay-solo", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the block in progress; afterwards nothing is written any more."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join()
        with self._making:  # a block that another thread asked for
            pass

    def submit(self, data: bytes) -> bytes:
        """Take a transaction for one of the next blocks; return its id.

        Raises:
            InvalidTransaction: it could not stand in a block, or it waits already, or no more may wait.
            EngineHalted: no more blocks are made. On demand the transaction may stand in the last one nevertheless.
        """
        self._refuse_if_halted()
        identity = self._pool.add(data)
        if self._interval or self._thread is None:
            return identity
        is_left = True
        if self._making.acquire(blocking=False):
            try:
                is_left = self._make_waiting()
            finally:
                self._making.release()
        if is_left:
            with self._wake:
                self._asked = True
                self._wake.notify_all()
        return identity

    def make_block(self) -> Block:
        """Make one block of what waits, empty or not; it is durable when this returns.

        Raises:
            EngineHalted: this or an earlier block met a fault that the engine cannot go on from.
        """
        with self._making, self._halting():
            return self._make(self._choose())

    def _make_waiting(self) -> bool:
        """Make a block of what waits and can stand in one, if anything; return whether another may follow."""
        with self._halting():
            chosen = self._choose()
            if chosen:
                self._make(chosen)
            return bool(chosen and len(self._pool))

    @contextmanager
    def _halting(self) -> Iterator[None]:
        """Refuse to begin after a fault, and end for good with one."""
        self._refuse_if_halted()
        try:
            yield
        except BaseException as error:  # Ctrl-C in the thread that submits may leave memory and disk apart
            self._failure = error
            if self._on_halt is not None:
                self._on_halt(error)
            if isinstance(error, Exception):
                self._refuse_if_halted()
            raise

    def _choose(self) -> tuple[bytes, ...]:
        return self._application.prepare_proposal(self._pool.select())

    def _make(self, chosen: tuple[bytes, ...]) -> Block:
        begin = time.monotonic()
        position = self._application.info().position
        height = position.height + 1
        reveal = self._reveals.get_reveal(height)
        moment = max(self._clock(), position.time)  # the clock may have been set back
        proposal = Proposal(height, moment, self._operator.public_key, reveal, chosen)
        finalized = self._application.finalize_block(proposal)
        block = Block(0, finalized.header, chosen, seal_header(self._operator, finalized.header))
        self._application.commit(block)
        self._pool.settle(block)
        self.last_seconds = time.monotonic() - begin
        if self._on_block is not None:
            self._on_block(block, finalized)
        return block

    def _refuse_if_halted(self) -> None:
        if self._failure is not None or self._stopping:
            error = self._failure
            said = f"{error.code}: {error.message}" if isinstance(error, AssayError) else repr(error)
            raise EngineHalted(
                "no more blocks are made",
                actual="the engine was stopped" if error is None else said,
                next_step="start the node again" if error is None else "see the node's log, then start it again",
            ) from error

    def _run(self) -> None:
        due = time.monotonic() + self._interval
        while self._wait(due):
            try:
                if self._interval:
                    self.make_block()
                else:
                    self._make_all()
            except EngineHalted:
                return
            due = max(due + self._interval, time.monotonic())

    def _make_all(self) -> None:
        """Make blocks until nothing waits that they could take."""
        with self._making:
            while self._make_waiting():
                pass

    def _wait(self, due: float) -> bool:
        """Return True when the next block is due, False when the engine stops."""
        with self._wake:
            while not self._stopping:
                left = due - time.monotonic()
                if self._interval:
                    if left <= 0:
                        return True
                    self._wake.wait(left)
                elif self._asked:
                    self._asked = False
                    return True
                else:
                    self._wake.wait()
        return False

    def get_block(self, height: int) -> Block | None:
        """Return a committed block; None: there is none at this height."""
        return self._blocks.get_block(height)

    def get_commit_proof(self, height: int) -> bytes:
        """Return the operator's seal of a committed block.

        Raises:
            BlockMissing: there is no block at this height.
        """
        block = self._blocks.get_block(height)
        if block is None:
            raise BlockMissing("there is no block at this height", actual=height)
        return block.seal

    def get_validators(self) -> tuple[bytes, ...]:
        """Return the operator's key."""
        return (self._operator.public_key,)

    def get_capabilities(self) -> Capabilities:
        """Return what this engine can promise: nothing against its operator."""
        return CAPABILITIES
