"""The two interfaces between an engine, which orders and seals blocks, and the application, which executes them.

One block goes: `prepare_proposal` → `finalize_block` (computes, persists nothing) → the engine seals the header →
`commit` (atomic). A replica that got a block from elsewhere calls `process_proposal`, which executes and compares, and
then `commit`.

Source: `spec/blocks.md`; after ABCI 2.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from assay.protocol.blocks import Block, Genesis, Header, Position, Result
from assay.protocol.environment import Notice
from assay.protocol.ledger_proofs import StateProof


@dataclass(frozen=True)
class ApplicationInfo:
    """Where the application stands after its last commit.

    Attributes:
        position: of the last committed block; height 0: only the genesis.
        state_root: of the ledger state at that height.
    """

    position: Position
    state_root: bytes


@dataclass(frozen=True)
class Proposal:
    """What a block is built from, before its roots are known.

    Attributes:
        height: of the new block.
        time: milliseconds since 1970-01-01 UTC.
        proposer: account that gets the fees.
        reveal: next link of the beacon's chain.
        transactions: as they travelled, in the order of execution.
    """

    height: int
    time: int
    proposer: bytes
    reveal: bytes
    transactions: tuple[bytes, ...]


@dataclass(frozen=True)
class FinalizedBlock:
    """What came of executing a block; nothing of it is persisted yet.

    Attributes:
        id: of the block.
        header: complete, ready to be sealed.
        results: one for each transaction, in their order.
        messages: one for each transaction, for people: why it was refused; empty: carried out. Not part of the block.
        notices: what changed in submissions.
    """

    id: bytes
    header: Header
    results: tuple[Result, ...]
    messages: tuple[str, ...]
    notices: tuple[Notice, ...]


@dataclass(frozen=True)
class QueryAnswer:
    """A value of the ledger state.

    Attributes:
        height: of the committed block that it belongs to.
        value: the encoded record; None: there is none.
        proof: of presence or absence under the state root of that block's header; None: not asked for.
    """

    height: int
    value: bytes | None
    proof: StateProof | None


@dataclass(frozen=True)
class Capabilities:
    """What an engine can promise, in words that certificates and people read.

    Attributes:
        name: of the engine.
        fault_model: who must be honest for its statements to hold.
        final: whether a committed block can never be replaced.
        many_machines: whether it runs on more than one machine.
    """

    name: str
    fault_model: str
    final: bool
    many_machines: bool


class Application(Protocol):
    """Executes transactions and keeps the ledger state."""

    def info(self) -> ApplicationInfo:
        """Return where it stands."""

    def init_chain(self, genesis: Genesis) -> bytes:
        """Start from a genesis, durably; return the root of the ledger state. Only for an empty application."""

    def check_tx(self, data: bytes) -> bytes:
        """Check whether a transaction could stand in the next block, by itself; return its id.

        Raises:
            InvalidTransaction: it could not.
        """

    def prepare_proposal(self, candidates: Sequence[bytes]) -> tuple[bytes, ...]:
        """Return those candidates that can stand in the next block, in order, within its limits."""

    def finalize_block(self, proposal: Proposal) -> FinalizedBlock:
        """Execute a block on the state of the last commit; changes and persists nothing.

        Raises:
            InvalidBlock: it is too large, does not follow, or has a transaction that must not stand in a block.
        """

    def process_proposal(self, block: Block) -> FinalizedBlock:
        """Execute a block from elsewhere and compare all that its header says; the seal is for the engine to check.

        Raises:
            InvalidBlock: something differs.
        """

    def commit(self, block: Block) -> None:
        """Make the block that was finalized last durable, in one step: all of it or nothing."""

    def query(self, key: bytes, *, prove: bool = False) -> QueryAnswer:
        """Return a value of the ledger state at the last commit; `key` begins with its contract's tag."""


class Engine(Protocol):
    """Orders transactions, seals blocks and hands them to the application."""

    def start(self) -> None:
        """Begin to make or follow blocks."""

    def stop(self) -> None:
        """Stop after the block in progress; afterwards nothing is written any more."""

    def submit(self, data: bytes) -> bytes:
        """Take a transaction for one of the next blocks; return its id.

        Raises:
            InvalidTransaction: `check_tx` refuses it, or the same transaction waits already.
        """

    def get_block(self, height: int) -> Block | None:
        """Return a committed block; None: there is none at this height."""

    def get_commit_proof(self, height: int) -> bytes:
        """Return the seal of a committed block, which `protocol.seals` checks.

        Raises:
            UsageError: there is no block at this height.
        """

    def get_validators(self) -> tuple[bytes, ...]:
        """Return the keys that seal blocks at the moment."""

    def get_capabilities(self) -> Capabilities:
        """Return what this engine can promise."""
