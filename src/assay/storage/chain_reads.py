"""What is kept of the chain of a node, and how it is read through one connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from assay.storage.database import database_errors

_MAX_LISTED: Final = 10_000


class StoredTransaction(NamedTuple):
    """A transaction in a block: its id (32 bytes), its signed bytes and the bytes of its result."""

    id: bytes
    data: bytes
    result: bytes


class StoredBlock(NamedTuple):
    """A block as it is kept: height from 1, id (32 bytes), header, seal, transactions in order."""

    height: int
    id: bytes
    header: bytes
    seal: bytes
    transactions: tuple[StoredTransaction, ...]


class StoredHeader(NamedTuple):
    """A block without its transactions."""

    height: int
    id: bytes
    header: bytes
    seal: bytes


Changes = Mapping[bytes, bytes | None]
"""Key to new value; None deletes."""


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

    def read_state(self, key: bytes) -> bytes | None:
        """Return the value of a key of the ledger state, or None."""
        return self._value("SELECT value FROM state WHERE key = ?", key)

    def read_node(self, key: bytes) -> bytes | None:
        """Return the value of a node of the state tree, or None."""
        return self._value("SELECT value FROM nodes WHERE key = ?", key)

    def list_state(self, prefix: bytes, *, after: bytes = b"", limit: int = 1000) -> list[tuple[bytes, bytes]]:
        """Return keys that begin with `prefix` and come after `after`, with values, in the order of the keys.

        Args:
            prefix: at least one byte.
            after: the last key of the page before; empty: from the first.
            limit: most entries, 1 to 10,000.
        """
        end = _next_prefix(prefix)
        lower, sign = (after, ">") if after >= prefix else (prefix, ">=")
        bound = "" if end is None else "AND key < ?"
        query = f"SELECT key, value FROM state WHERE key {sign} ? {bound} ORDER BY key LIMIT ?"  # noqa: S608 - fixed words
        arguments = (lower, min(limit, _MAX_LISTED)) if end is None else (lower, end, min(limit, _MAX_LISTED))
        return [(bytes(key), bytes(value)) for key, value in self._all(query, *arguments)]

    def read_header(self, height: int) -> StoredHeader | None:
        """Return the header and seal of a block, or None."""
        row = self._one("SELECT height, id, header, seal FROM blocks WHERE height = ?", height)
        return None if row is None else StoredHeader(*row)

    def read_block(self, height: int) -> StoredBlock | None:
        """Return a whole block, or None."""
        header = self.read_header(height)
        if header is None:
            return None
        rows = self._all("SELECT id, data, result FROM transactions WHERE height = ? ORDER BY position", height)
        return StoredBlock(*header, tuple(StoredTransaction(*row) for row in rows))

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
        return None if row is None else bytes(row[0])

    def _one(self, query: str, *arguments: object) -> Any:
        with database_errors(self._path):
            return self._connection.execute(query, arguments).fetchone()

    def _all(self, query: str, *arguments: object) -> list[Any]:
        with database_errors(self._path):
            return self._connection.execute(query, arguments).fetchall()


def to_prefix(identity: bytes) -> int:
    """Return the part of a transaction's id that the index holds, as a signed integer of 64 bits."""
    return int.from_bytes(identity[:8], "little", signed=True)


def _next_prefix(prefix: bytes) -> bytes | None:
    """Return the least key above all that begin with `prefix`, or None where there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None
