"""The chain of a node: blocks, an index of transactions and the values of the ledger state, in one database.

This layer keeps bytes and knows no rules. A block is written by one transaction with everything that it changes, so
that after any crash the database stands at the end of some block, and at least at the last one that was reported.

One process has the chain: it holds `lock` in the folder, which also names its process id. Any number of readers look
at snapshots beside it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from assay.errors import StorageError, UsageError
from assay.storage.chain_reads import ChainReads, Changes, StoredBlock, to_prefix
from assay.storage.database import (
    LOG_BYTES,
    database_errors,
    open_reader,
    open_writer,
    reserve_log,
    transaction,
    write_rows,
)
from assay.storage.files import Files, OpenFile

DATABASE: Final = "chain.sqlite"
LOCK: Final = "lock"
KIND: Final = 1_000
"""Kind 1, format 0."""

_WRITER_CACHE: Final = 256 * 1024 * 1024
_READER_CACHE: Final = 32 * 1024 * 1024
_MUCH_ROOM: Final = 8 * LOG_BYTES

_SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks (height INTEGER PRIMARY KEY, id BLOB NOT NULL, header BLOB NOT NULL, seal BLOB NOT NULL,
  notices BLOB NOT NULL);
CREATE TABLE transactions (
  height INTEGER NOT NULL, position INTEGER NOT NULL, id BLOB NOT NULL, data BLOB NOT NULL, result BLOB NOT NULL,
  message TEXT NOT NULL,
  PRIMARY KEY (height, position)) WITHOUT ROWID;
CREATE TABLE transaction_index (
  prefix INTEGER NOT NULL, height INTEGER NOT NULL, position INTEGER NOT NULL,
  PRIMARY KEY (prefix, height, position)) WITHOUT ROWID;
CREATE TABLE state (path BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""


class ChainMissing(UsageError):
    """There is no chain in the folder."""

    code = "chain.missing"


class ChainExists(UsageError):
    """There is a chain in the folder already; it is never overwritten."""

    code = "chain.exists"


class HeightRefused(StorageError):
    """A block that does not follow the last one."""

    code = "chain.height"


class ChainDatabase:
    """The chain, open for writing by this process alone until `close`.

    Made by `create` or `open`. `reads` sees what was committed.
    """

    def __init__(self, folder: Path, files: Files, lock: OpenFile, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self.path = folder / DATABASE
        self._files = files
        self._lock = lock
        self._connection = connection
        self.reads = ChainReads(connection, self.path)
        self._height = self.reads.read_height()  # nobody else writes

    @classmethod
    def create(cls, folder: Path, meta: Mapping[str, bytes], state: Changes, *, files: Files | None = None) -> Self:
        """Make a chain that consists of its genesis, durably; return it open.

        Args:
            folder: made if it is missing; its parent must exist.
            meta: what stays as it is, such as the bytes of the genesis.
            state: the ledger state of the genesis.
            files: the disk.

        Raises:
            ChainExists: there is a chain already.
            FileTaken: another process has the folder.
            StorageError: the disk; nothing was made, and `create` may be called again.
        """
        files = Files() if files is None else files
        files.mkdir(folder)
        chain = cls._acquire(folder, files)
        try:
            chain._begin(meta, state)  # noqa: SLF001 - its own
            files.fsync_dir(folder)
            files.fsync_dir(folder.absolute().parent)
        except BaseException:
            chain.close()
            raise
        return chain

    def _begin(self, meta: Mapping[str, bytes], state: Changes) -> None:
        if self.reads.read_meta("created") is not None:
            raise ChainExists(f"{self.folder} holds a chain already", next_step="use another folder, or open this one")
        with transaction(self._connection, self.path):
            self._connection.executemany("INSERT INTO meta VALUES (?, ?)", [*meta.items(), ("created", b"1")])
            self._apply(state)

    @classmethod
    def open(cls, folder: Path, *, files: Files | None = None) -> Self:
        """Return the chain in a folder, open for writing.

        Raises:
            ChainMissing: there is none.
            FileTaken: another process has it.
            StorageError: the disk, or the database is damaged, foreign or newer.
        """
        files = Files() if files is None else files
        if files.get_kind(folder / DATABASE) == "missing":
            raise ChainMissing(f"there is no chain in {folder}", next_step="assay node start makes one")
        chain = cls._acquire(folder, files)
        if chain.reads.read_meta("created") is None:
            chain.close()
            raise ChainMissing(f"the chain in {folder} was never finished", next_step="assay node start makes it again")
        return chain

    @classmethod
    def _acquire(cls, folder: Path, files: Files) -> Self:
        lock = files.lock(folder / LOCK)
        try:
            connection = open_writer(folder / DATABASE, KIND, _SCHEMA, cache_bytes=_WRITER_CACHE)
            try:
                return cls(folder, files, lock, connection)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            files.close(lock)
            raise

    def commit(self, block: StoredBlock, state: Changes) -> None:
        """Write a block and all that it changes; it is durable when this returns.

        Raises:
            HeightRefused: the block does not follow the last one.
            StorageError: the disk; the database stands where it stood.
        """
        expected = self._height + 1
        if block.height != expected:
            raise HeightRefused("the block does not follow the last one", expected=expected, actual=block.height)
        height = block.height
        with transaction(self._connection, self.path):
            self._connection.execute("INSERT INTO blocks VALUES (?, ?, ?, ?, ?)", block[:5])
            rows = [(height, position, *each) for position, each in enumerate(block.transactions)]
            write_rows(self._connection, "INSERT INTO transactions VALUES", rows)
            prefixes = sorted((to_prefix(each.id), height, i) for i, each in enumerate(block.transactions))
            write_rows(self._connection, "INSERT INTO transaction_index VALUES", prefixes)
            self._apply(state)
        self._height = height

    def _apply(self, state: Changes) -> None:
        ordered = sorted(state.items())  # in the order of the tree of SQLite: each of its pages is touched once
        written = [(path, value) for path, value in ordered if value is not None]
        deleted = [(path,) for path, value in ordered if value is None]
        write_rows(self._connection, "INSERT OR REPLACE INTO state VALUES", written)
        self._connection.executemany("DELETE FROM state WHERE path = ?", deleted)

    def reserve_log(self) -> None:
        """Give the log its full length now, so that commits become quicker; not on a disk that is nearly full.

        Raises:
            StorageError: the disk, but that it is full.
        """
        if self._files.get_free_space(self.folder) > _MUCH_ROOM:
            reserve_log(self._connection, self.path, "INSERT INTO meta VALUES ('log', zeroblob(?))")

    def close(self) -> None:
        """Close the database and give the folder free; closing twice does nothing."""
        with database_errors(self.path):
            self._connection.close()
        self._files.close(self._lock)


class ChainReader:
    """Snapshots of the chain beside its writer, in this or another process; not shared between threads.

    Raises:
        StorageError: there is no database, or it is damaged, foreign or newer.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / DATABASE
        self._connection = open_reader(self._path, KIND, cache_bytes=_READER_CACHE)

    @contextmanager
    def snapshot(self) -> Iterator[ChainReads]:
        """Give a view of the chain as it stands at the first read; keep it short, it holds back the log."""
        with database_errors(self._path):
            self._connection.execute("BEGIN")
        try:
            yield ChainReads(self._connection, self._path)
        finally:
            with database_errors(self._path):
                self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection."""
        with database_errors(self._path):
            self._connection.close()


def get_holder(folder: Path) -> int | None:
    """Return the process id of the node that has the folder (0: it wrote none), or None if nobody has it."""
    return Files().get_lock_holder(folder / LOCK)
