"""What callers of a node see: committed blocks and proven state, read from snapshots beside the writer."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from assay.errors import UsageError
from assay.node.chain_store import to_block
from assay.protocol import tags
from assay.protocol.blocks import Block
from assay.protocol.merkle import compute_path, hash_leaf
from assay.storage.chain import ChainReader
from assay.storage.chain_reads import ChainReads, StoredBlock, StoredHeader, StoredTransaction

_READERS: Final = 8


class NothingCommitted(UsageError):
    """The ledger has no block yet, so that nothing can be proven."""

    code = "node.nothing-committed"
    http_status = 503


class ProvenTransaction(NamedTuple):
    """A committed transaction, its place, and the paths of transaction and result to the lists in the header."""

    stored: StoredTransaction
    position: int
    transaction_path: tuple[bytes, ...]
    result_path: tuple[bytes, ...]
    header: StoredHeader


class ChainViews:
    """A few readers of one chain, shared by threads.

    Args:
        folder: of the chain.
    """

    def __init__(self, folder: Path) -> None:
        self._free: queue.SimpleQueue[ChainReader] = queue.SimpleQueue()
        self._readers = [ChainReader(folder) for _ in range(_READERS)]
        for reader in self._readers:
            self._free.put(reader)

    @contextmanager
    def snapshot(self) -> Iterator[ChainReads]:
        """Give one moment of the chain; waits while all readers are taken."""
        reader = self._free.get()
        try:
            with reader.snapshot() as reads:
                yield reads
        finally:
            self._free.put(reader)

    def get_block(self, height: int) -> Block | None:
        """Return a committed block; None: there is none at this height."""
        with self.snapshot() as reads:
            stored = reads.read_block(height)
        return None if stored is None else to_block(stored)

    def get_header(self, height: int) -> StoredHeader | None:
        """Return a committed header with its seal; None: there is none at this height."""
        with self.snapshot() as reads:
            return reads.read_header(height)

    def get_last_header(self) -> StoredHeader:
        """Return the header of the last block.

        Raises:
            NothingCommitted: there is no block yet.
        """
        with self.snapshot() as reads:
            header = reads.read_header(reads.read_height())
        if header is None:
            raise NothingCommitted("the ledger has no block yet", next_step="ask again in a moment")
        return header

    def list_headers(self, first: int, limit: int) -> list[StoredHeader]:
        """Return up to `limit` headers from height `first` on."""
        with self.snapshot() as reads:
            return reads.list_headers(first, limit)

    def get_stored_block(self, height: int) -> StoredBlock | None:
        """Return a committed block as it is kept, with its results; None: there is none at this height."""
        with self.snapshot() as reads:
            return reads.read_block(height)

    def read_transaction(self, identity: bytes) -> ProvenTransaction | None:
        """Return a committed transaction with its proofs, or None."""
        with self.snapshot() as reads:
            place = reads.find_transaction(identity)
            block = None if place is None else reads.read_block(place[0])
        if place is None or block is None:
            return None
        leaves = [hash_leaf(tags.TRANSACTIONS_TREE, each.data) for each in block.transactions]
        results = [hash_leaf(tags.RESULTS_TREE, each.result) for each in block.transactions]
        return ProvenTransaction(
            block.transactions[place[1]],
            place[1],
            compute_path(tags.TRANSACTIONS_TREE, leaves, place[1]),
            compute_path(tags.RESULTS_TREE, results, place[1]),
            StoredHeader(*block[:4]),
        )

    def list_events(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Return height and JSON of what happened in the blocks above `after`, in rising order."""
        events = []
        with self.snapshot() as reads:
            for height in range(after + 1, after + 1 + limit):
                block = reads.read_block(height)
                if block is None:
                    break
                events.append((height, _describe_block(block)))
        return events

    def close(self) -> None:
        """Close all readers; only when no thread uses one any more."""
        for reader in self._readers:
            reader.close()


def _describe_block(block: StoredBlock) -> bytes:
    event = {
        "height": block.height,
        "id": block.id.hex(),
        "transactions": [each.id.hex() for each in block.transactions],
        "notices": msgspec.Raw(block.notices or b"[]"),
    }
    return msgspec.json.encode(event)
