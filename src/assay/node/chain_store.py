"""A ledger store in SQLite: what the application that executes blocks keeps on the disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from assay.consensus.engine import FinalizedBlock
from assay.protocol.blocks import Block, Header
from assay.protocol.encoding import decode, encode
from assay.protocol.environment import Notice
from assay.protocol.ledger_proofs import hash_key
from assay.storage.chain import ChainDatabase, ChainMissing
from assay.storage.chain_reads import StoredBlock, StoredTransaction

_GENESIS: Final = "genesis"


class ChainStore:
    """Values, leaves and blocks of one ledger, open for writing by this process alone until `close`.

    Keys are u16 contract tag ‖ key within the contract; a value lies at the path SHA-256(key) of the state tree.

    Args:
        folder: made if it is missing; its parent must exist.

    Raises:
        FileTaken: another process has it.
        StorageError: the disk, or the database is damaged, foreign or newer.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._chain: ChainDatabase | None = None
        try:
            self._chain = ChainDatabase.open(folder)
        except ChainMissing:
            self._chain = None

    @property
    def _open(self) -> ChainDatabase:
        if self._chain is None:
            raise ChainMissing(f"there is no chain in {self._folder} yet", next_step="create it with its genesis")
        return self._chain

    def load_genesis(self) -> bytes | None:
        """Return the encoded genesis; None: the store is empty."""
        return None if self._chain is None else self._chain.reads.read_meta(_GENESIS)

    def create(self, genesis: bytes, changes: Mapping[bytes, bytes | None]) -> None:
        """Begin the chain, durably and at once.

        Raises:
            ChainExists: it has begun.
        """
        self._chain = ChainDatabase.create(self._folder, {_GENESIS: genesis}, _to_paths(changes))

    def get(self, key: bytes) -> bytes | None:
        """Return the encoded record under a key; None: there is none."""
        return self._open.reads.read_state(hash_key(key))

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the encoded record under each key; None: there is none."""
        paths = [hash_key(key) for key in keys]
        found = self._open.reads.read_states(paths)
        return [found.get(path) for path in paths]

    def count_leaves(self) -> int:
        """Return how many values the ledger state has."""
        return 0 if self._chain is None else self._chain.reads.count_leaves()

    def get_leaves(self, depth: int, prefixes: Sequence[int]) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield, for each prefix of `depth` bits, path and value hash of the values below it, sorted by path."""
        return iter([[] for _ in prefixes]) if self._chain is None else self._chain.reads.get_leaves(depth, prefixes)

    def load_header(self) -> Header | None:
        """Return the header of the last block; None: there is only the genesis, or nothing."""
        if self._chain is None:
            return None
        found = self._chain.reads.read_header(self._chain.reads.read_height())
        return None if found is None else decode(found.header, Header)

    def commit(self, block: Block, finalized: FinalizedBlock, changes: Mapping[bytes, bytes | None]) -> None:
        """Write a block and everything that it changes; all of it is durable when this returns, or nothing is written.

        Raises:
            HeightRefused: the block does not follow the last one.
            StorageError: the disk.
        """
        header = block.header
        transactions = tuple(
            StoredTransaction(result.transaction, data, encode(result), message)
            for data, result, message in zip(block.transactions, finalized.results, finalized.messages, strict=True)
        )
        notices = _encode_notices(finalized.notices)
        stored = StoredBlock(header.height, finalized.id, encode(header), block.seal, notices, transactions)
        self._open.commit(stored, _to_paths(changes))

    def reserve_log(self) -> None:
        """Make commits quicker: see `database.reserve_log`."""
        self._open.reserve_log()

    def close(self) -> None:
        """Close the database and give the folder free."""
        if self._chain is not None:
            self._chain.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def to_block(stored: StoredBlock) -> Block:
    """Return the record of a stored block."""
    return Block(0, decode(stored.header, Header), tuple(each.data for each in stored.transactions), stored.seal)


def _to_paths(changes: Mapping[bytes, bytes | None]) -> dict[bytes, bytes | None]:
    return {hash_key(key): value for key, value in changes.items()}


def _encode_notices(notices: Sequence[Notice]) -> bytes:
    """Return notices as JSON, bytes in hex."""
    if not notices:
        return b"[]"
    told = [
        {
            "kind": notice.kind,
            "submission": notice.submission.hex(),
            "detail": notice.detail,
            "account": notice.account.hex(),
            "amount": notice.amount,
        }
        for notice in notices
    ]
    return msgspec.json.encode(told)
