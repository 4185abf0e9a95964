"""What is kept of the chain of a node, and how it is read through one connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from assay.protocol.ledger_proofs import PATH_BITS
from assay.storage.database import classify_database_error

_MAX_LISTED: Final = 10_000

_TOGETHER: Final = 256
"""How many keys or ranges one query asks for: a query costs as much as several of them."""

_FEW: Final = 6
"""Fewer keys are sooner asked for one by one: a list of them becomes a table first."""

_NARROW: Final = 12
"""From this depth on a range holds few leaves, so that many ranges may be asked for together."""

ItemT = TypeVar("ItemT")


class StoredTransaction(NamedTuple):
    """A transaction in a block: its id (32 bytes), its signed bytes, the bytes of its result, a message for people."""

    id: bytes
    data: bytes
    result: bytes
    message: str = ""


class StoredBlock(NamedTuple):
    """A block as it is kept: height from 1, id (32 bytes), header, seal, notices, transactions in order."""

    height: int
    id: bytes
    header: bytes
    seal: bytes
    notices: bytes
    transactions: tuple[StoredTransaction, ...]


class StoredHeader(NamedTuple):
    """A block without its transactions."""

    height: int
    id: bytes
    header: bytes
    seal: bytes


Changes = Mapping[bytes, bytes | None]
"""Path in the ledger state tree (32 bytes) to new value; None deletes."""


class ChainReads:
    """What can be read through one connection. All of it belongs to one moment only within a snapshot."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def read_height(self) -> int:
        """Return the height of the last block; 0: only the genesis is there."""
        row = self._one("SELECT max(height) FROM blocks")
        return int(row[0]) if row and row[0] is not None else 0

    def read_meta(self, name: str) -> bytes | None:
        """Return a fact that was written when the chain was made, such as `genesis`."""
        return self._value("SELECT value FROM meta WHERE name = ?", name)

    def read_state(self, path: bytes) -> bytes | None:
        """Return the value at a path of the ledger state, or None."""
        return self._value("SELECT value FROM state WHERE path = ?", path)

    def read_states(self, paths: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the values at those of the paths of the ledger state that have one, by path."""
        if len(paths) < _FEW:
            read = {path: self.read_state(path) for path in paths}
            return {path: value for path, value in read.items() if value is not None}
        found: dict[bytes, bytes] = {}
        for part in _cut(paths, _TOGETHER):
            places = ",".join(["?"] * len(part))
            found.update(self._all(f"SELECT path, value FROM state WHERE path IN ({places})", *part))  # noqa: S608 - question marks
        return found

    def count_leaves(self) -> int:
        """Return how many values the ledger state has; reads all of them."""
        return int(self._one("SELECT count(*) FROM state")[0])

    def get_leaves(self, depth: int, prefixes: Sequence[int]) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield, for each prefix of `depth` bits (0 to 256), path and value hash of the values below it, by path."""
        shift = PATH_BITS - depth
        for part in _cut(prefixes, _TOGETHER if depth >= _NARROW else 1):
            bounds: list[object] = []
            for number, prefix in enumerate(part):
                last = ((prefix + 1) << shift) - 1
                bounds += (number, (prefix << shift).to_bytes(32, "big"), last.to_bytes(32, "big"))
            leaves: list[list[tuple[bytes, bytes]]] = [[] for _ in part]
            for number, path, value in self._all(_ask_for_leaves(len(part)), *bounds):
                leaves[number].append((path, sha256(value).digest()))
            for each in leaves:
                each.sort()  # SQLite promises no order, and a sort would cost it as much as the rest
                yield each

    def read_header(self, height: int) -> StoredHeader | None:
        """Return the header and seal of a block, or None."""
        row = self._one("SELECT height, id, header, seal FROM blocks WHERE height = ?", height)
        return None if row is None else StoredHeader(*row)

    def read_block(self, height: int) -> StoredBlock | None:
        """Return a whole block, or None."""
        row = self._one("SELECT height, id, header, seal, notices FROM blocks WHERE height = ?", height)
        if row is None:
            return None
        _, identity, header, seal, notices = row
        query = "SELECT id, data, result, message FROM transactions WHERE height = ? ORDER BY position"
        transactions = tuple(StoredTransaction(*each) for each in self._all(query, height))
        return StoredBlock(height, identity, header, seal, notices, transactions)

    def list_headers(self, first: int, limit: int) -> list[StoredHeader]:
        """Return up to `limit` headers (at most 10,000) from height `first` on, in rising order."""
        query = "SELECT height, id, header, seal FROM blocks WHERE height >= ? ORDER BY height LIMIT ?"
        return [StoredHeader(*row) for row in self._all(query, first, min(limit, _MAX_LISTED))]

    def find_transaction(self, identity: bytes) -> tuple[int, int] | None:
        """Return height and position of a transaction, or None."""
        found = self._all(
            "SELECT t.height, t.position, t.id FROM transaction_index AS i JOIN transactions AS t"
            " ON t.height = i.height AND t.position = i.position WHERE i.prefix = ?",
            to_prefix(identity),
        )
        return next(((int(height), int(position)) for height, position, other in found if other == identity), None)

    def _value(self, query: str, key: object) -> bytes | None:
        row = self._one(query, key)
        return None if row is None else row[0]

    def _one(self, query: str, *arguments: object) -> Any:
        try:  # a context manager would cost as much as the query
            return self._connection.execute(query, arguments).fetchone()
        except sqlite3.Error as error:
            raise classify_database_error(error, self._path) from error

    def _all(self, query: str, *arguments: object) -> Any:
        try:
            return self._connection.execute(query, arguments).fetchall()
        except sqlite3.Error as error:
            raise classify_database_error(error, self._path) from error


def to_prefix(identity: bytes) -> int:
    """Return the part of a transaction's id that the index holds, as a signed integer of 64 bits."""
    return int.from_bytes(identity[:8], "little", signed=True)


def _cut(items: Sequence[ItemT], size: int) -> Iterator[Sequence[ItemT]]:
    """Yield the items in parts of `size`, the last of which may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _ask_for_leaves(count: int) -> str:
    """Return the query for `count` ranges, each given by a number, its first and its last path."""
    ranges = ",".join(["(?,?,?)"] * count)
    return (
        f"WITH wanted (number, first, last) AS (VALUES {ranges})"  # noqa: S608 - question marks
        " SELECT number, path, value FROM wanted CROSS JOIN state ON path BETWEEN first AND last"
    )
