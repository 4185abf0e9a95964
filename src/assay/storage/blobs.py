"""A content-addressed store: each blob is one file, named by its BLAKE3 in hex."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from assay.errors import StorageError
from assay.protocol.hashing import compute_bulk_digest
from assay.storage.files import (
    Buffer,
    Files,
    FileTooLarge,
    UnsafePath,
    as_bytes_view,
    read_file,
    refuse_unless,
    write_atomic,
)

MAX_BLOB_BYTES: Final = 2**40
_NAME = re.compile(r"[0-9a-f]{64}")


class DigestMismatch(StorageError):
    """Stored bytes are not those that were stored. Names the file, the expected and the actual digest."""

    code = "storage.digest"

    def __init__(self, path: Path, what: str, expected: bytes, actual: bytes) -> None:
        super().__init__(
            f"{what} in {path} is damaged",
            expected=f"BLAKE3 {expected.hex()}",
            actual=f"BLAKE3 {actual.hex()}",
            next_step="restore the file from a copy of the run",
        )


class BlobStore:
    """Blobs in one folder, which must exist.

    Args:
        files: the disk.
        folder: where the blobs lie.
        max_bytes: the size above which reading refuses a blob.
        writable: False: refuse to change anything.
    """

    def __init__(self, files: Files, folder: Path, *, max_bytes: int = MAX_BLOB_BYTES, writable: bool = True) -> None:
        self._files = files
        self._folder = folder
        self._max_bytes = max_bytes
        self.writable = writable
        self._known: set[bytes] = set()  # durable, and whole when this process wrote or read them

    def put(self, data: Buffer) -> bytes:
        """Store `data` durably, once, and return its BLAKE3 digest, 32 bytes.

        A blob that is there already is read again the first time; if it is damaged it is replaced.

        Raises:
            NotWritable: the run was opened for reading.
            StorageError: the disk failed; nothing was stored.
        """
        refuse_unless(self.writable, self._folder)
        view = as_bytes_view(data)
        digest = compute_bulk_digest(view)
        if digest in self._known:
            return digest
        if self._is_whole(digest, view.nbytes):
            self._files.fsync_dir(self._folder)
        else:
            write_atomic(self._files, self._get_path(digest), [view])
        self._known.add(digest)
        return digest

    def _is_whole(self, digest: bytes, nbytes: int) -> bool:
        if self._files.get_kind(self._get_path(digest)) != "file":
            return False
        try:
            self.open(digest, max_bytes=nbytes)
        except (DigestMismatch, FileTooLarge):
            return False
        return True

    def open(self, digest: bytes, *, max_bytes: int | None = None) -> bytes:
        """Return the verified bytes of a blob.

        Args:
            digest: BLAKE3 of the blob, 32 bytes.
            max_bytes: refuse a longer one; None: the limit of the store.

        Raises:
            FileMissing: it is not stored.
            FileTooLarge: it is longer than allowed.
            DigestMismatch: it is damaged.
        """
        path = self._get_path(digest)
        data = read_file(self._files, path, self._max_bytes if max_bytes is None else max_bytes)
        actual = compute_bulk_digest(data)
        if actual != digest:
            raise DigestMismatch(path, "the blob", digest, actual)
        return data

    def list_digests(self) -> list[bytes]:
        """Return the digests of all stored blobs, sorted.

        Raises:
            UnsafePath: a name in the folder is no digest.
        """
        digests = []
        for name in self._files.list_names(self._folder):
            if name.startswith("."):
                continue
            if not _NAME.fullmatch(name):
                raise UnsafePath(
                    f"{self._folder} holds a file that is no blob", expected="64 hex digits", actual=ascii(name)
                )
            digests.append(bytes.fromhex(name))
        return digests

    def remove(self, digest: bytes) -> None:
        """Delete a blob.

        Raises:
            FileMissing: it is not stored.
        """
        refuse_unless(self.writable, self._folder)
        self._known.discard(digest)
        self._files.unlink(self._get_path(digest))

    def _get_path(self, digest: bytes) -> Path:
        if len(digest) != 32:
            raise UnsafePath("a blob is named by 32 bytes", expected=32, actual=len(digest))
        return self._folder / digest.hex()
