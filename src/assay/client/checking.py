"""Light verification: what a client believes of a node's answers, and why.

The anchor is the genesis. A header counts when the operator's seal over it holds and it does not contradict a header
seen before; a value when its proof leads to the state root of such a header; a transaction and its result when their
paths lead to its two lists. Everything else in an answer is decoration.

Source: `spec/blocks.md`, `spec/ledger-state.md`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar, Final, Generic, TypeVar

from assay.errors import InvalidBlock, MalformedEvidence, Refuted, Unproven
from assay.protocol import tags
from assay.protocol.blocks import (
    Genesis,
    Header,
    Position,
    Result,
    compute_block_id,
    compute_chain_id,
    get_position,
    get_start,
    verify_genesis,
    verify_header,
)
from assay.protocol.encoding import Record, decode
from assay.protocol.ledger_proofs import StateProof, verify_state_proof
from assay.protocol.merkle import hash_leaf, verify_inclusion
from assay.protocol.seals.solo import verify_seal
from assay.protocol.transactions import OpenedTransaction, open_transaction

RecordT = TypeVar("RecordT", bound=Record)

_REMEMBERED: Final = 4096


class AnswerMalformed(MalformedEvidence):
    """An answer that is not in its form."""

    code: ClassVar[str] = "client.answer"


class HeaderRefused(Unproven):
    """A header that the operator of the genesis did not seal, or of another chain."""

    code: ClassVar[str] = "client.header"


class ForkSeen(Refuted):
    """Two sealed headers of one height: the operator rewrote history. Both are kept in the error as evidence."""

    code: ClassVar[str] = "client.fork"

    def __init__(self, height: int, first: bytes, second: bytes) -> None:
        self.first, self.second = first, second
        super().__init__(
            f"the operator sealed two different blocks of height {height}",
            expected=first.hex(),
            actual=second.hex(),
            next_step="keep both headers: with their seals they prove it to everybody",
        )


class WentBack(Unproven):
    """An answer from a height below one that was seen before: an old state shown as the present one."""

    code: ClassVar[str] = "client.went-back"


class TransactionMismatch(Refuted):
    """A proven transaction that is not the one that was asked for."""

    code: ClassVar[str] = "client.transaction"


@dataclass(frozen=True)
class Proven(Generic[RecordT]):
    """A value of the ledger state that was checked.

    Attributes:
        value: None: it was proven that there is none.
        height: of the block after which it holds.
        header: of that block.
        seal: of that block.
        proof: of presence or absence.
    """

    value: RecordT | None
    height: int
    header: Header
    seal: bytes
    proof: StateProof


@dataclass(frozen=True)
class Inclusion:
    """A transaction that was proven to stand in a block, with its result.

    Attributes:
        id: of the transaction.
        height: of the block.
        position: in the block, from 0.
        opened: the transaction.
        result: what became of it.
        message: for people, the node's word.
    """

    id: bytes
    height: int
    position: int
    opened: OpenedTransaction
    result: Result
    message: str


class LightChain:
    """Checks headers of one ledger and remembers them.

    Args:
        genesis: the anchor, from a source that the caller trusts.

    Raises:
        MalformedEvidence: the genesis breaks its own rules.
    """

    def __init__(self, genesis: Genesis) -> None:
        verify_genesis(genesis)
        self.genesis = genesis
        self.chain_id = compute_chain_id(genesis)
        self._seen: OrderedDict[int, bytes] = OrderedDict()
        self._top = 0

    @property
    def height(self) -> int:
        """The greatest height of a checked header."""
        return self._top

    def check_header(self, data: bytes, seal: bytes) -> Header:
        """Return a header after checking chain, seal, and that no other one of its height was seen.

        Raises:
            AnswerMalformed: the bytes are no header.
            HeaderRefused: another chain, or the seal does not hold.
            ForkSeen: another sealed header has this height.
        """
        header = decode_answer(data, Header)
        identity = compute_block_id(header)
        if self._seen.get(header.height) == identity:
            return header
        if header.chain_id != self.chain_id or header.height < 1:
            raise HeaderRefused(
                "the header belongs to another ledger", expected=self.chain_id.hex(), actual=header.chain_id.hex()
            )
        try:
            verify_seal(self.genesis, header, seal)
        except InvalidBlock as error:
            raise HeaderRefused("the header is not sealed by the operator", actual=error.message) from None
        self._remember(header.height, identity)
        return header

    def _remember(self, height: int, identity: bytes) -> None:
        known = self._seen.get(height)
        if known is not None and known != identity:
            raise ForkSeen(height, known, identity)
        self._seen[height] = identity
        self._top = max(self._top, height)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def check_present(self, header: Header) -> None:
        """Check that an answer about the present is not from before what was seen.

        Raises:
            WentBack: it is.
        """
        if header.height < self._top:
            raise WentBack("the node shows an older state than before", expected=self._top, actual=header.height)

    def check_links(self, headers: list[Header], position: Position | None = None) -> Position:
        """Check that headers follow one another, from the genesis or from a checked position.

        Raises:
            InvalidBlock: one does not follow.
        """
        place = get_start(self.genesis) if position is None else position
        for header in headers:
            verify_header(place, header)
            place = get_position(header)
        return place

    def check_value(
        self,
        key: bytes,
        kind: type[RecordT],
        value: bytes | None,
        proof: bytes,
        header: Header,
        seal: bytes,
    ) -> Proven[RecordT]:
        """Return a value after checking its proof under a checked header.

        Raises:
            AnswerMalformed: value or proof are not in their form.
            VerificationError: the proof does not hold.
        """
        opened = decode_answer(proof, StateProof)
        verify_state_proof(header.state_root, int.from_bytes(key[:2], "little"), key[2:], value, opened)
        record = None if value is None else decode_answer(value, kind)
        return Proven(record, header.height, header, seal, opened)

    def check_inclusion(
        self,
        identity: bytes,
        position: int,
        data: bytes,
        paths: tuple[tuple[bytes, ...], tuple[bytes, ...]],
        result: bytes,
        message: str,
        header: Header,
    ) -> Inclusion:
        """Return a transaction after checking that it and its result stand in a checked block.

        Raises:
            AnswerMalformed: transaction or result are not in their form.
            TransactionMismatch: it is another transaction, or another's result.
            VerificationError: a path does not hold.
        """
        verify_inclusion(header.transactions, hash_leaf(tags.TRANSACTIONS_TREE, data), position, paths[0])
        verify_inclusion(header.results, hash_leaf(tags.RESULTS_TREE, result), position, paths[1])
        opened = open_transaction(self.chain_id, data, self.genesis.parameters.max_transaction_bytes)
        found = decode_answer(result, Result)
        if opened.id != identity or found.transaction != identity:
            raise TransactionMismatch(
                "another transaction was answered", expected=identity.hex(), actual=opened.id.hex()
            )
        return Inclusion(identity, header.height, position, opened, found, message)


def decode_answer(data: bytes, kind: type[RecordT]) -> RecordT:
    """Return the record in an answer.

    Raises:
        AnswerMalformed: the bytes are not its canonical form.
    """
    try:
        return decode(data, kind)
    except MalformedEvidence as error:
        raise AnswerMalformed(
            f"the node's {kind.__name__} is malformed", actual=f"{error.code}: {error.message}"
        ) from None
