"""The forms of what the HTTP door answers. Bytes are lower-case hex; records are their canonical encoding in hex.

Nothing in an answer is to be believed for its own sake: a caller checks the header's seal against the genesis, and
values, transactions and results by their proofs against the header. What has no proof says so.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineView:
    """What the engine can promise."""

    name: str
    fault_model: str
    final: bool
    many_machines: bool


@dataclass(frozen=True)
class StatusView:
    """Where the node stands; its own word."""

    version: str
    name: str
    chain_id: str
    operator: str
    height: int
    block_id: str
    block_time: int
    waiting: int
    interval_ms: int
    uptime_seconds: int
    halted: bool
    engine: EngineView


@dataclass(frozen=True)
class SealedHeader:
    """A header with its seal: all that is needed to check it, given the genesis."""

    height: int
    id: str
    header: str
    seal: str


@dataclass(frozen=True)
class HeaderPage:
    """Sealed headers in rising order."""

    headers: list[SealedHeader]


@dataclass(frozen=True)
class BlockView:
    """A whole block; `block` is the encoded record, results are encoded records in the order of the transactions."""

    height: int
    id: str
    block: str
    results: list[str]


@dataclass(frozen=True)
class Accepted:
    """A transaction that waits for a block."""

    id: str


@dataclass(frozen=True)
class TransactionView:
    """A transaction by its id. `status` is `waiting` or `committed`; without a header nothing is proven.

    The paths lead from the transaction and from its result to the two lists that the header names. `message` is for
    people and has no proof.
    """

    id: str
    status: str
    height: int
    position: int
    transaction: str
    transaction_path: list[str]
    result: str
    result_path: list[str]
    message: str
    sealed: SealedHeader | None


@dataclass(frozen=True)
class StateView:
    """A value of the ledger state, or its absence (null), with the proof under the root of the sealed header."""

    key: str
    value: str | None
    proof: str
    sealed: SealedHeader


@dataclass(frozen=True)
class MissingView:
    """What a submission's bundle names and nobody uploaded yet."""

    missing: list[MissingObject]


@dataclass(frozen=True)
class MissingObject:
    """An object that is wanted."""

    digest: str
    size: int
