"""What a node keeps for others: objects named by their BLAKE3, each for as long as somebody's hold on it lasts.

A *hold* belongs to a holder (32 bytes, such as a submission's id), lasts to a height and has a quota. Under a hold
objects are declared with their length, and only declared objects are taken. The collector deletes an object when no
hold names it any more; a hold ends when its height has passed **and** the ledger says that the holder is not alive.

Which files are there decides what is stored; the database holds only what is wanted. So no crash can make the two
contradict each other: a file that nobody wants is deleted when the store is opened, a missing one is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple, Self

from assay.errors import StorageError, UsageError
from assay.protocol.hashing import compute_bulk_digest
from assay.storage.blobs import BlobStore
from assay.storage.database import database_errors, open_writer, transaction
from assay.storage.files import TEMPORARY, Files, OpenFile, check_free_space

MAX_OBJECT: Final = 16 * 1024 * 1024
"""Bytes of the longest object; longer data come as several."""

KIND: Final = 2_000
"""Kind 2, format 0."""

_SCHEMA: Final = """
CREATE TABLE holds (holder BLOB PRIMARY KEY, until INTEGER NOT NULL, max_bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE held (
  holder BLOB NOT NULL, digest BLOB NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (holder, digest)) WITHOUT ROWID;
CREATE INDEX held_by_digest ON held (digest)
"""
_CACHE: Final = 8 * 1024 * 1024


class NotDeclared(UsageError):
    """An object that no hold names."""

    code = "blobs.not-declared"


class ObjectRefused(UsageError):
    """Bytes that are not the declared object: another digest, another length, or longer than any may be."""

    code = "blobs.object"


class QuotaExceeded(UsageError):
    """More bytes than the holder or the node has room for."""

    code = "blobs.quota"


class HoldMissing(UsageError):
    """There is no hold of this holder."""

    code = "blobs.hold-missing"


class ObjectMissing(StorageError):
    """An object that is wanted and was never stored, or is damaged; it may be stored again."""

    code = "blobs.missing"


class Wanted(NamedTuple):
    """An object under a hold: BLAKE3 (32 bytes) and length in bytes."""

    digest: bytes
    size: int


class Collected(NamedTuple):
    """What the collector did: holds that ended, objects deleted."""

    holds: int
    objects: int


class RetainedBlobs:
    """The store, open for this process alone until `close`; safe to use from several threads.

    Args:
        folder: made if it is missing; its parent must exist.
        max_bytes: the quota over all holds; an object under several holds counts once.
        reserve: bytes of the disk that are left free for the chain.
        files: the disk.

    Raises:
        FileTaken: another process has the folder.
        StorageError: the disk, or a damaged database.
    """

    def __init__(self, folder: Path, *, max_bytes: int, reserve: int = 0, files: Files | None = None) -> None:
        self._files = Files() if files is None else files
        self._folder = folder
        self._objects = folder / "objects"
        self._max_bytes = max_bytes
        self._reserve = reserve
        self._guard = threading.RLock()
        self._files.mkdir(folder)
        self._files.mkdir(self._objects)
        self._lock: OpenFile = self._files.lock(folder / "lock")
        try:
            self._path = folder / "holds.sqlite"
            self._connection = open_writer(self._path, KIND, _SCHEMA, cache_bytes=_CACHE)
            self._files.fsync_dir(folder)
            self._files.fsync_dir(folder.absolute().parent)
            self._store = BlobStore(self._files, self._objects, max_bytes=MAX_OBJECT)
            self._remove_orphans()
        except BaseException:
            self._files.close(self._lock)
            raise

    def hold(self, holder: bytes, *, until: int, max_bytes: int) -> None:
        """Begin a hold, or prolong it; neither height nor quota ever shrinks.

        Args:
            holder: 32 bytes.
            until: the last height at which the objects are kept.
            max_bytes: the holder's quota.
        """
        with self._guard, transaction(self._connection, self._path):
            self._connection.execute(
                "INSERT INTO holds VALUES (?, ?, ?) ON CONFLICT (holder) DO UPDATE SET"
                " until = max(until, excluded.until), max_bytes = max(max_bytes, excluded.max_bytes)",
                (holder, until, max_bytes),
            )

    def declare(self, holder: bytes, wanted: Iterable[Wanted]) -> None:
        """Name objects that the holder wants kept; naming one again changes nothing.

        Raises:
            HoldMissing: there is no such hold.
            ObjectRefused: a length that no object may have, or another than was declared before.
            QuotaExceeded: the holder's quota or that of the node; nothing was declared.
        """
        with self._guard, transaction(self._connection, self._path):
            hold = self._one("SELECT max_bytes FROM holds WHERE holder = ?", holder)
            if hold is None:
                raise HoldMissing("nobody announced this holder", actual=holder.hex())
            for each in wanted:
                self._declare_one(holder, each)
            used = self._sum("SELECT coalesce(sum(size), 0) FROM held WHERE holder = ?", holder)
            _refuse_excess("the holder", used, hold[0])
            _refuse_excess("the node", self._measure_declared(), self._max_bytes)

    def _declare_one(self, holder: bytes, wanted: Wanted) -> None:
        known = self._one("SELECT size FROM held WHERE digest = ?", wanted.digest)
        if len(wanted.digest) != 32 or not 0 <= wanted.size <= MAX_OBJECT or known not in (None, (wanted.size,)):
            raise ObjectRefused(
                "not an object that can be kept",
                expected=f"32 bytes of digest, a length up to {MAX_OBJECT}, always the same",
                actual=f"{len(wanted.digest)} bytes of digest, length {wanted.size}",
            )
        self._connection.execute("INSERT OR IGNORE INTO held VALUES (?, ?, ?)", (holder, *wanted))

    def _measure_declared(self) -> int:
        return self._sum("SELECT coalesce(sum(size), 0) FROM (SELECT DISTINCT digest, size FROM held)")

    def put(self, digest: bytes, data: bytes) -> None:
        """Store a declared object; it is durable when this returns. Storing it again does nothing.

        Raises:
            NotDeclared: no hold names it.
            ObjectRefused: the bytes are not those that the digest and the declared length name.
            DiskFull: no room; nothing was stored.
        """
        with self._guard:
            known = self._one("SELECT size FROM held WHERE digest = ?", digest)
            if known is None:
                raise NotDeclared("no hold names this object", actual=digest.hex())
            actual = compute_bulk_digest(data)
            if actual != digest or len(data) != known[0]:
                raise ObjectRefused(
                    "the bytes are not this object",
                    expected=f"{known[0]} bytes, BLAKE3 {digest.hex()}",
                    actual=f"{len(data)} bytes, BLAKE3 {actual.hex()}",
                )
            check_free_space(self._files, self._objects, len(data) + self._reserve)
            self._store.put(data)

    def open(self, digest: bytes) -> bytes:
        """Return the verified bytes of an object.

        Raises:
            NotDeclared: no hold names it.
            ObjectMissing: it was never stored, or is damaged: then it is deleted, so that it is asked for again.
        """
        with self._guard:
            known = self._one("SELECT size FROM held WHERE digest = ?", digest)
            if known is None:
                raise NotDeclared("no hold names this object", actual=digest.hex())
            if not self._is_there(digest):
                raise ObjectMissing("the object was not stored yet", actual=digest.hex(), next_step="upload it")
            try:
                return self._store.open(digest, max_bytes=known[0])
            except StorageError as error:
                self._store.remove(digest)
                raise ObjectMissing("the stored object is damaged", actual=str(error), next_step="upload it") from error

    def list_wanted(self, holder: bytes) -> list[Wanted]:
        """Return what the holder declared, sorted by digest; empty where there is no such hold."""
        with self._guard:
            return [Wanted(*row) for row in self._all("SELECT digest, size FROM held WHERE holder = ?", holder)]

    def list_missing(self, holder: bytes) -> list[Wanted]:
        """Return what the holder declared and nobody stored yet, sorted by digest."""
        return [wanted for wanted in self.list_wanted(holder) if not self._is_there(wanted.digest)]

    def get_until(self, holder: bytes) -> int | None:
        """Return the last height of a hold, or None where there is none."""
        with self._guard:
            found = self._one("SELECT until FROM holds WHERE holder = ?", holder)
            return None if found is None else int(found[0])

    def measure(self) -> tuple[int, int]:
        """Return the bytes that all holds declare, each object once, and the quota of the node."""
        with self._guard:
            return self._measure_declared(), self._max_bytes

    def collect(self, height: int, is_alive: Callable[[bytes], bool]) -> Collected:
        """End the holds that have passed, and delete the objects that nobody wants any more.

        Args:
            height: of the last block.
            is_alive: whether the ledger may still ask for the objects of a holder; such a hold never ends.
        """
        with self._guard:
            passed = [row[0] for row in self._all("SELECT holder FROM holds WHERE until < ?", height)]
            ended = [holder for holder in passed if not is_alive(holder)]
            with transaction(self._connection, self._path):
                for holder in ended:
                    self._connection.execute("DELETE FROM holds WHERE holder = ?", (holder,))
                    self._connection.execute("DELETE FROM held WHERE holder = ?", (holder,))
            return Collected(len(ended), self._remove_orphans() if ended else 0)

    def _remove_orphans(self) -> int:
        """Delete files that no hold names, among them what a crash left unfinished."""
        for name in self._files.list_names(self._objects):
            if name.startswith(TEMPORARY):
                self._files.unlink(self._objects / name)
        stored = self._store.list_digests()
        orphans = [each for each in stored if self._one("SELECT 1 FROM held WHERE digest = ?", each) is None]
        for digest in orphans:
            self._store.remove(digest)
        return len(orphans)

    def _is_there(self, digest: bytes) -> bool:
        return self._files.get_kind(self._objects / digest.hex()) == "file"

    def _sum(self, query: str, *arguments: object) -> int:
        found = self._one(query, *arguments)
        return 0 if found is None else found[0]

    def _one(self, query: str, *arguments: object) -> tuple[int, ...] | None:
        with database_errors(self._path):
            found: tuple[int, ...] | None = self._connection.execute(query, arguments).fetchone()
        return found

    def _all(self, query: str, *arguments: object) -> list[tuple[bytes, int]]:
        with database_errors(self._path):
            return self._connection.execute(query, arguments).fetchall()

    def close(self) -> None:
        """Close the store; closing twice does nothing."""
        with database_errors(self._path):
            self._connection.close()
        self._files.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refuse_excess(whose: str, used: int, allowed: int) -> None:
    if used > allowed:
        raise QuotaExceeded(f"more than {whose} may keep here", expected=f"at most {allowed} bytes", actual=used)
