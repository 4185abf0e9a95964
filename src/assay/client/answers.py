"""The forms of a node's answers as a client reads them; bytes are hex. See `assay.node.api.schemas`."""

from __future__ import annotations

from dataclasses import dataclass

from assay.client.checking import AnswerMalformed


@dataclass(frozen=True)
class EngineAnswer:
    """What the node's engine promises; its own word."""

    name: str
    fault_model: str
    final: bool
    many_machines: bool


@dataclass(frozen=True)
class StatusAnswer:
    """Where the node says that it stands."""

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
    engine: EngineAnswer


@dataclass(frozen=True)
class HeaderAnswer:
    """A header and its seal."""

    height: int
    id: str
    header: str
    seal: str


@dataclass(frozen=True)
class HeadersAnswer:
    """Headers in rising order."""

    headers: list[HeaderAnswer]


@dataclass(frozen=True)
class AcceptedAnswer:
    """The id of a transaction that waits."""

    id: str


@dataclass(frozen=True)
class TransactionAnswer:
    """A transaction, waiting or committed."""

    id: str
    status: str
    height: int
    position: int
    transaction: str
    transaction_path: list[str]
    result: str
    result_path: list[str]
    message: str
    sealed: HeaderAnswer | None


@dataclass(frozen=True)
class StateAnswer:
    """A value and its proof."""

    key: str
    value: str | None
    proof: str
    sealed: HeaderAnswer


@dataclass(frozen=True)
class MissingObject:
    """An object that the node wants."""

    digest: str
    size: int


@dataclass(frozen=True)
class MissingAnswer:
    """All objects of a bundle that the node wants."""

    missing: list[MissingObject]


@dataclass(frozen=True)
class BlockEvent:
    """What happened in a block; the node's word, to act on by reading the state with its proof.

    Attributes:
        height: of the block.
        id: of the block, hex.
        transactions: ids in order, hex.
        notices: changes of submissions: kind, submission, detail, account, amount.
    """

    height: int
    id: str
    transactions: list[str]
    notices: list[NoticeAnswer]


@dataclass(frozen=True)
class NoticeAnswer:
    """Something that a follower may want to act on."""

    kind: str
    submission: str
    detail: str
    account: str
    amount: int


def from_hex(text: str, length: int | None = None) -> bytes:
    """Return the bytes of lower-case hex.

    Raises:
        AnswerMalformed: it is none, or of another length.
    """
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if data.hex() != text or (length is not None and len(data) != length):
        raise AnswerMalformed("the node's answer holds no hex", expected=length, actual=ascii(text[:80]))
    return data
