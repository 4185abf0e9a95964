"""An engine without clock, threads and disk: it makes a block when it is told to. For tests and experiments.

It seals like `solo`, by the key of the operator, so its blocks pass the same checks.

Source: `spec/blocks.md`.
"""

from __future__ import annotations

from typing import ClassVar, Final

from assay.consensus.engine import Application, Capabilities, FinalizedBlock, Proposal
from assay.errors import UsageError
from assay.protocol.beacon import build_chain
from assay.protocol.blocks import Block, SoloConfig
from assay.protocol.seals.solo import FAULT_MODEL, seal_header
from assay.protocol.signatures import Signer, get_public_key

MILLISECONDS_PER_BLOCK: Final = 1000
"""Blocks are dated so far apart, by counting."""


class ChainOfRevealsEnded(UsageError):
    """A chain of reveals that has no link left for another block."""

    code: ClassVar[str] = "engine.reveals-ended"


class NoSuchBlock(UsageError):
    """A height at which there is no block."""

    code: ClassVar[str] = "engine.no-such-block"


def make_solo_config(operator_seed: bytes, beacon_seed: bytes, length: int) -> SoloConfig:
    """Return what a genesis says about an operator: its key, and the anchor of a chain of `length` reveals."""
    *_, anchor = build_chain(beacon_seed, length)
    return SoloConfig(get_public_key(operator_seed), anchor, length)


class MemoryEngine:
    """Makes blocks on demand.

    Args:
        application: already started from a genesis that names this operator and this chain of reveals.
        operator_seed: seed of the operator's key.
        beacon_seed: the last link of its chain of reveals.
        length: of that chain.
    """

    def __init__(self, application: Application, operator_seed: bytes, beacon_seed: bytes, length: int) -> None:
        self._application = application
        self._operator = Signer(operator_seed)
        self._reveals = list(build_chain(beacon_seed, length))[::-1]
        self._waiting: dict[bytes, None] = {}
        self.blocks: list[Block] = []
        self.finalized: list[FinalizedBlock] = []

    def start(self) -> None:
        """Do nothing: blocks are made by `make_block`."""

    def stop(self) -> None:
        """Do nothing: there is nothing in progress."""

    def submit(self, data: bytes) -> bytes:
        """Take a transaction for the next block; return its id.

        Raises:
            InvalidTransaction: `check_tx` refuses it.
        """
        identity = self._application.check_tx(data)
        self._waiting[data] = None
        return identity

    def make_block(self) -> FinalizedBlock:
        """Make a block of everything that waits; return what came of it."""
        position = self._application.info().position
        height = position.height + 1
        if height >= len(self._reveals):
            raise ChainOfRevealsEnded("the chain of reveals has ended", expected=f"at most {len(self._reveals) - 1}")
        transactions = self._application.prepare_proposal(list(self._waiting))
        moment = position.time + MILLISECONDS_PER_BLOCK
        proposal = Proposal(height, moment, self._operator.public_key, self._reveals[height], transactions)
        finalized = self._application.finalize_block(proposal)
        block = Block(0, finalized.header, transactions, seal_header(self._operator, finalized.header))
        self._application.commit(block)
        self.blocks.append(block)
        self.finalized.append(finalized)
        self._waiting.clear()
        return finalized

    def get_block(self, height: int) -> Block | None:
        """Return a block that this engine made."""
        return self.blocks[height - 1] if 1 <= height <= len(self.blocks) else None

    def get_commit_proof(self, height: int) -> bytes:
        """Return the seal of a block.

        Raises:
            NoSuchBlock: there is none at this height.
        """
        block = self.get_block(height)
        if block is None:
            raise NoSuchBlock("there is no block at this height", expected=f"1 to {len(self.blocks)}", actual=height)
        return block.seal

    def get_validators(self) -> tuple[bytes, ...]:
        """Return the operator's key."""
        return (self._operator.public_key,)

    def get_capabilities(self) -> Capabilities:
        """Return that one operator decides everything, and nothing survives the process."""
        return Capabilities("in-memory", FAULT_MODEL, final=True, many_machines=False)
