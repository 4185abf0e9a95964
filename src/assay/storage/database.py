"""SQLite as Assay uses it: how a database is opened, and which error stands for what it reports.

Write-ahead log with `synchronous = FULL`: a transaction that was committed is on the disk. Nothing in a database file
is executed: functions of a foreign schema are off, and a file that another program made is refused.

Source: sqlite.org, "Write-Ahead Logging", "Defense Against The Dark Arts", "Result and Error Codes".
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from assay.errors import StorageError
from assay.storage.files import AccessRefused, DeviceFault, DiskFull, FileMissing, Files, FileTaken, ReadOnlyDisk

APPLICATION_ID: Final = 0x41535359
"""The bytes "ASSY" in the header of every database of Assay."""

_PAGE_BYTES: Final = 4096
_WAL_PAGES: Final = 8192
LOG_BYTES: Final = _WAL_PAGES * _PAGE_BYTES
"""Length of the log, 32 MiB, at which it is copied back and begins again."""

_SPILLING: Final = 16  # pages

_ROWS: Final = (128, 64, 32, 16, 8, 4, 3, 2, 1)
"""Rows in one statement: few different numbers, so that statements are parsed once and found again."""


class DatabaseDamaged(StorageError):
    """A database whose file, tables or entries are not as they were written."""

    code = "storage.database-damaged"


class DatabaseForeign(StorageError):
    """A database that Assay did not make, or of another kind."""

    code = "storage.database-foreign"


class DatabaseNewer(StorageError):
    """A database in a format that this release does not know."""

    code = "storage.database-newer"


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite reports inside the block into the `StorageError` that names `path`."""
    try:
        yield
    except sqlite3.Error as error:
        raise classify_database_error(error, path) from error


def classify_database_error(error: sqlite3.Error, path: Path) -> StorageError:
    """Return the typed error for what SQLite said about `path`."""
    primary = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    said = f"{error} ({getattr(error, 'sqlite_errorname', None) or type(error).__name__})"
    match primary:
        case sqlite3.SQLITE_FULL:
            return DiskFull(
                f"no room left on the disk for {path}",
                actual=said,
                next_step="free some space and start again: every block that was answered is kept",
            )
        case sqlite3.SQLITE_READONLY:
            return ReadOnlyDisk(f"{path} cannot be written to", actual=said)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return FileTaken(path, None)
        case sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return AccessRefused(f"access to {path} is refused", actual=said, next_step="check owner and permissions")
        case sqlite3.SQLITE_CANTOPEN:
            return FileMissing(f"{path} cannot be opened", actual=said)
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_NOMEM:
            return DeviceFault(f"the disk failed at {path}", actual=said, next_step="check the disk, then start again")
        case _:
            return DatabaseDamaged(f"{path} is damaged", actual=said, next_step="restore the folder from a copy")


def open_writer(path: Path, kind: int, schema: str, *, cache_bytes: int) -> sqlite3.Connection:
    """Return the one connection that writes; the tables are made if the file is new or empty.

    Args:
        path: the file; its folder must exist. The caller holds a lock, so that there is one writer.
        kind: which kind of database, with its format version: `PRAGMA user_version`.
        schema: the statements that make its tables.
        cache_bytes: most memory for pages.

    Raises:
        DatabaseForeign, DatabaseNewer, DatabaseDamaged: not a database of this kind.
        StorageError: the disk.
    """
    _refuse_special(path)
    with database_errors(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        try:
            _configure(connection, cache_bytes)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
                _create_tables(connection, kind, schema)
            _check_kind(connection, path, kind)
        except BaseException:
            connection.close()
            raise
    return connection


def open_reader(path: Path, kind: int, *, cache_bytes: int) -> sqlite3.Connection:
    """Return a connection that cannot write, beside the one that does; raises as `open_writer`."""
    _refuse_special(path)
    if Files().get_kind(path) == "missing":
        raise FileMissing(f"{path} is missing")
    with database_errors(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=5
        )
        try:
            _configure(connection, cache_bytes)
            _check_kind(connection, path, kind)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Do what stands inside the block at once and durably, or not at all."""
    with database_errors(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite rolls back by itself where the disk is full
                connection.execute("ROLLBACK")
            raise


def write_rows(connection: sqlite3.Connection, insert: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert rows of equal length, many in one statement.

    Between two rows of `executemany` other threads of Python may run: where some are busy, each row waits for them.

    Args:
        connection: of `open_writer`, inside a transaction.
        insert: the statement up to and with VALUES.
        rows: what to insert.
    """
    start = 0
    while start < len(rows):
        count = next(size for size in _ROWS if size <= len(rows) - start)
        part = rows[start : start + count]
        places = ",".join(["(" + ",".join("?" * len(part[0])) + ")"] * count)
        connection.execute(f"{insert} {places}", [value for row in part for value in row])
        start += count


def reserve_log(connection: sqlite3.Connection, path: Path, fill: str) -> None:
    """Let the write-ahead log of the one writer reach the length at which it begins again.

    A commit that overwrites the log takes half the time of one for which the file system must find room. A transaction
    that is never committed spills into the log; what it leaves there means nothing. If there is no room for it, the log
    gives back what it took.

    Args:
        connection: of `open_writer`, outside a transaction.
        path: of the database.
        fill: a statement that inserts a blob of as many zeros as its one parameter says.

    Raises:
        StorageError: anything but a full disk.
    """
    with database_errors(path):
        (pages,) = connection.execute("PRAGMA cache_size").fetchone()
        connection.execute(f"PRAGMA cache_size = {_SPILLING}")
        try:
            _spill(connection, fill)
        finally:
            connection.execute(f"PRAGMA cache_size = {pages}")


def _spill(connection: sqlite3.Connection, fill: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    is_full = False
    try:
        connection.execute(fill, (LOG_BYTES,))
    except sqlite3.Error as error:
        is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        if not is_full:
            raise
    finally:
        if connection.in_transaction:  # SQLite rolls back by itself where the disk is full
            connection.execute("ROLLBACK")
    if is_full:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _configure(connection: sqlite3.Connection, cache_bytes: int) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA cache_size = -{max(cache_bytes // 1024, 64)}")


def _create_tables(connection: sqlite3.Connection, kind: int, schema: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in filter(str.strip, schema.split(";")):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {kind}")
    connection.execute("COMMIT")


def _check_kind(connection: sqlite3.Connection, path: Path, kind: int) -> None:
    found = _get_number(connection, "application_id"), _get_number(connection, "user_version")
    if found[0] != APPLICATION_ID or found[1] // 1000 != kind // 1000:
        raise DatabaseForeign(
            f"{path} is another kind of database",
            expected=f"application {APPLICATION_ID}, kind {kind // 1000}",
            actual=f"application {found[0]}, kind {found[1] // 1000}",
        )
    if found[1] > kind:
        raise DatabaseNewer(
            f"{path} has a newer format",
            expected=f"version {kind % 1000}",
            actual=f"version {found[1] % 1000}",
            next_step="install a newer version of assay",
        )


def _get_number(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _refuse_special(path: Path) -> None:
    """Refuse a symbolic link or device; SQLite would follow it."""
    if Files().get_kind(path) not in {"file", "missing"}:
        raise DatabaseForeign(f"{path} is not an ordinary file", expected="a regular file")
