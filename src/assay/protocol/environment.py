"""What the execution of a block is given besides transactions and state, and what it tells besides results.

Source: `spec/blocks.md`.
"""

from __future__ import annotations

from dataclasses import dataclass

from assay.protocol.params import Parameters


@dataclass(frozen=True, slots=True)
class Environment:
    """The block around a transaction.

    Attributes:
        chain_id: id of the genesis.
        height: of the block.
        time: milliseconds since 1970-01-01 UTC, as its proposer states it; no rule of a contract depends on it.
        proposer: account that gets the fees.
        beacon: 32 bytes that nobody but a colluding proposer knew before.
        parameters: of the ledger.
    """

    chain_id: bytes
    height: int
    time: int
    proposer: bytes
    beacon: bytes
    parameters: Parameters


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that whoever follows the chain may want to act on. Not part of the block.

    Attributes:
        kind: "phase": a submission came into being, or into another phase or round; "payment": points moved.
        submission: id of the submission.
        detail: the new phase, or the kind of payment.
        account: of a payment; empty: none.
        amount: of a payment, in points; of a phase, the round.
    """

    kind: str
    submission: bytes
    detail: str
    account: bytes = b""
    amount: int = 0
