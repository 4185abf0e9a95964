"""Genesis, headers and blocks.

A header holds the root of the ledger state *after* its block, so one header proves both what happened and what is.

Source: `spec/blocks.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from assay.errors import InvalidBlock, MalformedEvidence
from assay.protocol import tags
from assay.protocol.amounts import MAX_AMOUNT
from assay.protocol.beacon import MAX_CHAIN, compute_beacon, verify_reveal
from assay.protocol.encoding import Record, decode, encode
from assay.protocol.evidence.fields import (
    MAX_INTEGER,
    verify_digest,
    verify_number,
    verify_printable,
    verify_sorted,
    verify_tree,
    verify_version,
)
from assay.protocol.hashing import compute_id
from assay.protocol.merkle import MerkleRoot, compute_data_root
from assay.protocol.params import Parameters, verify_parameters

MAX_BALANCES: Final = 2**21
"""Most accounts that a genesis can endow."""


class GenesisRefused(MalformedEvidence):
    """A genesis that issues more points than there can be."""

    code: ClassVar[str] = "genesis.refused"


class MalformedBlock(InvalidBlock):
    """Bytes that are not the one canonical form of a block, or fields outside their range."""

    code: ClassVar[str] = "block.malformed"


class WrongParent(InvalidBlock):
    """A block that does not follow the block before it: chain, height, previous id or time."""

    code: ClassVar[str] = "block.parent"


class WrongRoot(InvalidBlock):
    """A header whose transactions, results, state or beacon are not those that follow from the block."""

    code: ClassVar[str] = "block.root"


class BlockTooLarge(InvalidBlock):
    """A block with more bytes or transactions than the parameters permit."""

    code: ClassVar[str] = "block.too-large"


class SoloConfig(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="solo"):
    """Engine `solo`: one operator seals every block, and could choose sample, verifiers and history."""

    operator: bytes  # its public key; fees go to this account
    beacon_anchor: bytes  # r_0 of its chain of reveals
    beacon_length: int  # blocks that the chain serves


EngineConfig = SoloConfig
"""Later engines join here."""


class Endowment(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Points that an account has from the start."""

    account: bytes
    amount: int


class Genesis(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a ledger starts from. Its id is the chain id."""

    version: int
    name: str  # printable ASCII
    time: int  # milliseconds since 1970-01-01 UTC
    engine: EngineConfig
    parameters: Parameters
    balances: tuple[Endowment, ...]  # sorted by account, unique


class Header(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is sealed. The id of a block is the id of its header."""

    version: int
    chain_id: bytes
    height: int  # counted from 1
    previous: bytes  # id of the block before; of block 1: the chain id
    time: int  # milliseconds since 1970-01-01 UTC, never before that of the block before; stated by the proposer
    proposer: bytes  # account that gets the fees
    transactions: MerkleRoot  # tag TRANSACTIONS_TREE, over transaction bytes
    results: MerkleRoot  # tag RESULTS_TREE, over encoded results
    state_root: bytes  # of the ledger state after this block
    reveal: bytes
    beacon: bytes


class Block(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A header, its transactions as they travelled, and the seal of the engine."""

    version: int
    header: Header
    transactions: tuple[bytes, ...]
    seal: bytes


class Result(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What became of one transaction."""

    transaction: bytes  # its id; of bytes that are none: SHA-256 of the tag and the bytes
    code: str  # empty: carried out; else the code of its refusal
    charged: bool  # fee taken and nonce used up, which also happens to a refused body
    fee: int  # that was taken


@dataclass(frozen=True, slots=True)
class Position:
    """Where a chain stands: what the next header is checked against."""

    chain_id: bytes
    height: int
    block: bytes
    time: int
    reveal: bytes
    beacon: bytes


def compute_chain_id(genesis: Genesis) -> bytes:
    """Return the id of the genesis (BLK-1)."""
    return compute_id(tags.GENESIS, genesis)


def compute_block_id(header: Header) -> bytes:
    """Return the id of a header, which is that of its block (BLK-5)."""
    return compute_id(tags.HEADER, header)


def compute_transactions_root(transactions: Sequence[bytes]) -> MerkleRoot:
    """Return the committed list of a block's transactions (BLK-6)."""
    return MerkleRoot(
        tags.TRANSACTIONS_TREE, len(transactions), compute_data_root(tags.TRANSACTIONS_TREE, transactions)
    )


def compute_results_root(results: Sequence[Result]) -> MerkleRoot:
    """Return the committed list of a block's results (BLK-6)."""
    encoded = [encode(result) for result in results]
    return MerkleRoot(tags.RESULTS_TREE, len(encoded), compute_data_root(tags.RESULTS_TREE, encoded))


def get_start(genesis: Genesis) -> Position:
    """Return where a chain stands before its first block."""
    chain_id = compute_chain_id(genesis)
    return Position(chain_id, 0, chain_id, genesis.time, genesis.engine.beacon_anchor, chain_id)


def get_position(header: Header) -> Position:
    """Return where a chain stands after a block."""
    return Position(header.chain_id, header.height, compute_block_id(header), header.time, header.reveal, header.beacon)


def verify_genesis(genesis: Genesis) -> None:
    """Check a genesis by itself (BLK-2, BLK-3).

    Raises:
        MalformedEvidence: a field out of range, balances not sorted, more points than there can be.
    """
    verify_version(genesis.version, "genesis")
    verify_printable(genesis.name, "name of a ledger", 64, 1)
    verify_number(genesis.time, "time of the genesis")
    verify_digest(genesis.engine.operator, "key of the operator")
    verify_digest(genesis.engine.beacon_anchor, "anchor of the beacon")
    verify_number(genesis.engine.beacon_length, "length of the beacon's chain", 1, MAX_CHAIN)
    verify_parameters(genesis.parameters)
    verify_number(len(genesis.balances), "number of balances", 0, MAX_BALANCES)
    for endowment in genesis.balances:
        verify_digest(endowment.account, "account of the genesis")
        verify_number(endowment.amount, "balance of the genesis", 1)
    verify_sorted([endowment.account for endowment in genesis.balances], "list of balances")
    issued = sum(endowment.amount for endowment in genesis.balances)
    if issued > MAX_AMOUNT:
        raise GenesisRefused("the genesis issues too many points", expected=f"at most {MAX_AMOUNT}", actual=issued)


def decode_block(data: bytes, parameters: Parameters) -> Block:
    """Return the block that `data` encodes, under the bounds of the parameters.

    Raises:
        InvalidBlock: `MalformedBlock` or `BlockTooLarge`.
    """
    try:
        # Room for the header and for the lengths of the transactions, beside the transactions themselves.
        most = parameters.max_block_bytes + 8 * parameters.max_block_transactions + 4096
        block = decode(data, Block, max_bytes=most)
    except MalformedEvidence as error:
        raise MalformedBlock("this is no block", actual=f"{error.code}: {error.message}") from None
    verify_block_size(block.transactions, parameters)
    return block


def verify_block_size(transactions: Sequence[bytes], parameters: Parameters) -> None:
    """Check the number and the bytes of a block's transactions (BLK-7).

    Raises:
        BlockTooLarge: there are too many.
    """
    if len(transactions) > parameters.max_block_transactions:
        raise BlockTooLarge(
            "too many transactions", expected=parameters.max_block_transactions, actual=len(transactions)
        )
    size = sum(map(len, transactions))
    if size > parameters.max_block_bytes:
        raise BlockTooLarge("too many bytes of transactions", expected=parameters.max_block_bytes, actual=size)


def verify_header(position: Position, header: Header) -> None:
    """Check that a header follows a position: all that can be checked without the block's contents (BLK-5 to BLK-11).

    The seal is checked by the module of `seals` that belongs to the engine.

    Raises:
        InvalidBlock: `MalformedBlock`, `WrongParent`, `RevealRefused` or `WrongRoot`.
    """
    _verify_form(header)
    for what, expected, actual in (
        ("chain", position.chain_id.hex(), header.chain_id.hex()),
        ("height", position.height + 1, header.height),
        ("previous block", position.block.hex(), header.previous.hex()),
    ):
        if expected != actual:
            raise WrongParent(f"the block does not follow: {what}", expected=expected, actual=actual)
    if header.time < position.time:
        raise WrongParent("the block is dated before its parent", expected=position.time, actual=header.time)
    verify_reveal(position.reveal, header.reveal)
    beacon = compute_beacon(position.beacon, header.reveal)
    if header.beacon != beacon:
        raise WrongRoot("the beacon does not follow from the reveal", expected=beacon.hex(), actual=header.beacon.hex())


def _verify_form(header: Header) -> None:
    try:
        verify_version(header.version, "header")
        verify_number(header.height, "height", 1)
        verify_number(header.time, "time of a block", 0, MAX_INTEGER)
        verify_tree(header.transactions, tags.TRANSACTIONS_TREE, "list of transactions")
        verify_tree(header.results, tags.RESULTS_TREE, "list of results")
        for digest, what in (
            (header.chain_id, "chain id"),
            (header.previous, "id of the previous block"),
            (header.proposer, "proposer"),
            (header.state_root, "root of the ledger state"),
            (header.reveal, "reveal"),
            (header.beacon, "beacon"),
        ):
            verify_digest(digest, what)
    except MalformedEvidence as error:
        raise MalformedBlock("a header is malformed", actual=f"{error.code}: {error.message}") from None
